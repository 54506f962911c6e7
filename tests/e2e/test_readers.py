"""What firkin writes, read by GNU tar, skopeo, umoci, runc and buildah: modes, owners, links, xattrs, configuration."""

import json
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import readers
from support.accounts import Firkin
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("readers"), pytest.mark.clients]

# VFS_CAP_REVISION_2 with the effective bit; permitted: CAP_NET_BIND_SERVICE. See capabilities(7).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)

DOCKERFILE = f"""\
FROM python:3.11 AS made
RUN <<END
set -eu
mkdir -p /data/sticky /data/owned /data/opaque/old /data/gone
chmod 1777 /data/sticky
chmod 2750 /data/owned
echo one > /data/first
ln /data/first /data/second
ln -s first /data/symbolic
ln -s /nowhere /data/dangling
cp /bin/true /data/setuid && chmod 4755 /data/setuid
cp /bin/true /data/setgid && chmod 2711 /data/setgid
mkfifo -m 0620 /data/fifo
echo x > "/data/gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e and spaces"
echo y > /data/owned/file && chmod 0400 /data/owned/file && chown 1234:5678 /data/owned/file
chown -h 12:34 /data/dangling
chown 60000:60001 /data/owned
echo z > /data/attributes
python3 -c 'import os; os.setxattr("/data/attributes", "user.note", b"hello"); \
os.setxattr("/data/attributes", "security.capability", bytes.fromhex("{CAPABILITY.hex()}"))'
echo old > /data/opaque/old/file
END
RUN rm /etc/debian_version && rm -r /data/gone /data/opaque && mkdir /data/opaque && echo new > /data/opaque/new

FROM debian:bookworm-slim
LABEL title="readers" other="a b"
COPY --from=made /data /copied
ENV GREETING="hello world"
USER 1234:5678
WORKDIR /copied
ENTRYPOINT ["/bin/cat"]
CMD ["first"]
"""

WANTED = {
    "sticky": ("drwxrwxrwt", "0/0", ""),
    "owned": ("drwxr-s---", "60000/60001", ""),
    "owned/file": ("-r--------", "1234/5678", ""),
    "symbolic": ("lrwxrwxrwx", "0/0", "first"),
    "dangling": ("lrwxrwxrwx", "12/34", "/nowhere"),
    "setuid": ("-rwsr-xr-x", "0/0", ""),
    "setgid": ("-rwx--s--x", "0/0", ""),
    "fifo": ("prw--w----", "0/0", ""),
    "attributes": ("-rw-r--r--", "0/0", ""),
}


@pytest.fixture(scope="module")
def outputs(shared_firkin: Firkin, language_registry: Registry) -> Iterator[tuple[Path, str]]:
    """One build of everything above: its directory of outputs, and its name in the registry."""
    place = shared_firkin.directory("readers")
    context = shared_firkin.directory("context")
    (context / "Dockerfile").write_text(DOCKERFILE)
    name = f"{shared_firkin.account.name}/readers:1"
    shared_firkin.run(
        "build",
        "-t",
        language_registry.reference(name),
        "--push",
        "--output",
        f"type=oci,dest={place}/image-oci.tar",
        "--output",
        f"type=oci,tar=false,dest={place}/layout",
        "--output",
        f"type=docker,dest={place}/image-docker.tar",
        "--output",
        f"type=tar,dest={place}/root.tar",
        "--output",
        f"type=local,dest={place}/local",
        "--iidfile",
        place / "iid",
        context,
    )
    shared_firkin.run("build", "--target", "made", "--output", f"type=oci,dest={place}/made.tar", context)
    yield place, name


def copied(archive: Path, place: Path) -> Path:
    """Return an OCI layout that skopeo made of an OCI archive."""
    readers.tool("skopeo", "--insecure-policy", "copy", f"oci-archive:{archive}", f"oci:{place}:image")
    return place


def check_listing(listing: dict[str, readers.Member], prefix: str) -> None:
    found = {name: (m.mode, m.owner, m.link) for name, m in listing.items()}
    assert {name: found.get(f"{prefix}/{name}") for name in WANTED} == WANTED
    assert found[f"{prefix}/grüße and spaces"][0] == "-rw-r--r--"
    first, second = listing[f"{prefix}/first"], listing[f"{prefix}/second"]
    assert {first.link, second.link} in ({"", f"{prefix}/first"}, {"", f"{prefix}/second"})


def test_layer_of_run(outputs: tuple[Path, str], scratch: Path) -> None:
    *_, made, changed = readers.layer_listings(copied(outputs[0] / "made.tar", scratch / "layout"))
    check_listing(made, "data")
    assert "etc/.wh.debian_version" in changed
    assert "data/.wh.gone" in changed
    assert {"data/opaque/.wh..wh..opq", "data/opaque/.wh.old"} & set(changed)
    assert "data/opaque/new" in changed
    assert {name.partition("/")[0] for name in made} == {"data"}


