"""Builds that must fail: each says what is wrong and where, ends with the right status, and leaves the store whole."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import layouts
from support.accounts import Firkin
from support.bases import ensure_base
from support.registry import PASSWORD, USER, Registry, docker_config, running_registry
from support.timing import quickest, seconds

pytestmark = [pytest.mark.registry]

GOOD = "FROM busybox\nCOPY file /file\nRUN test -s /file\n"


def context_of(firkin: Firkin, dockerfile: str, name: str = "context") -> Path:
    context = firkin.directory(name)
    (context / "Dockerfile").write_text(dockerfile)
    (context / "file").write_text("content\n")
    return context


def check_store(firkin: Firkin, name: str = "afterwards") -> None:
    """The store serves a build as if nothing had happened, and nobody's scratch lies in it."""
    firkin.run("build", context_of(firkin, GOOD, name))
    assert list((firkin.store / "tmp").iterdir()) == []


def fails(firkin: Firkin, *arguments: str | os.PathLike[str], status: int, says: tuple[str, ...]) -> str:
    """Run a build that must fail with a status and certain words, without a traceback; return what it printed."""
    result = firkin.run("build", *arguments, check=False)
    told = result.stdout + result.stderr
    assert "Traceback" not in told, told
    assert result.returncode == status, told
    for words in says:
        assert any(word in told.lower() for word in words.lower().split("|")), f"{words!r} not in:\n{told}"
    return told


DOCKERFILES = {
    "unknown instruction": (
        "FROM busybox\nRUNN true\n",
        1,
        ("unknown instruction", "runn", "dockerfile:2", "did you mean"),
    ),
    "unknown flag": ("FROM busybox\nCOPY --nope file /x\n", 1, ("unknown flag", "--nope", "dockerfile:2")),
    "missing file": ("FROM busybox\nCOPY absent /x\n", 1, ("absent", "not found", "dockerfile:2")),
    "missing stage": ("FROM busybox AS one\nFROM onne\n", 4, ("onne",)),
    "later stage": (
        "FROM busybox\nCOPY --from=later /x /x\nFROM busybox AS later\nFROM scratch\nCOPY --from=0 /x /x\n",
        1,
        ("later", "dockerfile:2"),
    ),
    "wrong JSON": ("FROM busybox\nSHELL /bin/sh\n", 1, ("shell", "json", "dockerfile:2")),
    "missing base": ("FROM nosuchimage:1\n", 4, ("nosuchimage", "not found", "dockerfile:1")),
    "unreachable registry": ("FROM 127.0.0.1:1/image:1\n", 4, ("127.0.0.1:1", "dockerfile:1")),
    "name of a removal": ("FROM busybox\nCOPY file /.wh.file\n", 1, ("layer cannot hold `.wh.file`", "dockerfile:2")),
    "name of a removal by RUN": ("FROM busybox\nRUN touch /.wh.x\n", 1, ("layer cannot hold `.wh.x`", "another name")),
    "no stage": ("ARG X=1\n", 1, ("no stages",)),
    "empty": ("", 1, ("empty|no stages",)),
}


@pytest.mark.parametrize("what", DOCKERFILES)
def test_bad_dockerfile(firkin: Firkin, what: str) -> None:
    text, status, says = DOCKERFILES[what]
    fails(firkin, context_of(firkin, text), status=status, says=says)
    check_store(firkin)


def test_missing_target_is_guessed(firkin: Firkin) -> None:
    context = context_of(firkin, "FROM busybox AS builder\n")
    fails(firkin, "--target", "bulider", context, status=2, says=("bulider", "did you mean builder"))


def test_unknown_option(firkin: Firkin) -> None:
    fails(firkin, "--no-such-option", context_of(firkin, GOOD), status=2, says=("--no-such-option",))


def test_missing_context(firkin: Firkin) -> None:
    fails(firkin, firkin.place / "nowhere", status=1, says=("nowhere",))


def test_failed_run_returns_its_status(firkin: Firkin) -> None:
    context = context_of(firkin, "FROM busybox\nRUN echo before\nRUN echo about to fail; exit 42\n")
    fails(firkin, context, status=42, says=("exit code: 42|exit code 42", "about to fail", "dockerfile:3"))
    check_store(firkin)


# --- registries ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["basic", "token"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """A registry that wants a name and a password."""
    with running_registry(auth=request.param) as started:
        started.seed_bases("busybox")
        yield started


def log_in(firkin: Firkin, host: str, user: str = USER, password: str = PASSWORD) -> None:
    folder = firkin.home / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(docker_config(host, user, password))
    firkin.account.give(firkin.home)


def test_push_and_pull_with_credentials(firkin: Firkin, guarded: Registry) -> None:
    log_in(firkin, guarded.host)
    name = guarded.reference(f"{firkin.account.name}/app:1")
    firkin.run("build", "-t", name, "--push", context_of(firkin, GOOD))
    firkin.run("build", "--no-cache", context_of(firkin, f"FROM {name}\nRUN test -s /file\n", "second"))


