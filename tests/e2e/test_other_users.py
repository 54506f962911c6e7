"""What another, ordinary user of the machine gets of containers: nothing. As root and as a user."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Account, Firkin, account
from support.containers import remove_containers

pytestmark = [pytest.mark.registry, pytest.mark.root]

SECRET = "only-for-its-owner-4711"
NONE = ("--network", "none")


@pytest.fixture
def box(shared_box: Firkin) -> Iterator[Firkin]:
    """The store of the module, which everybody may enter, without containers in the end."""
    shared_box.store.chmod(0o755)  # as a directory that was there before is
    yield shared_box
    remove_containers(shared_box)


@pytest.fixture
def stranger() -> Account:
    return account("plain")


def monitor_of(box: Firkin, name: str) -> tuple[int, Path, str]:
    """Return pid, container's directory and socket of a monitor."""
    place = box.store / "containers" / json.loads(box.run("inspect", name).stdout)[0]["Id"]
    pid, _, path = (place / "monitor.lock").read_text().partition(" ")
    return int(pid), place, path


READ = """
import os, socket, sys
told = []
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 22)
    except OSError:
        return b""
for top in sys.argv[3:]:
    for place, folders, files in os.walk(top):
        told += [os.path.join(place, name) for name in files if sys.argv[2].encode() in read(os.path.join(place, name))]
for name in ("environ", "maps", "mem", "smaps", "auxv", "stack", "syscall", "io"):
    if read(f"/proc/{sys.argv[1]}/{name}"):
        told.append(name)
for name in ("cmdline", "stat", "status", "comm"):
    if sys.argv[2].encode() in read(f"/proc/{sys.argv[1]}/{name}"):
        told.append(name)
for name in ("fd", "map_files", "fdinfo"):
    try:
        told += os.listdir(f"/proc/{sys.argv[1]}/{name}")
    except OSError:
        pass
for name in ("exe", "cwd", "root"):
    try:
        told.append(os.readlink(f"/proc/{sys.argv[1]}/{name}"))
    except OSError:
        pass
print(sorted(told))
"""


def test_another_user_reads_nothing(box: Firkin, stranger: Account) -> None:
    """No state, launch document, log, volume, environment or memory; argv has the container's id and nothing else."""
    (box.place / "env").write_text(f"WORD={SECRET}\n")
    box.run("run", "-d", "--name", "one", *NONE, "--env-file", box.place / "env", "-l", f"label={SECRET}", "-v", "data:/data", "-v", "/also",
            "--health-cmd", f"echo {SECRET}", "box:1", "sh", "-c", "echo $WORD | tee /file /data/file /also/file; sleep 60")  # fmt: skip
    (box.place / "env").unlink()
    box.run("exec", "one", "sh", "-c", "until [ -s /also/file ]; do sleep 0.05; done")
    pid, place, path = monitor_of(box, "one")
    tops = (str(box.store), f"{box.store}/volumes/data/data", str(place / "log"), os.path.dirname(path))  # some by a name that one may know
    words = ["/usr/bin/python3", "-c", READ, str(pid), SECRET, *tops]
    found = box.account.run(words, cwd="/").stdout  # whoever owns it does find it
    assert str(place / "config.json") in found and "-json.log" in found and "/data/file" in found, found
    theirs = stranger.run(words, cwd="/")
    assert theirs.stdout == "[]\n", theirs
    shown = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert shown == [b"firkin-monitor", place.name[:12].encode()]


def test_another_user_cannot_connect(box: Firkin, stranger: Account) -> None:
    """Nor to a socket of another kind: none is abstract, whatever network the container has (CVE-2020-15257)."""
    before = abstract_sockets()
    box.run("run", "-d", "--name", "one", "--network", "host", "box:1", "sleep", "60")
    *_, path = monitor_of(box, "one")
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    assert box.account.run(["/usr/bin/python3", "-c", script]).returncode == 0
    assert "PermissionError" in stranger.run(["/usr/bin/python3", "-c", script], cwd="/").stderr
    # From within it there is no way either: no name in the machine's network, and no file.
    seen = box.run("exec", "one", "cat", "/proc/net/unix").stdout
    assert path in seen  # it is the machine's network, with the names of all its sockets
    told = [line.split()[-1] for line in seen.splitlines() if "@" in line.split()[-1]]
    assert {name for name in told if name not in before} == set() == abstract_sockets() - before
    assert box.run("exec", "one", "ls", path, check=False).returncode == 1
    assert os.stat(path).st_mode & 0o77 == 0 == os.stat(os.path.dirname(path)).st_mode & 0o77
    box.run("exec", "one", "true")
    assert abstract_sockets() <= before


