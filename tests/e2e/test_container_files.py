"""Files of containers: cp, diff, export and commit, as root and as an ordinary user."""

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.containers import make_box
from support.scripts import run_python

pytestmark = pytest.mark.registry

_CREATE = """
import json, sys
import firkin
from firkin.containers.documents.config import Config, CreateRequest, HostConfig
from firkin.containers.create import create
from firkin.containers.keeping.image import image_for
from firkin.containers.opening import open_engine
from firkin.containers.start import start
from firkin.decode import decode_json
root, runtime, name, config, host, begin = sys.argv[1:]
engine = open_engine(root, runtime=runtime)
request = CreateRequest(decode_json(config, Config), decode_json(host, HostConfig), name)
id = create(engine, request, image_for(engine, request.config.image)).id
if begin:
    start(engine, id)
print(id)
"""


def create(
    firkin: Firkin, name: str, host: dict[str, object] | None = None, *, start: bool = False, **config: object
) -> str:
    """Make a container of box:1, and start it."""
    texts = json.dumps({"Image": "box:1", "Cmd": ["sh"], **config}), json.dumps({"NetworkMode": "none", **(host or {})})
    done = run_python(firkin, _CREATE, str(firkin.store), str(firkin.place / "run"), name, *texts, "start" * start)
    return done.stdout.strip()


_REMOVE = """
import firkin
from firkin.containers.opening import open_engine
from firkin.containers.remove import remove
from firkin.containers.stop import kill
engine = open_engine(firkin.connect().root, runtime=__import__("os").environ["XDG_RUNTIME_DIR"])
for entry in engine.home.entries():
    if entry.state.running:
        kill(engine, entry.record.id)
    remove(engine, entry.record.id, force=True, volumes=True)
"""


@pytest.fixture(scope="module")
def shared_box(shared_firkin: Firkin) -> Iterator[Firkin]:
    make_box(shared_firkin)
    yield shared_firkin
    run_python(shared_firkin, _REMOVE)


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


# --- running containers ---


def put(firkin: Firkin, place: str, data: bytes, *, check: bool = True) -> str:
    done = firkin.account.run(
        firkin.command("cp", "-", place), env=firkin.environment(), cwd=firkin.place, input=data, text=False, errors=None
    )
    said = bytes(done.stderr).decode()  # type: ignore[arg-type]
    assert not check or done.returncode == 0, said
    return said


