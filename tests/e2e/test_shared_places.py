"""Places that containers share, while one swaps what is there for links, and mounts that must stay where they are.

What a container could do is done here by a process of the machine, which is much quicker at it. Plans are performed by
the real kernel, without a monitor: as root, in a user namespace, and in one with a single id.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.contained import MAPS, Box, Ended, contained_box

from firkin.containers.documents.record import MountPoint

pytestmark = [pytest.mark.root]

ROUNDS, MOST_S = 100, float(os.environ.get("FIRKIN_TORTURE_S", "5"))
SECRET = "of-this-machine"
SWAP = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
names = [os.fsencode(word) for word in sys.argv[1:]]
pairs = [(-100, names[i], -100, names[i + 1], 2) for i in range(0, len(names), 2)]
print(flush=True)
while True:
    for pair in pairs:
        exchange(*pair)
"""


@pytest.fixture(params=list(MAPS))
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    yield from contained_box(request.param)


@pytest.fixture
def shared(box: Box) -> Path:
    """A directory that containers share, as a volume."""
    place = box.place / "shared"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    return place


@pytest.fixture
def secret(box: Box) -> Iterator[Path]:
    """A directory of this machine, which must neither be seen nor changed."""
    place = box.place / "secret"
    (place / "there").mkdir(parents=True)
    for path in (place / "mark", place / "there" / "mark"):
        path.write_text(SECRET)
        path.chmod(0o600)
    before = picture(place)
    yield place
    assert picture(place) == before
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


def picture(place: Path) -> list[tuple[str, int, int, int]]:
    return [(str(path), *os.lstat(path)[:1], os.lstat(path).st_uid, os.lstat(path).st_size) for path in sorted(place.rglob("*"))]


def volume(source: Path, target: str, **fields: object) -> MountPoint:
    return MountPoint("volume", target, source=str(source), **{"propagation": "rprivate", **fields})  # type: ignore[arg-type]


@contextlib.contextmanager
def swapping(*pairs: tuple[Path, Path]) -> Iterator[None]:
    """Exchange the paths of each pair, as often as possible."""
    words = [str(path) for pair in pairs for path in pair]
    with subprocess.Popen([sys.executable, "-c", SWAP, *words], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def rounds(call: Callable[[], Ended]) -> list[Ended]:
    """Start a container again and again; returns how each ended, of which some must have run."""
    until = time.monotonic() + MOST_S
    ended = []
    while len(ended) < ROUNDS and time.monotonic() < until:
        ended.append(call())
    assert {each.code for each in ended} <= {0, 1, 126, 127, 128}, ended
    assert SECRET not in str(ended)
    return ended


def make_link(path: Path, target: str | Path) -> tuple[Path, Path]:
    """Make a link beside a path, which is to be swapped for it."""
    beside = path.with_name(f"{path.name}-link")
    beside.symlink_to(target)
    return path, beside


def test_masks_hold_while_dev_is_a_volume_that_changes(box: Box, shared: Path, secret: Path) -> None:
    """CVE-2025-31133: what covers a file of /proc is the machine's null device, whatever /dev/null is by then."""
    for name in ("null", "console", "kcore"):
        (shared / name).write_text("a file")
    (shared / "pts").mkdir()
    pairs = [make_link(shared / "null", secret / "mark"), make_link(shared / "console", "/proc/sys/kernel/core_pattern"),
             make_link(shared / "kcore", "/proc/kcore"), make_link(shared / "pts", "/proc")]  # fmt: skip
    look = "for f in /proc/kcore /proc/keys /proc/timer_list; do [ ! -e $f ] || { stat -c '%F %t:%T' $f; head -c9 $f; }; done"
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    with swapping(*pairs):
        ended = rounds(lambda: box.run("sh", "-c", look, mounts=(volume(shared, "/dev"),)))
    ran = [each.out for each in ended if each.code == 0]
    assert ran and set("".join(ran).splitlines()) == {"character special file 1:3"}, set(ran)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_console_holds_while_what_lies_beside_it_changes(box: Box, shared: Path, secret: Path) -> None:
    """CVE-2025-52565: the terminal is mounted over a file that was made for it, before anybody could reach it."""
    for name in ("pts", "console"):
        (shared / name).mkdir()
    pairs = [make_link(shared / "pts", "/proc/sys/kernel"), make_link(shared / "console", secret)]
    mounts = (volume(shared, "/dev/pts/x"), volume(shared, "/dev/shared"))
    look = "stat -c '%F' /dev/console; echo told >/dev/console; grep -c ' /dev/console devpts ' /proc/mounts"
    with swapping(*pairs):
        ended = rounds(lambda: box.run("sh", "-c", look, config={"tty": True}, mounts=mounts))
        ended += rounds(lambda: box.run("sh", "-c", look, config={"tty": True}, mounts=(volume(shared, "/dev/shared"),)))
    assert {each.out for each in ended if each.code == 0} == {"character special file\r\ntold\r\n1\r\n"}


def test_a_mount_in_a_volume_lands_in_the_container(box: Box, shared: Path, secret: Path) -> None:
    """CVE-2021-30465: the mount point lies in a volume, where another container swaps its directories for links."""
    (shared / "in" / "there").mkdir(parents=True)
    (shared / "deep" / "a" / "b").mkdir(parents=True)
    other = box.place / "other"
    other.mkdir()
    (other / "mark").write_text("of the volume")
    other.chmod(0o755)
    up = "/".join([".."] * 12)
    pairs = [make_link(shared / "in", secret), make_link(shared / "deep" / "a", f"{up}{secret}")]
    mounts = (volume(shared, "/data"), volume(other, "/data/in/there"), volume(other, "/data/deep/a/b"))
    look = "cat /data/in/there/mark /data/in/mark /data/deep/a/b/mark /data/deep/a/mark; ls / /data/* /data/deep/*; grep -c '/other /' /proc/self/mountinfo"
    with swapping(*pairs):
        ended = rounds(lambda: box.run("sh", "-c", look, mounts=mounts))
    assert {each.out.splitlines()[-1] for each in ended if each.out} == {"2"}  # neither is lost anywhere else


def test_a_part_of_a_volume_stays_in_it(box: Box, shared: Path, secret: Path) -> None:
    """`volume-subpath`, also as `--volumes-from` takes it over: links are followed in the volume alone."""
    (shared / "a" / "there").mkdir(parents=True)
    (shared / "a" / "there" / "mark").write_text("of the volume")
    up = "/".join([".."] * 12)
    pairs = [make_link(shared / "a", secret), make_link(shared / "a" / "there", f"{up}{secret}/there")]
    mounts = (volume(shared, "/data", subpath="a/there"),)
    with swapping(*pairs):
        ended = rounds(lambda: box.run("sh", "-c", "cat /data/mark; ls -a /data /data/..", mounts=mounts))
    assert any("of the volume" in each.out for each in ended)


def test_the_top_of_a_volume_cannot_be_replaced(box: Box, shared: Path, secret: Path) -> None:
    """A container that has a volume mounted changes what is in it, never where it is; a link in it is no way either."""
    data = shared / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    before = os.lstat(data).st_ino
    script = f"rmdir /v; mv /v /w; ln -sfn {secret} /v; cd /v && mv . ../x; mv ../v /y; rm -rf /v; umount /v; ln -s {secret} /v/l; mkdir -p /v/d; true"
    box.run("sh", "-c", script, mounts=(volume(data, "/v"),), **MIGHTY)
    assert os.lstat(data).st_ino == before and not data.is_symlink() and sorted(os.listdir(shared)) == ["data"]
    for subpath in ("l", "l/there", "d/../l", "d/../../secret", "../secret", "/../secret"):
        ended = box.run("sh", "-c", "echo ran; cat /v/mark", mounts=(volume(data, "/v", subpath=subpath),))
        assert SECRET not in ended.out, (subpath, ended)


# --- propagation ---


@pytest.fixture
def given(box: Box) -> Iterator[Path]:
    """A mount of this machine that tells others of mounts in it, and has another one in it."""
    place = box.place / "given"
    place.mkdir()
    for path in (place, place / "sub"):
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "given", path], check=True)
        subprocess.run(["mount", "--make-shared", path], check=True)
        for name in ("in", "late", "host", "sub"):
            (path / name).mkdir()
    try:
        yield place
    finally:
        subprocess.run(["umount", "-R", "-l", place], check=True)


