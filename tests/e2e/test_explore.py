"""Looking into images: a real registry, real images, and what umoci unpacks as the truth."""

import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import layouts
from support.accounts import Firkin
from support.bases import ensure_base
from support.registry import Registry

pytestmark = pytest.mark.registry

DOCKERFILE = """\
FROM {base}
COPY data /srv/data
COPY data/one /etc/motd
RUN rm -rf /srv/data/sub && ln -s ../srv/data/one /etc/link && chmod 4711 /srv/data/one && echo x > /srv/data/two
RUN rm -rf /home && mkdir -m 0700 /home && ln /etc/motd /home/hard
"""


@pytest.fixture
def pushed(firkin: Firkin, registry: Registry) -> str:
    """The name of an image of several layers that is in the registry and in no store that a test uses."""
    context = firkin.directory("context")
    (context / "data/sub").mkdir(parents=True)
    for name in ("one", "two", "sub/three"):
        (context / "data" / name).write_text(f"{name}\n")
    (context / "Dockerfile").write_text(DOCKERFILE.format(base="busybox"))
    firkin.account.give(context)
    name = registry.reference(f"explore/{firkin.account.name}:1")
    firkin.run("build", "--push", "-t", name, "--root", str(firkin.place / "builder"), context)
    return name


def blobs_got(registry: Registry, name: str) -> list[str]:
    repository = name.partition("/")[2].partition(":")[0]
    layers = {layer["digest"] for layer in registry.manifest(f"{repository}:1")["layers"]}
    asked = [path.rpartition("/")[2] for method, path, _ in registry.requests() if method == "GET" and repository in path]
    return [digest for digest in asked if digest in layers]