def archive(*members: tuple[str, dict[str, object]]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, fields in members:
            member = tarfile.TarInfo(name)
            content = fields.pop("data", b"")
            assert isinstance(content, bytes)
            for field, value in fields.items():
                setattr(member, field, value)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


SLEEP = ["sh", "-c", "mkdir -p /srv/d; echo inside > /srv/d/f; echo x > /ram/f; touch /ready; exec sleep 1000"]


def running(firkin: Firkin, name: str, host: dict[str, object] | None = None, cmd: list[str] | None = None) -> str:
    id = create(firkin, name, {"Tmpfs": {"/ram": ""}, **(host or {})}, start=True, Cmd=cmd or SLEEP)
    for _ in range(600):
        if firkin.run("cp", f"{name}:/ready", "-", check=False).returncode == 0:
            return id
    raise AssertionError("it does not begin")


def test_a_running_container_has_its_mounts_and_memory(shared_box: Firkin, files: Path) -> None:
    running(shared_box, "lives", {"Binds": ["alive:/vol"]})
    assert members(tar_of(shared_box, "cp", "lives:/ram", "-")) == ["ram", "ram/f"]
    shared_box.run("cp", files / "f", "lives:/ram/g")
    shared_box.run("cp", files / "f", "lives:/vol")
    assert (shared_box.store / "volumes/alive/data/f").exists()
    assert members(tar_of(shared_box, "cp", "lives:/ram/.", "-")) == [".", "./f", "./g"]
    # A file that is a mount point is written in place.
    put(shared_box, "lives:/etc", archive(("hosts", {"data": b"1.2.3.4 four\n"})))
    with tarfile.open(fileobj=io.BytesIO(tar_of(shared_box, "cp", "lives:/etc/hosts", "-"))) as tar:
        found = tar.extractfile("hosts")
        assert found is not None and found.read() == b"1.2.3.4 four\n"
    assert "A /srv/d/f" in shared_box.run("diff", "lives").stdout.splitlines()
    names = members(tar_of(shared_box, "export", "lives"))
    assert "srv/d/f" in names and not any(name.startswith(("ram/", "vol/")) for name in names)
    shared_box.run("commit", "lives", "lives:1")
    assert shared_box.run("cat", "lives:1", "/srv/d/f").stdout == "inside\n"


def test_links_of_a_tar_lead_nowhere_but_into_the_container(shared_box: Firkin) -> None:
    running(shared_box, "links")
    put(shared_box, "links:/tmp", archive(
        ("out", {"type": tarfile.SYMTYPE, "linkname": "../../../../../../etc"}),
        ("out/written", {"data": b"x"}),
        ("../../../climbed", {"data": b"y"}),
        ("/absolute", {"data": b"z"}),
    ))  # fmt: skip
    assert members(tar_of(shared_box, "cp", "links:/etc/written", "-")) == ["written"]
    assert {"tmp/climbed", "tmp/absolute"} <= set(members(tar_of(shared_box, "cp", "links:/tmp", "-")))
    assert not Path("/etc/written").exists()
    said = put(shared_box, "links:/tmp", archive(("h", {"type": tarfile.LNKTYPE, "linkname": "../../nothing"})), check=False)
    assert "no such file" in said


def test_damaged_and_endless_tars(shared_box: Firkin) -> None:
    running(shared_box, "damaged")
    for data in (b"x" * 2000, archive(("f", {"data": b"x" * 9000}))[:3000]):
        assert put(shared_box, "damaged:/tmp", data, check=False).startswith("error: ")
    assert put(shared_box, "damaged:/tmp", b"") == ""


def test_a_container_that_swaps_directories_for_links_gets_nothing_of_this_machine(
    shared_box: Firkin, files: Path
) -> None:
    """CVE-2018-15664: no path is resolved twice, nor outside of the container's root."""
    secret = files / "secret"
    secret.mkdir()
    (secret / "f").write_text("of this machine\n")
    shared_box.account.give(files)
    swap = (
        f"mkdir -p /swap/d {secret}; echo inside > /swap/d/f; echo inside > {secret}/f; touch /ready;"
        f"while :; do mv /swap/d /swap/e; ln -s {secret} /swap/d; rm /swap/d; mv /swap/e /swap/d; done"
    )
    running(shared_box, "swaps", None, ["sh", "-c", swap])
    ends = threading.Event()

    def write() -> None:
        data = archive(("g", {"data": b"written"}))
        while not ends.is_set():
            put(shared_box, "swaps:/swap/d", data, check=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(12):
            done = shared_box.run("cp", "swaps:/swap/d/f", "-", check=False)
            assert "of this machine" not in done.stdout
    finally:
        ends.set()
        writer.join()
    assert sorted(path.name for path in secret.iterdir()) == ["f"]


_LOOK = """
import importlib, os, sys
import firkin
from firkin.containers.files.inside import inside
from firkin.containers.opening import open_engine
from firkin.containers.files.places import standing
engine = open_engine(firkin.connect().root, runtime=os.environ["XDG_RUNTIME_DIR"])

def job(inner):
    with open("/etc/hostname") as file:
        host = file.read()
    kept = [fd for fd in range(3, 256) if is_open(fd)]
    assert len(kept) == 3 and {inner._source, inner._stream} < set(kept), kept
    try:
        importlib.import_module("wave")
    except ImportError:
        return host.encode()
    return b"loaded"

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

record = engine.home.find(sys.argv[1])
with standing(engine, record, writes=False) as place:
    assert place.view == sys.argv[2], place.view
    with inside(place, job) as session:
        assert session.result().decode().strip() == record.config.hostname, session.result()
"""


@pytest.mark.parametrize("start", [True, False])
def test_nothing_is_loaded_from_a_container(shared_box: Firkin, start: bool) -> None:
    """CVE-2019-14271: a module that is not loaded yet cannot be, once the container's files are those at `/`."""
    name = f"loads{start}"
    create(shared_box, name, start=start, Cmd=SLEEP)
    run_python(shared_box, _LOOK, name, "live" if start else "rest")
