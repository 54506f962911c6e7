"""`cp - CONTAINER:DIR` with archives that nobody made by hand, and `cp` while a container swaps what is copied."""

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin
from support.containers import remove_containers
from support.scripts import run_python

pytestmark = pytest.mark.registry

NONE = ("--network", "none")


@pytest.fixture
def box(shared_box: Firkin) -> Iterator[Firkin]:
    """A container `one` that runs, with a volume at /vol."""
    shared_box.run("run", "-d", "--name", "one", *NONE, "-v", "/vol", "box:1", "sleep", "600")
    yield shared_box
    remove_containers(shared_box)


def archive(*members: tuple[str, dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, fields in members:
            data = fields.pop("data", b"")
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


PUT = """
import os, sys, time
import firkin
from firkin.containers.archive import put_archive
from firkin.containers.opening import open_engine
from firkin.errors import FirkinError
from firkin.layer.limits import UnpackLimits
limits = UnpackLimits(entries=1000)
engine = open_engine(firkin.connect().root, runtime=os.environ["XDG_RUNTIME_DIR"], limits=limits)
record = engine.home.find("one")
with open(sys.argv[1], "rb") as file:
    data = file.read()
for size in sys.argv[3:]:
    began = time.monotonic()
    piece, data = data[: int(size)], data[int(size) :]
    try:
        put_archive(engine, record, sys.argv[2], [piece])
        said = "fine"
    except FirkinError as error:
        said = error.message
    assert "internal" not in said and time.monotonic() - began < 20, said
    print(repr(said))
"""


def put(box: Firkin, *archives: bytes, target: str = "/tmp") -> list[str]:
    """Unpack archives in the container, of at most 1000 entries each; return what was said to each."""
    path = box.place / "archives"
    path.write_bytes(b"".join(archives))
    box.account.give(path)
    done = run_python(box, PUT, str(path), target, *(str(len(each)) for each in archives))
    path.unlink()
    return [line[1:-1] for line in done.stdout.splitlines()]


def inside(box: Firkin, script: str) -> str:
    return box.run("exec", "one", "sh", "-c", script, check=False).stdout


LINK, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}


def test_nothing_is_written_or_linked_outside_of_the_container(box: Firkin, tmp_path: Path) -> None:
    """By `..`, absolute names, links to directories, hard links to and through links, and the machine's own paths."""
    mark = f"mark-{os.getpid()}"
    up = "../" * 20
    secret = box.directory(f"secret-{tmp_path.name}")
    (secret / "f").write_text("of this machine")
    box.account.give(secret)
    archives = [
        archive((name, fields))
        for name, fields in (
            (f"{up}tmp/{mark}", {"data": b"x"}), (f"/tmp/{mark}", {"data": b"x"}), (f"a/{up}tmp/{mark}", {"data": b"x"}),
            ("hard", {**HARD, "linkname": f"{up}{secret}/f"}), ("hard", {**HARD, "linkname": str(secret / "f")}),
            (f"{secret}/{mark}", {"data": b"x"}),
        )
    ]  # fmt: skip
    ways = (str(secret), f"{up}{secret}", f"/proc/1/root{secret}", f"/proc/self/root{secret}", "/proc/1/cwd", "/proc/self/fd/3", "/")
    for number, target in enumerate(ways):
        link = (f"l{number}", {**LINK, "linkname": target})
        archives += [
            archive(link, (f"l{number}/{mark}", {"data": b"x"})), archive(link, (f"h{number}", {**HARD, "linkname": f"l{number}/f"})),
            archive(link, (f"i{number}", {**HARD, "linkname": f"l{number}"}), (f"i{number}/{mark}", {"data": b"x"})),
        ]  # fmt: skip
    assert "fine" in put(box, *archives)
    assert sorted(path.name for path in secret.iterdir()) == ["f"] and os.stat(secret / "f").st_nlink == 1
    assert not Path("/tmp", mark).exists() and not Path("/", mark).exists()
    assert "of this machine" not in inside(box, "cat /tmp/* /tmp/*/f 2>/dev/null")


def test_members_that_contradict_each_other(box: Firkin) -> None:
    """One name twice, as different kinds, in every order: the last one counts, and a link is never written through."""
    folder = {"type": tarfile.DIRTYPE, "mode": 0o755}
    one = archive(("x", {"data": b"1"}), ("x", {**folder}), ("x/y", {"data": b"2"}), ("x", {"data": b"3"}),
                  ("x", {**LINK, "linkname": "/etc"}), ("x", {**folder}), ("x/written", {"data": b"4"}))  # fmt: skip
    two = archive(("p", {**LINK, "linkname": "/etc/passwd"}), ("p", {"data": b"5"}), ("q", {**HARD, "linkname": "p"}), ("q", {"data": b"6"}),
                  ("q", {**HARD, "linkname": "q"}))  # fmt: skip
    tops = [archive((name, {**fields})) for name in (".", "./", "/", "..", "a/..") for fields in ({"data": b"x"}, {**LINK, "linkname": "/etc"})]
    said = put(box, one, two, *tops)
    assert said[0] == "fine"
    look = "ls /tmp/x; cat /tmp/x/written /tmp/p; grep -c root /etc/passwd; test -e /etc/written && echo there; test -d /tmp && ! test -L /tmp && echo kept"
    assert inside(box, look) == "written\n451\nkept\n", said


def test_devices_of_an_archive_open_nothing(box: Firkin) -> None:
    """The node of a disk, of memory, of a terminal: it cannot be made, or cannot be opened; in a volume neither."""
    disks = [os.stat(f"/dev/{name}").st_rdev for name in os.listdir("/dev") if name in ("vda", "sda", "loop0")]
    # Not the console (5:1), which Docker's rules give to every container.
    nodes = {
        "disk": (tarfile.BLKTYPE, *disks, os.makedev(7, 0)), "memory": (tarfile.CHRTYPE, os.makedev(1, 1)),
        "terminal": (tarfile.CHRTYPE, os.makedev(4, 1)),
    }  # fmt: skip
    archives = [
        archive((name, {"type": kind, "devmajor": os.major(number), "devminor": os.minor(number), "mode": 0o666}))
        for name, (kind, number, *_) in nodes.items()
    ]
    for place in ("/tmp", "/vol", "/dev"):
        put(box, *archives, target=place)
    look = "for f in /tmp /vol /dev; do for n in disk memory terminal; do head -c1 $f/$n 2>&1 && echo opened $f/$n; done; done"
    assert "opened" not in inside(box, look)


def header(name: bytes, kind: bytes, size: int) -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136] = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    block[136:148], block[148:156], block[156:157] = b"00000000000\0", b" " * 8, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_headers_and_files_without_end_are_refused_at_once(box: Firkin) -> None:
    """Nothing of what an archive claims is taken for granted: no memory is held, and no disk is filled for it."""
    rest = bytes(1 << 20)
    record = b"30 a=" + b"x" * 24 + b"\n"
    globals_ = header(b"g", b"g", len(record) * 32768) + record * 32768
    globals_ += bytes(-len(globals_) % 512)
    said = put(
        box, header(b"x", b"x", 1 << 30) + rest, header(b"x", b"L", 1 << 30) + rest, header(b"x", b"g", 1 << 30) + rest, globals_ * 20,
        header(b"x", b"0", 1 << 62) + rest, sparse(8 << 40), header(b"f", b"0", 0) * 1001 + rest, header(b"f", b"0", 0) * 1000 + rest,
        sparse(64 << 30),
    )  # fmt: skip
    words = ("too big", "too big", "too big", "too big", "unpacks to more than", "unpacks to more than", "more than the 1000 entries")
    assert all(word in text for word, text in zip(words, said[:7], strict=True)), said
    assert said[7:] == ["fine", "fine"], said
    blocks = inside(box, "stat -c '%s %b' /tmp/hole").split()
    assert blocks[0] == str(64 << 30) and int(blocks[1]) <= 64  # what is a hole stays one


