"""Published escapes from containers, tried on our own: one test for each, as root and as an ordinary user."""

import contextlib
import io
import json
import os
import resource
import select
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin
from support.containers import remove_containers
from support.image_archives import entry
from support.monitors import Watched, text_of

from firkin.containers.link.connection import Link
from firkin.errors import ContainerError
from firkin.oci.digest import digest_of

pytestmark = pytest.mark.registry


def hostile_image(firkin: Firkin, name: str, files: dict[str, bytes | str] | None = None, **config: Any) -> str:
    """Load an image of busybox with these files (a str is the target of a link) and exactly this configuration."""
    stream = io.BytesIO()
    found: dict[str, bytes | str] = {"bin/busybox": Path("/usr/bin/busybox").read_bytes(), "etc/passwd": b"root:x:0:0::/:/bin/sh\n"}
    links = {f"bin/{word}": "busybox" for word in ("sh", "cat", "ls", "id", "sleep", "env", "readlink", "true", "touch")}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in {**found, **links, **(files or {})}.items():
            member = tarfile.TarInfo(path)
            member.mode = 0o755
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    layer = stream.getvalue()
    document = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "created": "2020-01-01T00:00:00Z", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
    }  # fmt: skip
    text = json.dumps(document).encode()
    listed = {"config.json": text, "layer.tar": layer,
              "manifest.json": json.dumps([entry("config.json", ["layer.tar"], name)]).encode()}  # fmt: skip
    archive = firkin.place / "hostile.tar"
    with tarfile.open(archive, mode="w") as tar:
        for path, data in listed.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    done = firkin.run("load", "-i", archive, check=False)
    archive.unlink()
    return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def box(shared_box: Firkin) -> Iterator[Firkin]:
    """The store of the module, without containers in the end."""
    yield shared_box
    remove_containers(shared_box)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for a monitor without a container, removed with it."""
    import tempfile

    place = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="firkin-escape-"))
    yield place
    shutil.rmtree(place)


# --- what enters a container is the machine's interpreter until it becomes the command ---


LOADER = r"""
static long call(long n, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
__attribute__((force_align_arg_pointer)) void _start(void) {
    char path[] = "/proc/self/fd/X", text[] = "opened 00\n";
    char shell[] = "/bin/sh", script[] = "/late";
    char *argv[] = {shell, script, path, 0};
    long self = call(2, (long)"/proc/self/exe", 0, 0, 0);
    long told = call(2, (long)"/told", 0x441, 0666, 0);
    path[14] = '0' + self;
    long error = -call(2, (long)path, 1, 0, 0);
    if (error > 0) { text[7] = '0' + error / 10; text[8] = '0' + error % 10; }
    call(1, told, (long)text, 10, 0);
    if (call(57, 0, 0, 0, 0) == 0) call(59, (long)shell, (long)argv, 0, 0);
    call(61, -1, 0, 0, 0);
    call(60, 0, 0, 0, 0);
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its loader is for x86-64")
@pytest.mark.parametrize("way", ["run", "exec", "probe"])
def test_a_command_that_is_the_program_which_enters_cannot_be_written(box: Firkin, tmp_path: Path, way: str) -> None:
    """CVE-2019-5736: the image's shell is `#!/proc/self/exe`, and its loader holds the program open for writing."""
    program = tmp_path / "loader"
    options = ["-static-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O1"]
    subprocess.run(["gcc", *options, "-x", "c", "-", "-o", program], input=LOADER.encode(), check=True)
    # The kernel starts the loader that the program names, and that is the image's.
    interpreter = "lib64/ld-linux-x86-64.so.2"
    late = b"PATH=/bin; sleep 0.3\n(echo evil >$1) 2>>/told; echo tried >>/told\n"
    hostile_image(box, "self:1", {interpreter: program.read_bytes(), "evil": b"#!/proc/self/exe\n", "late": late},
                  **({"Healthcheck": {"Test": ["CMD", "/evil"], "Interval": 10**9}} if way == "probe" else {}))  # fmt: skip
    name = f"self-{way}"
    if way == "run":
        box.run("run", "--name", name, "--network", "none", "self:1", "/evil", check=False)
    else:
        box.run("run", "-d", "--name", name, "--network", "none", "self:1", "sleep", "60")
        if way == "exec":
            box.run("exec", name, "/evil", check=False)
        time.sleep(3)
    said = box.run("cp", f"{name}:/told", "-", check=False)
    assert said.returncode == 0, said.stderr
    told = said.stdout.replace("\0", "")
    assert "opened" in told and "opened 00" not in told, told
    assert "can't create" in told, told
    if box.account.is_root:  # whom no mode of a file holds up
        assert "Read-only file system" in told, told
    box.run("rm", "-f", name)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its loader is for x86-64")
def test_a_step_of_a_build_cannot_write_to_the_program_which_enters(box: Firkin, tmp_path: Path) -> None:
    """CVE-2019-5736 in a build: RUN starts what enters anew for each step."""
    program = tmp_path / "loader"
    options = ["-static-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-O1"]
    subprocess.run(["gcc", *options, "-x", "c", "-", "-o", program], input=LOADER.encode(), check=True)
    late = b"PATH=/bin; sleep 0.3\n(echo evil >$1) 2>>/told; echo tried >>/told\n"
    hostile_image(box, "self:2", {"lib64/ld-linux-x86-64.so.2": program.read_bytes(), "evil": b"#!/proc/self/exe\n", "late": late})
    context = box.directory(f"step-{os.urandom(4).hex()}")
    (context / "Dockerfile").write_text('FROM self:2\nRUN ["/evil"]\n')
    box.account.give(context)
    box.run("build", "-t", "self:3", context)
    told = box.run("cat", "self:3", "/told").stdout.replace("\0", "")
    assert "opened" in told and "opened 00" not in told, told
    assert "can't create" in told, told
    assert "Read-only file system" in told, told


# --- a working directory, descriptors ---


def test_working_directories_and_descriptors_lead_nowhere(box: Firkin) -> None:
    """CVE-2024-21626: `--workdir /proc/self/fd/N`, by option and by image, for first and second commands."""
    hostile_image(box, "cwd:1", WorkingDir="/proc/self/fd/8")
    assert box.run("run", "--rm", "--network", "none", "cwd:1", "ls", check=False).returncode in (126, 127, 128)
    box.run("run", "-d", "--name", "cwd", "--network", "none", "box:1", "sleep", "600")
    for number in (*range(3, 12), 200, 201, 202, 203):
        for word in ("self", "1", "thread-self"):
            done = box.run("exec", "-w", f"/proc/{word}/fd/{number}", "cwd", "ls", check=False)
            assert done.returncode in (126, 127, 128), (word, number, done)
            if number > 4:
                break
    for words in (("exec", "cwd"), ("run", "--rm", "--network", "none", "box:1")):
        listed = box.run(*words, "sh", "-c", "for f in /proc/self/fd/*; do echo ${f##*/}; done").stdout.split()
        assert set(listed) <= {"0", "1", "2", "3"}, listed  # 3 is the directory that is read
    box.run("rm", "-f", "cwd")


def test_a_link_as_the_image_s_working_directory(box: Firkin) -> None:
    hostile_image(box, "cwd:2", {"w": "/proc/self/cwd/../../../..", "x": "../../../../../../../../"}, WorkingDir="/x/../w/../../etc")
    assert box.run("run", "--rm", "--network", "none", "cwd:2", "ls").stdout.count("passwd") == 1


# --- configurations that nobody wrote by hand ---


@pytest.mark.parametrize(
    ("config", "codes"),
    [
        ({"User": "eve\npid\x001"}, (1, 125, 126, 128)),
        ({"User": "4294967295:4294967295"}, (1, 125, 126, 128)),
        ({"User": "-1"}, (1, 125, 126, 128)),
        ({"User": "99999999999999999999"}, (1, 125, 126, 128)),
        ({"Env": ["PATH=/bin", "A=1\x002", "B=1\n2"]}, (0, 125)),
        ({"Env": ["PATH=/bin", "LD_PRELOAD=/evil.so", "PYTHONPATH=/evil", "PYTHONSTARTUP=/evil.py"]}, (0,)),
        ({"WorkingDir": "../../.."}, (0, 125, 127, 128)),
        ({"WorkingDir": "/a\x00b"}, (125, 127, 128)),
        ({"Volumes": {"/proc": {}}}, (0, 1, 125, 127, 128)),
        ({"Volumes": {"/": {}}}, (1, 125, 127, 128)),
        ({"Volumes": {"../../x": {}}}, (0, 1, 125, 127, 128)),
        ({"StopSignal": "SIGNOTHING"}, (1, 125, 128)),
        ({"StopSignal": "-9"}, (1, 125, 128)),
        ({"Healthcheck": {"Test": ["CMD", "true"], "Interval": -1, "Retries": -5}}, (0, 125)),
        ({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 2**63 - 1, "Timeout": 2**63 - 1}}, (0,)),
        ({"Healthcheck": {"Test": ["CMD"]}}, (0, 125)),
        ({"Labels": {"long": "x" * (10 << 20)}}, (0, 1)),
        ({"ExposedPorts": {"99999/what": {}}}, (0, 1, 125)),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_hostile_configurations(box: Firkin, config: dict[str, Any], codes: tuple[int, ...]) -> None:
    """Each is run as it says or refused in a sentence; nothing hangs, and no other container suffers."""
    refused = hostile_image(box, "config:1", **config)
    if refused:
        assert refused.startswith("error: ") and "Traceback" not in refused
        return
    done = box.run("run", "--rm", "--network", "none", "config:1", "id", "-u", check=False, timeout=60)
    assert done.returncode in codes, (done.returncode, done.stderr[:500])
    assert "Traceback" not in done.stderr and "internal" not in done.stderr, done.stderr[:2000]
    assert done.returncode == 0 or done.stderr.startswith("error: "), done.stderr[:2000]
    assert box.run("ps", "-aq").stdout == ""  # --rm, also of what never ran


def test_a_probe_of_the_next_month_does_not_end_the_monitor(box: Firkin) -> None:
    """epoll_wait(2) takes at most 2^31 milliseconds."""
    box.run("run", "-d", "--name", "months", "--network", "none", "--health-cmd", "true", "--health-interval", "1000h",
                   "box:1", "sleep", "600")  # fmt: skip
    time.sleep(0.5)
    assert box.run("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", "months").stdout == "running starting\n"
    box.run("rm", "-f", "months")


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", "a\nb", "é", ".", "", "x" * 4000, "a\x1b[2J"])
def test_hostile_names(box: Firkin, name: str) -> None:
    done = box.run("create", "--network", "none", f"--name={name}", "box:1", check=False)
    if name and name != "x" * 4000:
        assert done.returncode and "Traceback" not in done.stderr and "\x1b" not in done.stderr, done.stderr
    box.run("ps", "-a")
    assert sorted(path.name for path in box.place.iterdir() if path.name == "x") == []
    for word in box.run("ps", "-aq").stdout.split():
        box.run("rm", word)


# --- the monitor's socket, which only its user can reach ---


def connection(watched: Watched) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(watched.document["socket"])
    return made


def test_malformed_frames_hurt_nobody_else(home: Path) -> None:
    watched = Watched(home, "sleep", "60")
    watched.link.ask("start")
    pid = watched.state().pid
    kept = []
    for data in (
        os.urandom(5000), b"\x10\0\0\0\xff\xff\xff\xff", b"\x10\0\0\0\0\0\0\x09half", b"\x14\0\0\0\0\0\0\x04evil",
        b"\x10\0\0\0\0\0\0\x00", b"\x00\0\0\0\0\0\0\x05stdin", b"\x13\0\0\0\0\0\0\x00" * 100,
    ):  # fmt: skip
        one = connection(watched)
        one.send(data)
        kept.append(one)
    for request in (
        b"[" * 200_000, b'{"op":' * 50_000, b'{"op": NaN}', b'{"op": "signal", "number": 1e999}', b"\xff\xfe", b'{"op": ["stop"]}',
        b'{"op": "resize", "rows": 70000, "columns": -1}', b'{"op": "resize"}', b'{"op": "exec", "argv": []}',
        b'{"op": "exec", "argv": ["x"], "rows": 70000, "columns": 9}', b'{"op": "signal", "number": 1' + b"0" * 5000 + b"}",
    ):  # fmt: skip
        watched.link.send(16, request)
        with pytest.raises(ContainerError):
            watched.link.answer()
    assert watched.link.ask("hello")["phase"] == "running" and watched.state().pid == pid
    for one in kept:
        one.close()
    watched.link.ask("signal", number=9)
    assert "fault" not in watched.faults(), watched.faults()


def test_two_hundred_clients_that_do_not_read(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; sleep 0.01; done")
    watched.link.ask("start")
    idle = [connection(watched) for _ in range(200)]
    for one in idle:
        one.send(b"\x10\0\0\0\0\0\0\x1f" + b'{"op": "attach", "stdout": 1}  ')
    assert watched.link.ask("hello")["phase"] == "running"
    resident = Path(f"/proc/{watched.link.monitor}/statm").read_text().split()[1]
    assert int(resident) * 4096 < 64 << 20
    for one in idle:
        one.close()
    watched.link.ask("signal", number=9)


@contextlib.contextmanager
def few_descriptors(number: int) -> Iterator[None]:
    """Start what is started meanwhile with so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_monitor_has_clients_without_number_only_up_to_a_number(home: Path) -> None:
    """Whoever is refused hears why, and nobody else suffers: the descriptors that a container needs stay free."""
    with few_descriptors(128 + 32):
        watched = Watched(home, "sleep", "60")
    watched.link.ask("start")
    clients = [watched.connect() for _ in range(31)]
    assert [client.ask("hello")["phase"] for client in clients] == ["running"] * 31
    for _ in range(3):
        with pytest.raises(ContainerError, match="has 32 clients already"):
            watched.connect().ask("hello")
    clients.pop().close()
    assert watched.connect().ask("hello")["phase"] == "running"
    watched.link.ask("signal", number=9)
    assert "fault" not in watched.faults(), watched.faults()


def test_without_descriptors_a_monitor_waits_and_does_not_spin(home: Path) -> None:
    watched = Watched(home, "sleep", "60")
    watched.link.ask("start")
    other = watched.connect()
    assert other.ask("hello")["phase"] == "running"
    pid = watched.link.monitor
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
    waiting = watched.connect()
    waiting.request("hello")
    used = processor_s(pid)
    time.sleep(0.7)
    assert processor_s(pid) - used < 0.1
    assert watched.link.ask("hello")["phase"] == "running"  # whom it has is served
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    other.close()
    assert waiting.answer()["phase"] == "running"
    watched.link.ask("signal", number=9)


def processor_s(pid: int) -> float:
    """Return how long a process has had a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_labels_without_end_do_not_push_events_out_of_the_journal(home: Path) -> None:
    watched = Watched(home, "true", labels={"long": "x" * (4 << 20), "short": "y"})
    waiting = watched.connect()
    waiting.request("wait", condition="next-exit")
    watched.link.ask("start")
    waiting.answer()
    lines = (home / "events.jsonl").read_bytes().splitlines()
    assert watched.events() == ["start", "die"] and max(map(len, lines)) < 1 << 16
    assert json.loads(lines[-1])["Actor"]["Attributes"].items() >= {"exitCode": "0", "image": "box:1", "name": "web"}.items()


def test_a_line_of_a_gigabyte_takes_no_memory(home: Path) -> None:
    log = {"type": "json-file", "path": str(home / "log.json"), "max_size": 10 << 20, "max_file": 1, "compress": False,
           "attrs": {}, "buffer": 0}  # fmt: skip
    watched = Watched(home, "sh", "-c", "head -c 1000000000 /dev/zero | tr '\\0' x", log=log)
    pid = watched.link.monitor
    watched.link.ask("start")
    watched.link.request("wait", condition="not-running")
    most = 0
    while not select.select([watched.link], [], [], 0.05)[0]:
        most = max(most, int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert watched.link.answer()["status"] == 0 and 0 < most < 48 << 20


def test_waits_that_no_clock_has(home: Path) -> None:
    """A stop that waits for years, a probe of next century: epoll_wait(2) takes 2^31 milliseconds."""
    health = {"test": ["true"], "interval": 1e10, "timeout": 1e10, "start_period": 0, "start_interval": 5, "retries": 3, "on_failure": ""}
    watched = Watched(home, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", health=health)
    watched.link.ask("start")
    one = Link(connection(watched))
    one.request("stop", timeout=1e15)
    time.sleep(0.3)
    assert watched.link.ask("hello")["phase"] == "running"
    watched.link.ask("signal", number=9)
    assert text_of(one) == (b"", b"", {})


def test_what_a_command_writes_stays_text(home: Path) -> None:
    """No output makes a second record of the log, or an event; a line without end takes no memory."""
    inject = 'x","stream":"stderr","time":"2000-01-01T00:00:00Z"}\\n{"log":"y'
    watched = Watched(home, "sh", "-c", f"printf '%s\\n' '{inject}'; printf 'a\\0b\\033[2J\\377\\n'; head -c 3000000 /dev/zero",
                      labels={'evil"}\n{': "\n{}"})  # fmt: skip
    watched.link.ask("start")
    watched.link.ask("wait", condition="not-running")
    first, second = watched.log()[:2]
    assert first == ("stdout", inject + "\n")
    assert {stream for stream, _ in watched.log()[:50]} == {"stdout"} and second[1] == "a\0b\x1b[2J\ufffd\n"
    assert watched.events()[-1] == "die"
