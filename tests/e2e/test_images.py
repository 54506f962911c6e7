"""`images`, `inspect`, `history` and `tag`: what they print is what docker prints about the same images."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin, make_firkin
from support.bases import ensure_base
from support.dockerd import Docker, running_dockerd
from support.registry import Registry

from firkin.linux.machine import this_platform

pytestmark = [pytest.mark.registry, pytest.mark.xdist_group("images")]
DOCKERFILE = """FROM base:1
COPY hello /hello
RUN ln /hello /hard && rm /etc/passwd
ENV A=b
LABEL x=y
EXPOSE 80
VOLUME /data
HEALTHCHECK --interval=5s CMD true
CMD ["cat", "/hello"]
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path: that of a socket may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="firkin-i-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def both(place: Path) -> Iterator[tuple[Firkin, Docker]]:
    """Root's firkin and a dockerd that hold the same images: base:1, app:1 = team/app:2, app:old, and a dangling one."""
    if not shutil.which("dockerd") or os.geteuid():
        pytest.skip("dockerd needs root")
    firkin = make_firkin("root", place / "firkin")
    firkin.run("load", "-i", ensure_base("busybox"), "-t", "base:1")
    context = firkin.directory("context")
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile").write_text(DOCKERFILE)
    epochs = iter(range(1_600_000_000, 1_700_000_000, 86400))
    for number, names in enumerate((("app:old",), ("app:1", "team/app:2"), ("gone:1",))):
        (context / "hello").write_text(f"hello {number}\n" * 1000)
        tags = [word for name in names for word in ("-t", name)]
        firkin.run("build", *tags, "--source-date-epoch", str(next(epochs)), context)
    archive = place / "all.tar"
    firkin.run("save", "-o", archive, "base:1", "app:old", "app:1", "team/app:2", "gone:1")
    with running_dockerd(place / "docker") as docker:
        docker.run("load", "-i", archive)
        docker.run("tag", "base:1", "gone:1")
        firkin.run("tag", "base:1", "gone:1")
        yield firkin, docker


LISTS = (
    "-q", "-q --no-trunc", "--no-trunc", "--digests", "app", "app:1", "team/app", "*/app", "a*:o*", "absent", "-a -q",
    "--filter dangling=true", "--filter dangling=false -q", "--filter label=x=y -q", "--filter label=nothing",
    "--filter before=app:1 -q", "--filter since=app:old -q", "--filter reference=app --filter reference=base:*",
    "--format {{.Repository}}:{{.Tag}}|{{.ID}}|{{.CreatedAt}}|{{.Size}}|{{.Digest}}", "--format table\\t{{.ID}}\\t{{.Size}}",
    "--format {{json\\x20.ID}}", "-q --format raw", "--format raw --digests app",
)  # fmt: skip


@pytest.mark.parametrize("words", LISTS)
def test_a_list_is_dockers(both: tuple[Firkin, Docker], words: str) -> None:
    """Rows of one image stand in any order: docker's come from a map."""
    firkin, docker = both
    options = [word.replace("\\x20", " ") for word in words.split()]
    told, expected = firkin.run("images", *options).stdout, docker.run("images", *options).stdout
    assert sorted(told.splitlines()) == sorted(expected.splitlines())
    if "-q" in options:
        assert told == expected, "ids come newest first"


@pytest.mark.parametrize("words", ["", "--no-trunc", "-q", "-H=false", "--format {{.CreatedBy}}|{{.Size}}|{{.Comment}}"])
def test_a_history_is_dockers(both: tuple[Firkin, Docker], words: str) -> None:
    firkin, docker = both
    for name in ("app:1", "base:1"):
        options = [*words.split(), name]
        told, expected = firkin.run("history", *options).stdout, docker.run("history", *options).stdout
        if words == "-H=false":  # the last step is that of the base
            told, expected = told.rpartition("<missing>")[0], expected.rpartition("<missing>")[0]
        assert told == expected


def normal(document: dict[str, Any]) -> dict[str, Any]:
    """Return what Engine 20.10 and 28 both say of an image, and what does not depend on how layers are stored."""
    for name in ("Container", "ContainerConfig", "VirtualSize", "GraphDriver", "Metadata", "Descriptor", "Manifests"):
        document.pop(name, None)
    return document