def sparse(size: int) -> bytes:
    """Return a file of this size with four bytes at its start (GNU's format 1.0)."""
    body = (b"1\n0\n4\n".ljust(512, b"\0")) + b"data".ljust(512, b"\0")
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole", "GNU.sparse.realsize": str(size)}
    return archive(("hole", {"data": body[:516], "pax_headers": fields}))


def test_a_bomb_of_ten_million_entries_ends_when_it_is_told_to(box: Firkin) -> None:
    """50 KB of gzip are 5 GB of headers; whoever interrupts that waits for a moment, and the container goes on."""
    million = header(b"f", b"0", 0) * 200_000
    bomb = gzip.compress(million, 1) * 50
    with box.popen("cp", "-", "one:/tmp", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as front:
        assert front.stdin is not None
        time.sleep(2)  # it may end on its own, refused
        try:
            os.set_blocking(front.stdin.fileno(), False)
            os.write(front.stdin.fileno(), bomb)
        except (BrokenPipeError, BlockingIOError):
            pass
        time.sleep(1)
        assert front.poll() is None
        resident = int(Path(f"/proc/{front.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 150 << 20
        began = time.monotonic()
        front.send_signal(signal.SIGINT)
        front.stdin.close()
        front.wait(20)
        assert time.monotonic() - began < 5
    assert inside(box, "echo alive") == "alive\n"


# --- cp beside a container that swaps ---

SWAP = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
first, second = (os.fsencode(word) for word in sys.argv[1:])
print(flush=True)
while True:
    exchange(-100, first, -100, second, 2)
"""

COPY = """
import io, os, sys, tarfile, time
import firkin
from firkin.containers.archive import get_archive, path_stat, put_archive
from firkin.containers.opening import open_engine
from firkin.errors import FirkinError
engine = open_engine(firkin.connect().root, runtime=os.environ["XDG_RUNTIME_DIR"])
record = engine.home.find("one")
stream = io.BytesIO()
with tarfile.open(fileobj=stream, mode="w") as tar:
    for name in ("written", "sub/written"):
        member = tarfile.TarInfo(name)
        member.size = 7
        tar.addfile(member, io.BytesIO(b"written"))
end = time.monotonic() + 15
rounds = told = 0
while rounds < 200 and time.monotonic() < end:
    rounds += 1
    try:
        if rounds % 3 == 0:
            put_archive(engine, record, "/swap/d", [stream.getvalue()])
        else:
            path = ("/swap/d/f", "/swap/d", "/swap")[rounds % 4 % 3]
            with get_archive(engine, record, path) as (found, pieces):
                data = b"".join(pieces)
            assert b"of-this-machine" not in data, path
            told += b"of the container" in data
            path_stat(engine, record, "/swap/d/f")
    except FirkinError as error:
        assert "internal" not in error.message, error.message
print(rounds, told)
"""


@pytest.mark.root
@pytest.mark.parametrize("state", ["runs", "rests"])
def test_two_hundred_copies_beside_links_that_are_swapped(box: Firkin, tmp_path: Path, state: str) -> None:
    """CVE-2018-15664: the swaps are made from outside, much quicker than a container could."""
    secret = box.directory(f"swapped-{tmp_path.name}")
    (secret / "f").write_text("of-this-machine")
    (secret / "f").chmod(0o600)
    (secret / "sub").mkdir()
    box.account.give(secret)
    up = "../" * 20
    inside(box, f"mkdir -p /swap/d/sub; echo of the container >/swap/d/f; ln -s {up}{secret} /swap/e")
    pid = box.run("inspect", "-f", "{{.State.Pid}}", "one").stdout.strip()
    place = Path(f"/proc/{pid}/root/swap")
    if state == "rests":
        box.run("stop", "-t", "0", "one")
        place = box.store / "containers" / box.run("inspect", "-f", "{{.Id}}", "one").stdout.strip() / "upper/swap"
    with subprocess.Popen([sys.executable, "-c", SWAP, place / "d", place / "e"], stdout=subprocess.PIPE) as swaps:
        try:
            assert swaps.stdout is not None
            swaps.stdout.readline()
            rounds, told = map(int, run_python(box, COPY).stdout.split())
        finally:
            swaps.kill()
    assert rounds > 20 and told
    assert sorted(path.name for path in secret.rglob("*")) == ["f", "sub"]
