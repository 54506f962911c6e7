"""Layers are unpacked in a process that can do nothing else, with the same outcome as in our own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import is_running

from firkin.layer.blob import unpack_blob
from firkin.layer.index import IndexWriter
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import LayerDigests, write_layer
from firkin.oci.descriptor import Descriptor

# Each program has one thread when it starts the server, as the worker has.
PROLOGUE = """
import json, os, sys, time
from firkin.layer import confined
from firkin.layer.unpack import Unpacked
from firkin.oci.descriptor import Descriptor
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits

blob, root, digest, diff_id, size, *rest = sys.argv[1:]
descriptor = Descriptor("", digest, int(size))

def chunks(step=1000):
    with open(blob, "rb") as file:
        while data := file.read(step):
            yield data

def unpack(pieces=None, **options):
    try:
        found = confined.unpack_confined(pieces or chunks(), descriptor, diff_id, root, **options)
    except BaseException as error:
        return {"error": type(error).__name__, "text": str(error), "code": getattr(error, "code", ""),
                "hint": repr(getattr(error, "hint", ""))}
    return {"entries": found[0].entries, "implied": [os.fsencode(name).hex() for name in found[0].implied],
            "root": found[0].root is not None, "diff_id": found[1]}

def child():
    for _ in range(1000):
        with open(f"/proc/{server.pid}/task/{server.pid}/children") as file:
            found = file.read().split()
        if found:
            return int(found[0])
        time.sleep(0.01)
"""
START = "\nserver = confined.start_confined()\n"


class Layer:
    def __init__(self, place: Path, source: Path) -> None:
        sink = io.BytesIO()
        self.digests: LayerDigests = write_layer(iter_upper_changes(str(source)), sink)
        self.blob = place / "blob"
        self.blob.write_bytes(sink.getvalue())
        self.root = place / "root"
        self.root.mkdir()

    def run(self, program: str, *arguments: str, before: str = "", **changed: str) -> dict[str, object]:
        words = {"digest": self.digests.digest, "diff_id": self.digests.diff_id, "size": str(self.digests.size)}
        words |= changed
        done = subprocess.run(
            [sys.executable, "-c", PROLOGUE + before + START + program, self.blob, self.root, *words.values(), *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


@pytest.fixture
def layer(tmp_path: Path, source: Path) -> Layer:
    return Layer(tmp_path, source)


def plain(root: Path) -> list[tuple[object, ...]]:
    found = []
    for change in iter_upper_changes(str(root)):
        entry = change.entry  # type: ignore[union-attr]
        content = change.content  # type: ignore[union-attr]
        data = Path(content).read_bytes() if content else b""
        found.append((change.path, entry.kind, entry.mode, entry.mtime_ns, entry.target, entry.xattrs, data))
    return found


def test_the_same_tree_and_index(layer: Layer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    writer = IndexWriter()
    descriptor = Descriptor("", layer.digests.digest, layer.digests.size)
    unpack_blob([layer.blob.read_bytes()], descriptor, None, str(tmp_path / "other"), observe=writer.add)
    with (tmp_path / "own-index").open("wb") as file:
        writer.write(file)
    index = tmp_path / "index"
    said = layer.run(f"with open(rest[1], 'wb') as sink:\n  print(json.dumps(unpack(sink=sink, index={str(index)!r})))", "x",
                     str(tmp_path / "teed"))  # fmt: skip
    assert said == {
        "entries": layer.digests.entries, "implied": [], "root": False, "diff_id": layer.digests.diff_id,
    }  # fmt: skip
    assert plain(layer.root) == plain(tmp_path / "other") == plain(tmp_path / "source")
    assert index.read_bytes() == (tmp_path / "own-index").read_bytes()
    assert (tmp_path / "teed").read_bytes() == layer.blob.read_bytes()


def test_many_layers_at_a_time(layer: Layer) -> None:
    said = layer.run("""
import threading
def one(number):
    global root
    place = f"{root}/{number}"
    os.mkdir(place)
    answers.append(confined.unpack_confined(chunks(), descriptor, diff_id, place)[0].entries)
