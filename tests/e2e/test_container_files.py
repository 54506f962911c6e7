"""Files of containers: cp, diff, export and commit, as root and as an ordinary user."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, installation
from support.containers import make_box

pytestmark = pytest.mark.registry

_CREATE = """
import sys, json
from firkin.containers.config import Config, CreateRequest, HostConfig
from firkin.containers.create import create
from firkin.containers.image import image_for
from firkin.containers.opening import open_engine
from firkin.decode import decode_json
root, runtime, name, config, host = sys.argv[1:]
engine = open_engine(root, runtime=runtime)
request = CreateRequest(decode_json(config, Config), decode_json(host, HostConfig), name)
print(create(engine, request, image_for(engine, request.config.image)).id)
"""


def create(firkin: Firkin, name: str, host: dict[str, object] | None = None, **config: object) -> str:
    """Make a container of box:1 that does not run."""
    texts = json.dumps({"Image": "box:1", "Cmd": ["sh"], **config}), json.dumps(host or {})
    runtime = str(firkin.place / "run")
    command = [installation(firkin.account.uid).python, "-c", _CREATE, str(firkin.store), runtime, name, *texts]
    done = firkin.account.run(command, env=firkin.environment(), cwd=firkin.place, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def shared_box(shared_firkin: Firkin) -> Iterator[Firkin]:
    make_box(shared_firkin)
    yield shared_firkin


@pytest.fixture
def files(shared_box: Firkin, tmp_path: Path) -> Path:
    """A directory of the account with a few files."""
    place = shared_box.directory(f"files-{tmp_path.name}")
    (place / "d" / "sub").mkdir(parents=True)
    (place / "f").write_text("hello\n")
    (place / "d" / "sub" / "x").write_text("x\n")
    (place / "l").symlink_to("f")
    shared_box.account.give(place)
    return place


def members(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def tar_of(firkin: Firkin, *words: str) -> bytes:
    done = firkin.account.run(firkin.command(*words), env=firkin.environment(), cwd=firkin.place, text=False, errors=None)
    assert done.returncode == 0, done.stderr
    return done.stdout  # type: ignore[return-value]


def test_copies_to_and_from_a_container_that_never_ran(shared_box: Firkin, files: Path) -> None:
    create(shared_box, "copies")
    cp = shared_box.run
    cp("cp", files / "f", "copies:/tmp")
    cp("cp", files / "f", "copies:/tmp/named")
    cp("cp", files / "d", "copies:/opt")
    cp("cp", files / "d", "copies:/opt")
    cp("cp", f"{files}/d/.", "copies:/opt/contents")
    cp("cp", "-L", files / "l", "copies:/tmp/followed")
    cp("cp", files / "l", "copies:/tmp/kept")
    assert members(tar_of(shared_box, "cp", "copies:/opt", "-")) == [
        "opt", "opt/contents", "opt/contents/sub", "opt/contents/sub/x", "opt/d", "opt/d/sub", "opt/d/sub/x", "opt/sub",
        "opt/sub/x",
    ]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(tar_of(shared_box, "cp", "copies:/tmp/.", "-"))) as tar:
        assert tar.getmember("./kept").linkname == "f"
        assert tar.getmember("./followed").isreg()
        assert tar.getmember("./f").uid == shared_box.account.uid
    cp("cp", "copies:/opt/d", files / "back")
    assert (files / "back/sub/x").read_text() == "x\n"
    assert (files / "back/sub/x").stat().st_uid == shared_box.account.uid
    cp("cp", "copies:/tmp/f", files / "back")
    assert (files / "back/f").read_text() == "hello\n"
    # tar to tar
    done = shared_box.account.run(
        shared_box.command("cp", "-", "copies:/var"), env=shared_box.environment(), cwd=shared_box.place,
        input=tar_of(shared_box, "cp", "copies:/opt/d", "-"), text=False, errors=None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "var/d/sub/x" in members(tar_of(shared_box, "cp", "copies:/var", "-"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cp", "{files}/f", "cases:/none/x"), "Could not find the file /none in container cases"),
        (("cp", "{files}/f", "cases:/tmp/none/"), "no such directory"),
        (("cp", "{files}/d", "cases:/etc/passwd"), "cannot copy directory"),
        (("cp", "{files}/f", "cases:/etc/passwd/x"), "extraction point is not a directory"),
        (("cp", "{files}/none", "cases:/tmp"), "no such file or directory"),
        (("cp", "cases:/none", "{files}"), "Could not find the file /none in container cases"),
        (("cp", "cases:/etc", "{files}/f"), "cannot copy directory"),
        (("cp", "cases:/etc/passwd", "{files}/none/x"), "does not exist"),
        (("cp", "cases:/etc", "other:/etc"), "copying between containers is not supported"),
        (("cp", "{files}/f", "{files}/g"), "must specify at least one container source"),
        (("cp", "nobody:/etc", "{files}"), "No such container: nobody"),
        (("cp", "-", "cases:/etc/passwd"), 'destination "cases:/etc/passwd" must be a directory'),
    ],
)
def test_copies_that_cannot_be(shared_box: Firkin, files: Path, words: tuple[str, ...], said: str) -> None:
    if shared_box.run("cp", "cases:/etc/passwd", "-", check=False).returncode:
        create(shared_box, "cases")
    done = shared_box.run(*(word.format(files=files) for word in words), check=False)
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_a_file_never_replaces_a_directory_nor_the_reverse_trap_36(shared_box: Firkin, files: Path) -> None:
    create(shared_box, "replaces")
    (files / "etc").write_text("no directory")
    done = shared_box.run("cp", files / "etc", "replaces:/", check=False)
    assert done.returncode == 1 and "cannot overwrite directory" in done.stderr


def test_owners_are_the_users_only_if_that_is_asked_for_trap_35(shared_box: Firkin, files: Path) -> None:
    create(shared_box, "owners", User="12:34")
    shared_box.run("cp", files / "f", "owners:/tmp/numbers")
    shared_box.run("cp", "-a", files / "f", "owners:/tmp/user")
    with tarfile.open(fileobj=io.BytesIO(tar_of(shared_box, "cp", "owners:/tmp", "-"))) as tar:
        assert tar.getmember("tmp/numbers").uid == shared_box.account.uid
        assert (tar.getmember("tmp/user").uid, tar.getmember("tmp/user").gid) == (12, 34)


def test_volumes_are_filled_seen_and_left_out_of_exports(shared_box: Firkin, files: Path) -> None:
    host = {"Binds": ["filled:/etc:ro", f"{files}:/mnt/here"]}
    create(shared_box, "volumes", host)
    data = shared_box.store / "volumes/filled/data"
    assert (data / "passwd").exists()
    assert members(tar_of(shared_box, "cp", "volumes:/mnt/here/f", "-")) == ["f"]
    shared_box.run("cp", files / "f", "volumes:/mnt/here/written")
    assert (files / "written").read_text() == "hello\n"
    done = shared_box.run("cp", files / "f", "volumes:/etc", check=False)
    assert done.returncode == 1 and "mounted volume is marked read-only" in done.stderr
    exported = members(tar_of(shared_box, "export", "volumes"))
    assert "bin/sh" in exported and not any(name.startswith("mnt/here/") for name in exported)
    assert shared_box.run("container", "diff", "volumes").stdout == ""


def test_a_root_that_is_read_only(shared_box: Firkin, files: Path) -> None:
    create(shared_box, "frozen", {"ReadonlyRootfs": True})
    done = shared_box.run("cp", files / "f", "frozen:/tmp", check=False)
    assert done.returncode == 1 and "container rootfs is marked read-only" in done.stderr


def test_diff_commit_export_and_import(shared_box: Firkin, files: Path) -> None:
    create(shared_box, "made", Env=["A=1"])
    shared_box.run("cp", files / "f", "made:/etc/f")
    assert shared_box.run("diff", "made").stdout == "C /etc\nA /etc/f\n"
    id = shared_box.run(
        "commit", "-a", "Me", "-m", "a comment", "-c", "CMD [\"x\"]", "-c", "ENV B=2", "made", "made:1"
    ).stdout.strip()  # fmt: skip
    (document,) = json.loads(shared_box.run("inspect", "made:1").stdout)
    assert document["Id"] == id and document["Author"] == "Me" and document["Comment"] == "a comment"
    assert document["Config"]["Cmd"] == ["x"]
    assert {"A=1", "B=2"} <= set(document["Config"]["Env"])
    assert shared_box.run("ls", "made:1", "/etc/f").stdout
    assert shared_box.run("diff", "box:1", "made:1").stdout.count("A /etc/f") == 1
    # An image of one layer
    tar = tar_of(shared_box, "export", "made")
    shared_box.run("export", "-o", "made.tar", "made")
    assert (shared_box.place / "made.tar").read_bytes() == tar
    shared_box.run("import", "made.tar", "flat:1")
    (flat,) = json.loads(shared_box.run("inspect", "flat:1").stdout)
    assert len(flat["RootFS"]["Layers"]) == 1
    assert shared_box.run("cat", "flat:1", "/etc/f").stdout == "hello\n"


def test_a_commit_of_nothing_has_the_layers_of_its_base(shared_box: Firkin) -> None:
    create(shared_box, "unchanged")
    shared_box.run("commit", "unchanged", "unchanged:1")
    layers = [
        json.loads(shared_box.run("inspect", name).stdout)[0]["RootFS"]["Layers"] for name in ("box:1", "unchanged:1")
    ]
    assert layers[0] == layers[1]