def test_push_without_credentials(firkin: Firkin, guarded: Registry) -> None:
    name = guarded.reference(f"{firkin.account.name}/nobody:1")
    told = fails(
        firkin, "-t", name, "--push", context_of(firkin, GOOD), status=4, says=("401|authentication|credentials",)
    )
    assert "status 403" not in told
    check_store(firkin)


def test_push_with_a_wrong_password(firkin: Firkin, guarded: Registry) -> None:
    log_in(firkin, guarded.host, password="hunter2-secret")
    name = guarded.reference(f"{firkin.account.name}/nobody:1")
    told = fails(
        firkin, "-t", name, "--push", context_of(firkin, GOOD), status=4, says=("401|authentication|credentials",)
    )
    assert "hunter2-secret" not in told
    check_store(firkin)


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server that answers everything below /v2/ alike; yields HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self) -> None:
            ping = self.path == "/v2/"
            data = b"{}" if ping else body
            self.send_response(200 if ping else status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_forbidden_is_not_unauthorized(firkin: Firkin) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "not for you"}]}).encode()
    with answering(403, body, {"Content-Type": "application/json"}) as host:
        told = fails(firkin, context_of(firkin, f"FROM {host}/app:1\n"), status=4, says=("403", "denied|forbidden"))
    assert "status 401" not in told and "no credentials" in told


def test_manifest_that_is_no_json(firkin: Firkin) -> None:
    with answering(200, b'{"schemaVersion": 2, "layers": [', {"Content-Type": layouts.MANIFEST}) as host:
        fails(firkin, context_of(firkin, f"FROM {host}/app:1\n"), status=4, says=("manifest", "truncated|json"))
    check_store(firkin)


# --- images that are damaged or mean harm ----------------------------------------------------------------------------


def seeded(registry: Registry, scratch: Path, name: str, spoil: Callable[[Path], None]) -> None:
    """Serve a copy of busybox whose layer blob was spoilt."""
    layout = scratch / "layout"
    source = ensure_base("busybox")
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (source / "blobs/sha256").iterdir():
        (blobs / blob.name).write_bytes(blob.read_bytes())
    (layout / "index.json").write_text((source / "index.json").read_text())
    _, raw = layouts.read_manifest(layout)
    spoil(blobs / json.loads(raw)["layers"][0]["digest"].partition(":")[2])
    registry.seed(layout, name)


@pytest.fixture
def private_registry() -> Iterator[Registry]:
    """A registry whose storage the test may damage."""
    with running_registry() as started:
        yield started


def _flip(blob: Path) -> None:
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.write_bytes(data)


def _truncate(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1000])


@pytest.mark.parametrize("spoil", [_flip, _truncate])
def test_damaged_layer(
    firkin: Firkin, private_registry: Registry, scratch: Path, spoil: Callable[[Path], None]
) -> None:
    seeded(private_registry, scratch, "damaged:1", spoil)
    reference = private_registry.reference("damaged:1")
    context = context_of(firkin, f"FROM {reference}\nRUN true\n")
    fails(firkin, context, status=4, says=("sha256:|digest|truncated|damaged",))
    fails(firkin, context, status=4, says=("sha256:|digest|truncated|damaged",))
    # The same layer from elsewhere is whole, and then it serves this image as well.
    check_store(firkin)
    firkin.run("build", context)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o755
    return info, data