def mounts_of_machine(box: Box) -> set[str]:
    """Return where something is mounted, but for the places of tests that run beside this one."""
    found = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    others = (f"{tempfile.gettempdir()}/", f"{os.path.dirname(box.place)}/firkin-contained-")
    return {path for path in found if path.startswith(f"{box.place}/") or not path.startswith(others)}


MIGHTY = {"cap_add": ("SYS_ADMIN",), "security_opt": ("seccomp=unconfined",)}
MOUNT = (
    "mount -t tmpfs none /s/in; mount -t tmpfs none /s/sub/in; mkdir -p /x; mount -t tmpfs none /x; mount --make-rshared / ;"
    "mount -t tmpfs none /tmp; mount -t tmpfs none /etc; mount --bind /bin /x; mount --move /s /home; mount -t tmpfs none /home/late;"
    "grep -c ' /x ' /proc/mounts"
)


@pytest.mark.parametrize("kind", ["rprivate", "private", "rslave", "slave", "rshared", "shared"])
def test_mounts_of_a_container_appear_nowhere_but_where_it_was_given(box: Box, given: Path, kind: str) -> None:
    """A container that may mount: by `shared` it reaches what it was given, by all others nothing."""
    mount = MountPoint("bind", "/s", source=str(given), propagation=kind)
    before = mounts_of_machine(box)
    ended = box.run("sh", "-c", MOUNT, mounts=(mount,), **MIGHTY)
    appeared = mounts_of_machine(box) - before
    if kind.endswith("shared") and box.maps is None:
        assert str(given / "in") in appeared and all(path.startswith(f"{given}/") for path in appeared), appeared
        assert ended.out.endswith("2\n") and ended.code == 0, ended
    else:
        # To a user namespace mounts only come: none of its own may reach others.
        assert appeared == set(), appeared
        assert ended.code == 0 or "is not a shared mount" in ended.failure, ended


def test_by_default_mounts_neither_come_nor_go(box: Box, given: Path) -> None:
    mount = MountPoint("bind", "/s", source=str(given), propagation="rprivate")
    ended = box.run("grep", "-E", " (shared|master|propagate_from):", "/proc/self/mountinfo", mounts=(mount,), **MIGHTY)
    assert (ended.code, ended.out) == (1, ""), ended


def test_a_slave_sees_what_comes_and_tells_nothing(box: Box, given: Path) -> None:
    mount = MountPoint("bind", "/s", source=str(given), propagation="rslave")
    run = box.start("sh", "-c", "echo ready; until grep -q ' /s/host ' /proc/mounts; do sleep 0.05; done; echo seen", mounts=(mount,))
    assert os.read(run.output, 6) == b"ready\n"
    subprocess.run(["mount", "-t", "tmpfs", "late", given / "host"], check=True)
    assert run.wait().out == "seen\n"