@pytest.mark.parametrize("name", ["base:1", "app:1", "app:old"])
def test_a_document_is_dockers(both: tuple[Firkin, Docker], name: str) -> None:
    firkin, docker = both
    (told,) = json.loads(firkin.run("image", "inspect", name).stdout)
    expected = docker.inspect(name)
    order = [key for key in expected if key in told]
    assert [key for key in told if key in expected] == order
    # docker counts symbolic links with overlay2, not with vfs; there are some in the base.
    assert 0 < told.pop("Size") - expected.pop("Size") < 100
    assert normal(told) == normal(expected)


def test_templates_and_missing_images(both: tuple[Firkin, Docker]) -> None:
    """Trap 17: what is found is printed, `[]` if nothing is, and the command fails."""
    firkin, docker = both
    for form in ("{{.Id}}", "{{.ID}} {{.Os}}", "{{json .Config.Env}}", "{{.Config.Labels.x}}", "{{len .RootFS.Layers}}",
                 "{{range .RepoTags}}{{.}} {{end}}"):  # fmt: skip
        for names in (("app:1",), ("app:1", "app:old")):
            words = ("image", "inspect", "-f", form, *names)
            assert firkin.run(*words).stdout == docker.run(*words).stdout, form
    for names in (("nothing:1",), ("nothing:1", "app:1"), ("nothing:1", "nothing:2")):
        told = firkin.run("image", "inspect", *names, check=False)
        expected = docker.run("image", "inspect", *names, check=False)
        assert told.returncode == expected.returncode == 1
        assert len(json.loads(told.stdout)) == len(json.loads(expected.stdout))
        for name in names:
            assert (f"No such image: {name}" in told.stderr) == (f"No such image: {name}" in expected.stderr)
    for words in (("image", "inspect", "Upper"), ("tag", "app:1", f"app@sha256:{'0' * 64}"), ("tag", "no:1", "x:1"),
                  ("tag", "app:1", "Upper"), ("history", "no:1"), ("images", "--filter", "x=y")):  # fmt: skip
        told, expected = firkin.run(*words, check=False), docker.run(*words, check=False)
        assert told.returncode == expected.returncode == 1, words
    assert "refusing to create a tag with a digest reference" in firkin.run(
        "tag", "app:1", f"app@sha256:{'0' * 64}", check=False
    ).stderr


def test_ids_and_formats(both: tuple[Firkin, Docker]) -> None:
    """Traps 15 and 16: `{{.ID}}` and `-q` follow --no-trunc; sizes are for people but in firkin's own --json."""
    firkin, _ = both
    for options in ((), ("--no-trunc",)):
        short = firkin.run("images", "-q", *options).stdout
        assert short == firkin.run("images", "--format", "{{.ID}}", *options).stdout
        assert short.startswith("sha256:") == bool(options)
    row = json.loads(firkin.run("images", "--format", "json", "app:1").stdout)
    assert set(map(type, row.values())) == {str} and row["Size"].endswith("MB")
    exact = json.loads(firkin.run("images", "--json", "app:1").stdout)
    (document,) = json.loads(firkin.run("inspect", "app:1").stdout)
    assert exact["unpacked_bytes"] == document["Size"] and exact["size_bytes"] < document["Size"]
    assert exact["id"].startswith(f"sha256:{row['ID']}")


def test_a_name_comes_before_an_id_that_begins_alike(firkin: Firkin) -> None:
    """Traps 10 to 12 begin with this: what a word means."""
    context = firkin.directory("context")
    for name in ("one", "two"):
        (context / "Dockerfile").write_text(f"FROM scratch\nLABEL name={name}\n")
        firkin.run("build", "-t", f"{name}:1", context)
    one = firkin.run("images", "-q", "--no-trunc", "one").stdout.strip()
    firkin.run("tag", "two:1", f"{one[7:14]}:latest")
    label = ("inspect", "-f", "{{.Config.Labels.name}}")
    assert firkin.run(*label, one[7:14]).stdout == "two\n"
    assert firkin.run(*label, f"sha256:{one[7:14]}").stdout == firkin.run(*label, one[7:15]).stdout == "one\n"