HOSTILE = {
    "dots": [member("../../escaped", data=b"x")],
    "absolute link": [member("out", tarfile.SYMTYPE, "{outside}"), member("out/escaped", data=b"x")],
    "relative link": [
        member("out", tarfile.SYMTYPE, "../../../../../../../../../..{outside}"),
        member("out/escaped", data=b"x"),
    ],
    "hard link": [member("shadow", tarfile.LNKTYPE, "{outside}/precious"), member("shadow", data=b"overwritten")],
    "hard link with dots": [member("shadow", tarfile.LNKTYPE, "../../../../../../../../../..{outside}/precious")],
    "whiteout with dots": [member("../../../../../../../../../../{outside}/.wh.precious")],
    "whiteout through link": [member("out", tarfile.SYMTYPE, "{outside}"), member("out/.wh.precious")],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_layer(firkin: Firkin, private_registry: Registry, scratch: Path, what: str) -> None:
    outside = firkin.directory("outside")
    (outside / "precious").write_text("precious\n")
    firkin.account.give(outside)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in HOSTILE[what]:
            copy = tarfile.TarInfo(info.name.format(outside=outside))
            copy.type, copy.size, copy.mode = info.type, info.size, info.mode
            copy.linkname = info.linkname.format(outside=outside)
            tar.addfile(copy, io.BytesIO(data) if data else None)
    archive = scratch / "hostile.tar"
    archive.write_bytes(buffer.getvalue())
    layer = layouts.compress_layer(archive, scratch / "blobs")
    busybox = ensure_base("busybox")
    _, raw = layouts.read_manifest(busybox)
    manifest = json.loads(raw)
    blobs = busybox / "blobs/sha256"
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    below = layouts.LayerBlob(
        manifest["layers"][0],
        config["rootfs"]["diff_ids"][0],
        blobs / manifest["layers"][0]["digest"].partition(":")[2],
    )
    layouts.write_layout(scratch / "layout", [below, layer], config["config"], ["1"])
    private_registry.seed(scratch / "layout", "hostile:1")
    context = context_of(firkin, f"FROM {private_registry.reference('hostile:1')}\nRUN true\n")
    result = firkin.run("build", context, check=False)
    assert result.returncode in (0, 1, 4, 5), result.stderr  # refused, or kept inside the root
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in outside.iterdir()) == ["precious"]
    assert (outside / "precious").read_text() == "precious\n"
    assert (outside / "precious").stat().st_nlink == 1
    escaped = [path for path in firkin.place.rglob("escaped") if "fs" not in path.relative_to(firkin.place).parts]
    assert escaped == []
    check_store(firkin)


# --- a machine that gives out, a person who gives up -----------------------------------------------------------------


@pytest.mark.root
def test_full_disk(firkin: Firkin) -> None:
    firkin.store.mkdir()
    subprocess.run(
        [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size=24m,mode=755,uid={firkin.account.uid},gid={firkin.account.gid}",
            "tmpfs",
            str(firkin.store),
        ],
        check=True,
    )
    try:
        context = context_of(firkin, "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=100\n")
        # The disk is full for the command, too: it is the one that fails.
        fails(firkin, context, status=1, says=("no space left", "hint: the disk is full"))
        second = context_of(firkin, "FROM busybox\nCOPY big /big\n", "second")
        with open(second / "big", "wb") as big:
            for _ in range(100):
                big.write(os.urandom(1_000_000))
        fails(firkin, second, status=5, says=("no space left|disk",))
        check_store(firkin)
        with sqlite3.connect(firkin.store / "records.db") as database:
            for table in ("records", "trees", "blobs"):
                database.execute(f"UPDATE {table} SET used = 0")
        database.close()
        with open(firkin.store / "filler", "wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while filler.write(bytes(size)):
                        pass
        told = firkin.run("prune")  # which has kept some room for itself
        assert "layer" in told.stdout and not told.stderr
        (firkin.store / "filler").unlink()
        check_store(firkin, "when there is room again")
    finally:
        subprocess.run(["umount", "--lazy", str(firkin.store)], check=True)


def started(firkin: Firkin, marker: str) -> subprocess.Popen[bytes]:
    """Start a build and wait until its RUN is under way."""
    context = context_of(firkin, f"FROM busybox\nRUN echo {marker}; sleep 987 & sleep 987\n")
    process = firkin.popen("build", "--progress", "plain", context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        seen += line
        # The command's own output, not the line that names the step.
        if marker.encode() in line and b"RUN" not in line and b"echo" not in line:
            return process
        if not line:
            break
    process.kill()
    raise AssertionError(f"the build did not start: {seen.decode()}")


def descendants_of(firkin: Firkin) -> list[str]:
    """Return the command lines of all processes that work for this firkin's store."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                mounts = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if str(firkin.store) in command or str(firkin.store) in mounts:
                found.append(f"{entry.name}: {command}")
    return found


def nothing_left(firkin: Firkin, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and descendants_of(firkin):
        time.sleep(0.05)
    assert descendants_of(firkin) == []
    assert str(firkin.store) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancelled_build(firkin: Firkin, number: signal.Signals) -> None:
    def cancel() -> float:
        process = started(firkin, f"underway-{time.monotonic_ns()}")

        def end() -> None:
            process.send_signal(number)
            assert process.wait(10) == 128 + number
            nothing_left(firkin, 10)

        return seconds(end)

    assert quickest(cancel, 2) < 2
    check_store(firkin)


def test_killed_build(firkin: Firkin) -> None:
    process = started(firkin, "underway")
    process.kill()
    process.wait()
    nothing_left(firkin, 2)
    check_store(firkin)


def test_builds_share_a_store(firkin: Firkin) -> None:
    contexts = [
        context_of(firkin, f"FROM busybox\nCOPY file /f\nRUN echo {n} > /n && sleep 0.2\n", f"c{n}") for n in range(4)
    ]
    processes = [
        firkin.popen("build", "-t", f"app:{n}", context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for n, context in enumerate(contexts)
    ]
    for process in processes:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told.decode()
    check_store(firkin)