answers = []
threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
server.close()
print(json.dumps({"answers": answers}))
""")
    assert said == {"answers": [layer.digests.entries] * 8}
    assert len({str(plain(layer.root / str(number))) for number in range(8)}) == 1


LOOK = """
def looked():
    yield from list(chunks())[:1]
    pid = child()
    for _ in range(500):  # it has our own root until it is confined
        status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open(f"/proc/{pid}/status") if ":\\t" in line)
        if status["NoNewPrivs"] == "1":
            break
        time.sleep(0.01)
    facts["status"] = status
    facts["root"] = os.readlink(f"/proc/{pid}/root")
    facts["files"] = sorted({os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")})
    facts["apart"] = [kind for kind in ("mnt", "net", "ipc", "uts")
                      if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")]
    yield from list(chunks())[1:]
facts = {}
facts["said"] = unpack(looked())
print(json.dumps(facts))
"""


def test_what_it_has_given_up(layer: Layer) -> None:
    facts = layer.run("kept = open('/etc/passwd')" + LOOK)
    assert "error" not in facts["said"], facts["said"]
    status = facts["status"]
    assert isinstance(status, dict)
    assert status["NoNewPrivs"] == "1"
    effective = int(status["CapEff"], 16)
    assert effective & ~0x8800001B == 0
    assert int(status["CapPrm"], 16) == effective
    assert int(status["CapInh"], 16) == 0
    assert set(facts["files"]) - {"pipe", "anon_inode", "/dev/null"} <= {str(layer.root)}  # type: ignore[call-overload]
    assert "error" not in facts["said"]  # type: ignore[operator]


@pytest.mark.root
def test_what_root_has_given_up(layer: Layer) -> None:
    facts = layer.run(LOOK)
    assert facts["root"] == str(layer.root)
    assert facts["apart"] == ["mnt", "net", "ipc", "uts"]


# Stands for a fault in the code that reads an archive: what it tries comes back as names.
ATTEMPTS = """
def hostile(tar, root, **options):
    for piece in tar: pass
    tried = {
        "read": lambda: open("/etc/passwd").read(),
        "climb": lambda: os.stat("../../../../etc/passwd"),
        "write": lambda: open("/tmp/firkin-escaped", "x"),
        "own root": lambda: os.chroot("/"),
        "connect": lambda: socket.create_connection(("127.0.0.1", PORT), 1),
        "mount": lambda: confined.syscalls.mount("none", "/", "tmpfs", 0, None),
        "trace": lambda: os.kill(PARENT, 0) or confined.syscalls.pidfd_open(PARENT) and open(f"/proc/{PARENT}/mem"),
        "time": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "user": lambda: os.setuid(12345),
    }
    done = []
    for name, attempt in tried.items():
        try:
            attempt()
        except OSError:
            continue
        done.append(name)
    return Unpacked(0, tuple(done))
import encodings.idna, socket
listener = socket.create_server(("127.0.0.1", 0))
PORT, PARENT = listener.getsockname()[1], os.getpid()
confined.unpack_layer = hostile
"""


@pytest.mark.root
def test_what_a_fault_could_do(layer: Layer) -> None:
    said = layer.run("print(json.dumps(unpack()))", before=ATTEMPTS)
    assert said.get("implied") == [], said
    assert not os.path.exists("/tmp/firkin-escaped")


@pytest.mark.parametrize(
    ("program", "changed", "error", "text"),
    [
        ("unpack()", {"diff_id": "sha256:" + "0" * 64}, "ValueError", "but its image says"),
        ("unpack()", {"digest": "sha256:" + "0" * 64}, "ValueError", "came damaged"),
        ("unpack()", {"size": "100"}, "ValueError", "longer than its 100 bytes"),
        ("unpack(limits=UnpackLimits(1000))", {}, "LimitReached", "more than the 1000 bytes"),
        ("unpack(limits=UnpackLimits(entries=3))", {}, "LimitReached", "more than the 3 entries"),
        ("unpack(list(chunks())[:2])", {}, "ValueError", "cut short"),
        ("unpack(broken())", {}, "ConnectionResetError", "gone"),
        ("unpack(killed())", {}, "HostError", "unpacks layers has ended"),
        ("(os.kill(server.pid, 9), time.sleep(0.5), unpack())[-1]", {}, "HostError", "unpacks layers has ended"),
    ],
    ids=["lies", "digest", "size", "bytes", "entries", "short", "network", "killed", "no server"],
)  # fmt: skip
def test_what_went_wrong_comes_back(
    layer: Layer, program: str, changed: dict[str, str], error: str, text: str
) -> None:
    said = layer.run(f"""
def broken():
    yield from list(chunks())[:1]
    raise ConnectionResetError("gone")
def killed():
    yield from list(chunks())[:1]
    os.kill(child(), 9)
    yield from list(chunks())[1:]
import shutil
said = {program}
before = sum(len(files) for _, _, files in os.walk(root))
time.sleep(0.2)
said["still"] = sum(len(files) for _, _, files in os.walk(root)) - before
print(json.dumps(said))
""", **changed)
    assert (said["error"], said["still"]) == (error, 0)
    assert text in str(said["text"])
    assert ("unpack-" in said["hint"]) == (error == "LimitReached")


def test_it_ends_with_the_worker(layer: Layer) -> None:
    said = layer.run("unpack()\nprint(json.dumps({'pid': server.pid}))")
    deadline = time.monotonic() + 10
    while is_running(int(str(said["pid"]))):
        assert time.monotonic() < deadline, "the server outlived its worker"
        time.sleep(0.02)


def test_an_owner_that_is_not_mapped_comes_back(layer: Layer, tmp_path: Path) -> None:
    """Errors with a code of their own keep it."""
    before = """
from firkin.errors import HostError
def refuses(tar, root, **options):
    raise HostError("the owner 7:7 of `caf\\udce9` is not mapped", code="unmapped-owner", hints=("more ids",))
import firkin.layer.unpack
firkin.layer.unpack.unpack_layer = refuses
"""
    said = layer.run("said = unpack()\nsaid['text'] = os.fsencode(said['text']).hex()\nprint(json.dumps(said))", before=before)
    assert said["code"] == "unmapped-owner"
    assert bytes.fromhex(str(said["text"])).endswith(b"`caf\xe9` is not mapped")


def test_a_fault_of_our_own_is_told_as_one(layer: Layer) -> None:
    before = "\ndef fails(tar, root, **options):\n    return 1 / 0\nimport firkin.layer.unpack\nfirkin.layer.unpack.unpack_layer = fails\n"
    said = layer.run("print(json.dumps(unpack()))", before=before)
    assert said["error"] == "InternalError"




def test_it_hears_no_signals(layer: Layer) -> None:
    """As when a user stops a build with Ctrl-C: the whole foreground group gets the signal, the worker tidies up."""
    said = layer.run("""
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(server.pid, number)
print(json.dumps({**unpack(), "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}))
""")
    assert (said["entries"], said["blocked"]) == (layer.digests.entries, [])