def test_lines_of_a_table_stay_lines_and_times_that_nobody_knows(firkin: Firkin) -> None:
    """Traps 18 and 19."""
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=\"b\\tc\"\nCOPY <<X <<Y /\none\tx\nX\ntwo\nY\n")
    firkin.run("build", "-t", "odd:1", "--source-date-epoch", "0", context)
    lines = firkin.run("history", "--no-trunc", "odd:1").stdout.splitlines()
    assert len(lines) == 3 and not any("\t" in line for line in lines)
    assert {line.split()[1] for line in lines[1:]} == {"N/A"}
    assert " years ago " in firkin.run("images", "odd").stdout
    manifest = json.loads(firkin.run("inspect", "--raw", "manifest", "odd:1").stdout)
    config = json.loads(firkin.run("inspect", "--raw", "config", "odd:1").stdout)
    for created in (None, "0001-01-01T00:00:00Z", "nonsense"):
        save_with(firkin, manifest, {**config, "created": created})
        row = firkin.run("images", "--format", "{{.CreatedSince}}|{{.CreatedAt}}", "changed").stdout
        assert row == "N/A|N/A\n"
        assert firkin.run("inspect", "-f", "{{.Id}}", "changed:1").stdout.startswith("sha256:")


def save_with(firkin: Firkin, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """Load an image with another configuration as changed:1."""
    import hashlib
    import io
    import tarfile

    blobs = firkin.store / "oci/blobs/sha256"
    raw = json.dumps(config).encode()
    names = [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]]
    place = firkin.place / "changed.tar"
    with tarfile.open(place, "w") as archive:
        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for name in names:
            add(name, (blobs / name.rpartition("/")[2]).read_bytes())
        add(f"{hashlib.sha256(raw).hexdigest()}.json", raw)
        listed = [{"Config": f"{hashlib.sha256(raw).hexdigest()}.json", "RepoTags": ["changed:1"], "Layers": names}]
        add("manifest.json", json.dumps(listed).encode())
    firkin.account.give(place)
    firkin.run("load", "-i", place)


def test_a_build_takes_its_platform_of_an_image_and_warns_of_another(firkin: Firkin, registry: Registry) -> None:
    """Trap 29."""
    here = this_platform().architecture
    other = "arm64" if here == "amd64" else "amd64"
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\n")
    name = registry.reference(f"model/{firkin.account.name}:1")
    firkin.run("build", "--platform", f"linux/{here},linux/{other}", "-t", name, "--push", context)
    elsewhere = ("--root", firkin.place / "elsewhere")
    firkin.run("pull", *elsewhere, "--platform", f"linux/{other}", name)
    label = ("inspect", *elsewhere, "-f", '{{index .Config.Labels "for"}} {{.Architecture}}')
    assert firkin.run(*label, name).stdout == f"{other} {other}\n", "only this one is here"
    (context / "Dockerfile").write_text(f"FROM {name}\nLABEL built=yes\n")
    firkin.run("build", *elsewhere, "-t", "child:1", context)
    assert firkin.run(*label, "child:1").stdout == f"{here} {here}\n", "the registry has this machine's"
    firkin.run("pull", *elsewhere, name)
    assert firkin.run(*label, name).stdout == f"{here} {here}\n"
    assert firkin.run(*label, "--platform", f"linux/{other}", name).stdout == f"{other} {other}\n", "both are kept"
    missing = firkin.run(*label, "--platform", "linux/s390x", name, check=False)
    assert missing.returncode == 1 and "does not provide the specified platform" in missing.stderr
    (context / "Dockerfile").write_text(f"FROM {name}\nLABEL built=yes\n")
    firkin.run("build", "-t", "alone:1", "--platform", f"linux/{other}", context)
    (context / "Dockerfile").write_text("FROM alone:1\nLABEL a=b\n")
    assert "InvalidBaseImagePlatform" in firkin.run("build", "-t", "warned:1", context).stderr


def test_a_damaged_image_is_told_and_hides_no_other(firkin: Firkin) -> None:
    context = firkin.directory("context")
    for name in ("good", "bad"):
        (context / "Dockerfile").write_text(f"FROM scratch\nLABEL name={name}\n")
        firkin.run("build", "-t", f"{name}:1", context)
    digest = json.loads(firkin.run("inspect", "bad:1").stdout)[0]["Descriptor"]["digest"]
    firkin.run("images")
    (firkin.store / "oci/blobs/sha256" / digest[7:]).write_bytes(b"{}")
    told = firkin.run("images", "--format", "{{.Repository}}")
    assert told.stdout == "good\n" and f"warning: {digest}: " in told.stderr
    told = firkin.run("inspect", "bad:1", "good:1", check=False)
    assert told.returncode == 1 and len(json.loads(told.stdout)) == 1 and "damaged" in told.stderr