def test_layer_of_copy_between_stages(outputs: tuple[Path, str], scratch: Path) -> None:
    listings = readers.layer_listings(copied(outputs[0] / "image-oci.tar", scratch / "layout"))
    check_listing(listings[1], "copied")
    assert listings[1]["copied"].owner == "0/0"


def test_extended_attributes(outputs: tuple[Path, str]) -> None:
    archive = outputs[0] / "root.tar"
    listing = readers.tool("tar", "--xattrs", "--xattrs-include=*", "-tvvf", archive, "copied/attributes")
    assert "user.note" in listing
    assert "security.capability" in listing


@pytest.mark.root
def test_unpacked_by_umoci(outputs: tuple[Path, str], scratch: Path) -> None:
    layout = copied(outputs[0] / "image-oci.tar", scratch / "layout")
    root = readers.unpack(layout, scratch / "bundle") / "rootfs/copied"
    assert os.getxattr(root / "attributes", "user.note") == b"hello"
    assert os.getxattr(root / "attributes", "security.capability") == CAPABILITY
    assert (root / "first").stat().st_ino == (root / "second").stat().st_ino
    assert stat.S_IMODE((root / "setuid").stat().st_mode) == 0o4755
    assert (root / "owned/file").stat().st_uid == 1234
    assert (root / "opaque/new").read_text() == "new\n"
    assert not (root / "opaque/old").exists()
    assert readers.run_to_end(scratch / "bundle", "/bin/cat", "first") == "one\n"


def test_all_outputs_are_one_image(outputs: tuple[Path, str], language_registry: Registry) -> None:
    place, name = outputs
    pushed = language_registry.manifest(name)
    config = language_registry.config(name)
    assert (place / "iid").read_text().strip() == pushed["config"]["digest"]
    layers = [layer["digest"] for layer in pushed["layers"]]
    assert readers.skopeo_inspect(f"oci-archive:{place}/image-oci.tar")["Layers"] == layers
    assert readers.skopeo_inspect(f"oci:{place}/layout")["Layers"] == layers
    docker = readers.skopeo_inspect(f"docker-archive:{place}/image-docker.tar")
    assert docker["Labels"] == config["config"]["Labels"] == {"title": "readers", "other": "a b"}
    assert docker["Env"] == config["config"]["Env"]
    assert "GREETING=hello world" in docker["Env"]
    assert config["config"]["User"] == "1234:5678"
    assert config["config"]["WorkingDir"] == "/copied"
    assert [entry["created_by"].partition(" ")[0] for entry in config["history"] if entry.get("empty_layer")] == [
        "LABEL",
        "ENV",
        "USER",
        "ENTRYPOINT",
        "CMD",
    ]


def test_docker_archive_keeps_its_name(outputs: tuple[Path, str], language_registry: Registry) -> None:
    place, name = outputs
    manifest = json.loads(readers.tool("tar", "-xOf", place / "image-docker.tar", "manifest.json"))
    assert manifest[0]["RepoTags"] == [language_registry.reference(name)]


def test_tar_is_the_root_file_system(outputs: tuple[Path, str]) -> None:
    listing = readers.tar_listing(outputs[0] / "root.tar")
    check_listing(listing, "copied")
    assert listing["etc/passwd"].owner == "0/0"
    assert not [name for name in listing if os.path.basename(name).startswith(".wh.")]


def test_local_is_the_root_file_system(outputs: tuple[Path, str], shared_firkin: Firkin) -> None:
    root = outputs[0] / "local"
    assert os.readlink(root / "copied/dangling") == "/nowhere"
    assert (root / "copied/first").read_text() == "one\n"
    assert (root / "etc/passwd").read_text().startswith("root:x:0:0:")
    owned = (root / "copied/owned").lstat()
    assert stat.S_IMODE(owned.st_mode) & 0o777 == 0o750
    if not shared_firkin.account.is_root:
        # Like everything an ordinary user writes.
        assert owned.st_uid == shared_firkin.account.uid


def test_buildah_builds_on_it(outputs: tuple[Path, str], language_registry: Registry, scratch: Path) -> None:
    inspected = readers.buildah_reads(f"docker://{language_registry.reference(outputs[1])}", scratch / "buildah")
    assert inspected["OCIv1"]["config"]["Entrypoint"] == ["/bin/cat"]
    assert inspected["OCIv1"]["config"]["Labels"] == {"title": "readers", "other": "a b"}


def test_store_is_a_layout_that_others_read_in_place(shared_firkin: Firkin, outputs: tuple[Path, str]) -> None:
    context = shared_firkin.directory("kept")
    (context / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /kept\n")
    shared_firkin.run("build", "-t", "kept:1", "-t", "example.com/team/kept:latest", context)
    for name in ("kept:1", "example.com/team/kept:latest"):
        assert len(readers.skopeo_inspect(f"oci:{shared_firkin.store}/oci:{name}")["Layers"]) == 2