def abstract_sockets() -> set[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.split()[-1].startswith("@") and "dbus" not in line}


# --- a runtime directory that somebody else made ---


@pytest.fixture
def user(shared_box: Firkin) -> Firkin:
    if shared_box.account.is_root:
        pytest.skip("root's lies in /run, where nobody else can make one")
    return shared_box


@pytest.fixture
def taken(user: Firkin, tmp_path: Path) -> Iterator[Path]:
    """Where the runtime directory of this user's would be, without a XDG_RUNTIME_DIR."""
    path = Path(f"/tmp/firkin-{user.account.uid}")
    shutil.rmtree(path, ignore_errors=True)
    yield path
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


RUN = ("run", "--rm", *NONE, "box:1", "echo", "ran")


def refused(box: Firkin, path: Path, why: str, runtime: str = "") -> None:
    """Nothing runs; the message has place and cause, and its hint a way out."""
    done = box.run(*RUN, check=False, env={"XDG_RUNTIME_DIR": runtime})
    assert (done.returncode, done.stdout) == (125, ""), done
    assert f"error: {path} {why}" in done.stderr and "hint: " in done.stderr and "XDG_RUNTIME_DIR" in done.stderr, done.stderr
    assert box.run("ps", "-aq").stdout == ""


def test_a_runtime_directory_of_somebody_else(user: Firkin, taken: Path, stranger: Account) -> None:
    taken.mkdir(0o777)
    taken.chmod(0o777)
    stranger.give(taken)
    refused(user, taken, f"belongs to another user (uid {stranger.uid})")
    assert list(taken.iterdir()) == []
    assert user.run(*RUN).stdout == "ran\n"  # the way out: a directory of one's own


def test_a_link_in_its_place(user: Firkin, taken: Path, stranger: Account, tmp_path: Path) -> None:
    target = user.directory("led-here")
    taken.symlink_to(target)
    os.lchown(taken, stranger.uid, stranger.gid)
    refused(user, taken, f"belongs to another user (uid {stranger.uid})")
    os.lchown(taken, user.account.uid, user.account.gid)
    refused(user, taken, "is a link")
    assert list(target.iterdir()) == []


def test_a_runtime_directory_that_others_may_write_to(user: Firkin, taken: Path) -> None:
    taken.mkdir()
    user.account.give(taken)
    taken.chmod(0o777)
    refused(user, taken, "can be written to by others")


def test_a_xdg_runtime_dir_of_somebody_else(user: Firkin, stranger: Account) -> None:
    theirs = user.directory("theirs")
    theirs.chmod(0o777)
    stranger.give(theirs)
    refused(user, theirs, f"belongs to another user (uid {stranger.uid})", str(theirs))
    theirs.chmod(0o700)
    done = user.run(*RUN, check=False, env={"XDG_RUNTIME_DIR": str(theirs)})
    assert done.returncode == 125 and str(theirs) in done.stderr and "hint: " in done.stderr, done.stderr


def test_a_socket_of_somebody_else_is_told_nothing(user: Firkin, taken: Path, stranger: Account) -> None:
    """Whoever made the directory waits in it, as a monitor would, for what `exec` or `start` have to say."""
    from firkin.containers.home.home import Home

    user.run("create", "--name", "one", *NONE, "box:1", "sleep", "60")
    id = json.loads(user.run("inspect", "one").stdout)[0]["Id"]
    place = Path(Home(str(user.store)).runtime(id))
    place = taken / place.relative_to(place.parent.parent)
    place.mkdir(parents=True)
    listening = (
        f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind('{place}/socket'); os.chmod('{place}/socket', 0o777); s.listen()\n"
        "print('ready', flush=True)\n"
        "while 1: print(s.accept()[0].recv(4096), flush=True)"
    )
    stranger.give(taken)
    fake = stranger.popen(["/usr/bin/python3", "-c", listening], stdout=subprocess.PIPE)
    try:
        assert fake.stdout is not None and fake.stdout.readline() == b"ready\n"
        for words in (("start", "one"), ("start", "-a", "one")):
            done = user.run(*words, check=False, env={"XDG_RUNTIME_DIR": ""}, timeout=30)
            assert done.returncode == 1 and f"{place}/socket is a socket of another user" in done.stderr, (words, done)
            assert "hint: " in done.stderr
    finally:
        fake.kill()
        heard = fake.communicate()[0]
    assert set(heard.splitlines()) <= {b"b''"}
    user.run("rm", "-f", "one")