def truth_of(registry: Registry, name: str, place: Path) -> Path:
    """Return what others unpack of the image."""
    layout = place / "layout"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:x"], check=True)
    command = ["umoci", "unpack", "--image", f"{layout}:x", str(place / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    return place / "bundle/rootfs"


def described(root: Path) -> dict[str, tuple[str, int, int, int, str]]:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        target = os.readlink(path) if path.is_symlink() else ""
        found["/" + str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, size, target)
    return found


@pytest.mark.root
def test_the_listing_is_what_others_unpack(firkin: Firkin, registry: Registry, pushed: str, tmp_path: Path) -> None:
    truth = truth_of(registry, pushed, tmp_path)
    lines = firkin.run("ls", "-R", "--json", pushed).stdout.splitlines()
    kinds = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}
    listed = {
        item["path"]: (stat.filemode(kinds[item["type"]] | int(item["mode"], 8)), item["uid"], item["gid"], item["size"],
                       item.get("target", ""))
        for item in map(json.loads, lines)
    }  # fmt: skip
    assert listed == described(truth)
    out = firkin.directory("out")
    firkin.run("extract", pushed, "/", out)
    if firkin.account.is_root:  # nobody else can give files away
        assert described(out) == listed
    assert [found[0][0] for found in described(out).values()] == [found[0][0] for found in listed.values()]
    for path in truth.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert (out / path.relative_to(truth)).read_bytes() == path.read_bytes()
            assert (out / path.relative_to(truth)).stat().st_mtime == int(path.stat().st_mtime)
    assert (out / "etc/motd").stat().st_ino != (out / "srv/data/one").stat().st_ino


def test_no_layer_is_fetched_twice_and_only_those_needed(firkin: Firkin, registry: Registry, pushed: str) -> None:
    before = len(blobs_got(registry, pushed))
    assert firkin.run("cat", pushed, "/home/hard").stdout == "one\n"
    assert len(blobs_got(registry, pushed)) == before + 1  # the top layer alone has it
    assert firkin.run("cat", pushed, "etc/link").stdout == "one\n"
    for _ in range(2):
        assert "motd" in firkin.run("ls", pushed, "/etc").stdout.splitlines()
    firkin.run("ls", "-lR", pushed)
    got = blobs_got(registry, pushed)[before:]
    assert len(got) == len(set(got))
    assert firkin.run("images", "-q").stdout == ""  # looking gives no name
    firkin.run("pull", pushed)
    assert blobs_got(registry, pushed)[before:] == got  # what passed by is kept


def test_files_come_out_for_everybody(firkin: Firkin, registry: Registry, pushed: str) -> None:
    out = firkin.directory("out")
    firkin.run("extract", pushed, "/srv/data", cwd=out)
    assert sorted(os.listdir(out / "data")) == ["one", "two"]
    assert (out / "data/two").read_text() == "x\n"
    mode = (out / "data/one").stat().st_mode & 0o7777
    assert mode == (0o4711 if firkin.account.is_root else 0o711)
    assert (out / "data/one").stat().st_uid == firkin.account.uid
    again = firkin.run("extract", pushed, "/srv/data", cwd=out, check=False)
    assert again.returncode == 1 and "is there already" in again.stderr and "--force" in again.stderr
    firkin.run("extract", "--force", pushed, "/srv/data", cwd=out)
    with open(out / "all.tar", "wb") as file:
        firkin.account.run(
            firkin.command("extract", pushed, "/", "-"), stdout=file, env=firkin.environment(), capture_output=False,
            check=True, text=False, errors=None,
        )  # fmt: skip
    with tarfile.open(out / "all.tar") as archive:
        names = archive.getnames()
    assert {"bin", "etc/motd", "home/hard"} <= set(names) and "srv/data/sub" not in names


def test_two_images_are_compared(firkin: Firkin, registry: Registry, pushed: str) -> None:
    base = registry.reference("library/busybox:latest")
    same = firkin.run("diff", "--exit-code", pushed, pushed)
    assert (same.returncode, same.stdout) == (0, "")
    result = firkin.run("diff", "--exit-code", base, pushed, check=False)
    lines = result.stdout.splitlines()
    assert result.returncode == 1
    assert "A /srv/data/two  -rw-r--r-- 0:0 2" in lines and "A /etc/link  lrwxrwxrwx 0:0 -> ../srv/data/one" in lines
    assert not [line for line in lines if "/bin/" in line]
    kinds = {json.loads(line)["kind"] for line in firkin.run("diff", "--json", base, pushed).stdout.splitlines()}
    assert "file" in kinds
    alone = firkin.run("diff", pushed, check=False)
    assert alone.returncode == 1 and "No such container" in alone.stderr
    missing = firkin.run("diff", "--exit-code", pushed, registry.reference("explore/none:1"), check=False)
    assert missing.returncode > 1


def test_what_is_not_there_is_an_error_with_its_reason(firkin: Firkin, pushed: str) -> None:
    for words, told in (
        (("cat", pushed, "/nope"), "there is no such file"),
        (("cat", pushed, "/etc"), "is a directory"),
        (("ls", pushed, "/srv/data/sub"), "there is no such file"),
        (("ls", "--platform", "linux/s390x", pushed), "linux/s390x"),
        (("extract", pushed, "/etc", str(firkin.place / "none") + "/"), "no directory"),
    ):
        result = firkin.run(*words, check=False)
        assert (result.returncode, result.stdout) == (1, "") and told in result.stderr, result.stderr
    # A reader that has enough is no error to speak of.
    command = firkin.command("ls", "-R", pushed)
    with subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as head:
        result = firkin.account.run(command, stdout=head.stdin, stderr=subprocess.PIPE, capture_output=False,
                                    env=firkin.environment())  # fmt: skip
    assert result.stderr == ""


@pytest.mark.slow
def test_a_large_image_takes_little_memory(firkin: Firkin, registry: Registry) -> None:
    layout = ensure_base("bench")
    registry.seed(layout, "explore/large:1")
    descriptor, raw = layouts.read_manifest(layout)
    assert sum(layer["size"] for layer in json.loads(raw)["layers"]) > 100 << 20 and descriptor
    name = registry.reference("explore/large:1")
    # A process counts the memory of the one that started it: so this one must not be the tests' own.
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); " \
           "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"  # fmt: skip
    wrapped = ["/usr/bin/python3", "-c", code, *firkin.command("ls", "-R", name)]
    result = firkin.account.run(wrapped, env=firkin.environment(), cwd=str(firkin.place))
    assert result.returncode == 0 and len(result.stdout.splitlines()) > 10_000, result.stderr
    assert int(result.stderr.split()[-1]) < 150_000  # KiB
