"""What people run: the examples, a database, crashers and crowds, on the machine's network, as root and as a user."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.containers import remove_containers
from support.places import EXAMPLES
from support.registry import Registry

# One process runs these, because their ports are the machine's.
pytestmark = [pytest.mark.registry, pytest.mark.userns, pytest.mark.xdist_group("ports"), pytest.mark.clients]

COMMIT = "4f9e2ab"
LANGUAGES = ("node", "python", "php", "ruby")


@pytest.fixture(scope="module")
def shipped(shared_firkin: Firkin, language_registry: Registry) -> Iterator[Callable[..., str]]:
    """Build an example once and return its name; at the end no container is left."""
    done: dict[tuple[str, ...], str] = {}

    def build(example: str, *options: str) -> str:
        key = (example, *options)
        if key not in done:
            name = f"app-{len(done)}:1"
            shared_firkin.run("build", "-t", name, *options, EXAMPLES / example)
            done[key] = name
        return done[key]

    yield build
    remove_containers(shared_firkin)


def answer(port: int, path: str = "/") -> str:
    """Ask a server that may still be starting; nothing in HTTP tells when it listens."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
                return str(response.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def state(firkin: Firkin, name: str) -> dict[str, object]:
    (document,) = json.loads(firkin.run("container", "inspect", name).stdout)
    found: dict[str, object] = document["State"]
    return found


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_application_answers_with_its_commit(shared_firkin: Firkin, shipped: Callable[..., str], language: str) -> None:
    image = shipped(language, "--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")
    for options, commit in (((), COMMIT), (("-e", "COMMIT=a different value"), "a different value")):
        id = shared_firkin.run("run", "-d", "--network", "host", *options, image).stdout.strip()
        assert len(id) == 64
        assert answer(3000) == f"{commit}\n"
        assert shared_firkin.run("stop", id).stdout == f"{id}\n"
        assert shared_firkin.run("rm", id).stdout == f"{id}\n"


def test_looking_into_an_application(shared_firkin: Firkin, shipped: Callable[..., str]) -> None:
    image = shipped("node", "--build-arg", f"COMMIT_SHORT_HASH={COMMIT}")
    run = ("run", "--rm", "--network", "none")
    assert shared_firkin.run(*run, "--entrypoint", "printenv", image, "COMMIT").stdout == f"{COMMIT}\n"
    words = ("--workdir", "/home", "--entrypoint", "sh", image, "-c", "echo $COMMIT; pwd")
    assert shared_firkin.run(*run, *words).stdout == f"{COMMIT}\n/home\n"
    assert shared_firkin.run("ps", "-aq").stdout == ""


def test_webserver_with_binds_that_are_replaced(shared_firkin: Firkin, shipped: Callable[..., str]) -> None:
    image = shipped("webserver")
    site = shared_firkin.directory("site")
    (site / "index.html").write_text("first")
    shared_firkin.account.give(site)
    shared_firkin.run("run", "-d", "--network", "host", "--name", "web", "-v", f"{site}:/srv/website/public:ro", image)
    assert answer(8080, "/index.html") == "first"
    (site / "new").write_text("second")
    (site / "new").rename(site / "index.html")
    assert answer(8080, "/index.html") == "second"
    assert "listens on port 8080" in shared_firkin.run("logs", "web").stdout
    shared_firkin.run("stop", "-t", "20", "web")
    logs = shared_firkin.run("logs", "web").stdout
    assert "server ended with" in logs
    code = int(logs.rpartition("server ended with ")[2].split()[0])
    assert state(shared_firkin, "web")["ExitCode"] == code
    assert shared_firkin.run("wait", "web").stdout == f"{code}\n"
    shared_firkin.run("rm", "web")


def test_webserver_of_another_user(shared_firkin: Firkin, shipped: Callable[..., str]) -> None:
    """The binds belong to the user's id in the container: on the machine to root's 1500, or to a subordinate id."""
    (shared_firkin.place / "nonroot").mkdir(exist_ok=True)
    shared_firkin.account.give(shared_firkin.place / "nonroot")
    dockerfile = EXAMPLES / "webserver" / "Dockerfile.nonroot"
    image = shipped("webserver", "-f", str(dockerfile), "--build-arg", "USER_ID=1500")
    logs = shared_firkin.directory("logs")
    run = ("run", "--rm", "--network", "none", "-v", f"{logs}:/logs")
    shared_firkin.run(*run, "-u", "0", image, "chown", "1500:1500", "/logs")
    assert (
        shared_firkin.run(*run, image, "sh", "-c", "id -u; touch /logs/mine; stat -c %u /logs/mine").stdout
        == "1500\n1500\n"
    )
    shared_firkin.run("run", "-d", "--network", "host", "--name", "web1500", image)
    assert "It works" in answer(8080)
    assert shared_firkin.run("exec", "web1500", "id", "-un").stdout == "website\n"
    shared_firkin.run("rm", "-f", "web1500")


def test_a_database_keeps_its_volume(shared_firkin: Firkin, language_registry: Registry) -> None:
    language_registry.seed_bases("postgres")
    context = shared_firkin.directory("database")
    (context / "start").write_text(
        "#!/bin/sh\nset -e\n[ -s /data/PG_VERSION ] || initdb -D /data -A trust >/dev/null\n"
        "exec postgres -D /data -c listen_addresses= -c unix_socket_directories=/tmp\n"
    )
    (context / "Dockerfile").write_text(
        "FROM postgres:15\nENV PATH=/usr/lib/postgresql/15/bin:$PATH\nCOPY --chmod=755 start /start\n"
        "RUN mkdir /data && chown postgres:postgres /data && chmod 700 /data\n"
        'USER postgres\nVOLUME /data\nSTOPSIGNAL SIGINT\nCMD ["/start"]\n'
    )
    shared_firkin.account.give(context)
    shared_firkin.run("build", "-t", "database:1", context)

    def sql(text: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return shared_firkin.run("exec", "db", "psql", "-h", "/tmp", "-Atc", text, "postgres", check=check)

    for word in ("create", "read"):
        shared_firkin.run(
            "run", "-d", "--name", "db", "--network", "none", "--shm-size", "128m", "-v", "pgdata:/data", "database:1"
        )
        until(lambda: sql("select 1", check=False).stdout == "1\n")
        if word == "create":
            sql("create table t as select generate_series(1, 1000) as n")
        assert sql("select sum(n) from t").stdout == "500500\n"
        shared_firkin.run("stop", "db")
        assert state(shared_firkin, "db")["ExitCode"] == 0
        shared_firkin.run("rm", "-v", "db")
    assert shared_firkin.run("volume", "ls", "-q").stdout == "pgdata\n"
    shared_firkin.run("volume", "rm", "pgdata")


def test_a_crasher_is_started_three_times_more(box: Firkin) -> None:
    box.run(
        "run",
        "-d",
        "--name",
        "crash",
        "--network",
        "none",
        "--restart",
        "on-failure:3",
        "box:1",
        "sh",
        "-c",
        "echo up; exit 7",
    )
    until(lambda: state(box, "crash")["Status"] == "exited", 30)
    (document,) = json.loads(box.run("container", "inspect", "crash").stdout)
    assert (document["RestartCount"], document["State"]["ExitCode"]) == (3, 7)
    assert box.run("logs", "crash").stdout == "up\n" * 4
    events = box.run(
        "events",
        "--since",
        "0",
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "container=crash",
        "--format",
        "{{.Action}}",
    )
    assert events.stdout.split() == ["create", *["start", "die"] * 4]


def test_an_unhealthy_one(box: Firkin) -> None:
    box.run("run", "-d", "--name", "ill", "--network", "none", "--health-cmd", "test -e /well", "--health-interval", "1s",
            "--health-retries", "2", "box:1", "sleep", "300")  # fmt: skip
    until(lambda: "(unhealthy)" in box.run("ps", "--format", "{{.Status}}").stdout)
    box.run("exec", "ill", "touch", "/well")
    until(lambda: "(healthy)" in box.run("ps", "--format", "{{.Status}}").stdout)
    (document,) = json.loads(box.run("container", "inspect", "ill").stdout)
    assert document["State"]["Health"]["FailingStreak"] == 0
    assert {entry["ExitCode"] for entry in document["State"]["Health"]["Log"]} <= {0, 1}
    actions = box.run(
        "events",
        "--since",
        "0",
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    )
    assert actions.stdout.splitlines() == ["health_status: unhealthy", "health_status: healthy"]


def test_fifty_at_once(box: Firkin) -> None:
    waiting = [
        box.popen("run", "--name", f"many{number}", "--network", "none", "box:1", "sh", "-c", f"echo {number}; exit {number}",
                  stdout=subprocess.PIPE)
        for number in range(50)
    ]  # fmt: skip
    for number, process in enumerate(waiting):
        out, _ = process.communicate(timeout=200)
        assert (out, process.returncode) == (f"{number}\n".encode(), number)
    assert len(box.run("ps", "-aq").stdout.split()) == 50
    assert box.run("ps", "-aq", "--filter", "exited=7").stdout.count("\n") == 1
    box.run("container", "prune", "-f")
    assert box.run("ps", "-aq").stdout == ""


def test_twenty_with_one_name(box: Firkin) -> None:
    waiting = [
        box.popen(
            "run",
            "--name",
            "one",
            "--network",
            "none",
            "box:1",
            "echo",
            "won",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(20)
    ]
    results = [(*process.communicate(timeout=120), process.returncode) for process in waiting]
    assert [out for out, _, code in results if code == 0] == [b"won\n"]
    for _, error, code in results:
        assert code in (0, 125) and (code == 0 or b'name "/one" is already in use by container' in error)
    assert box.run("ps", "-a", "--format", "{{.Names}}").stdout == "one\n"


ENTRYPOINTS = {"": (), 'ENTRYPOINT ["echo", "e"]': ("echo", "e"), "ENTRYPOINT echo e": ("/bin/sh", "-c", "echo e")}
COMMANDS = {"": (), 'CMD ["echo", "c"]': ("echo", "c"), "CMD echo c": ("/bin/sh", "-c", "echo c")}


def test_entrypoints_and_commands(shared_box: Firkin) -> None:
    """Docker's table "Understand how CMD and ENTRYPOINT interact", and what the command line puts in their place."""
    for number, (entrypoint, first) in enumerate(ENTRYPOINTS.items()):
        for second, (command, rest) in enumerate(COMMANDS.items()):
            context = shared_box.directory(f"words-{number}-{second}")
            (context / "Dockerfile").write_text(f"FROM box:1\nENTRYPOINT []\nCMD []\n{entrypoint}\n{command}\n")
            shared_box.account.give(context)
            image = f"words:{number}{second}"
            shared_box.run("build", "-t", image, context)
            for given in ((), ("echo", "g")):
                argv = (*first, *(given or rest))
                result = shared_box.run("run", "--rm", "--network", "none", image, *given, check=False)
                if not argv:
                    assert result.returncode == 125 and "no command specified" in result.stderr.lower()
                    continue
                shown = "e" if argv[:1] == ("/bin/sh",) and first else " ".join(argv[1:])
                if argv[:2] == ("/bin/sh", "-c") and not first:
                    shown = "c"
                assert result.stdout == f"{shown}\n", (entrypoint, command, given)
            replaced = shared_box.run("run", "--rm", "--network", "none", "--entrypoint", "echo", image, "x")
            assert replaced.stdout == "x\n"


def test_an_image_merged_into_one_layer(box: Firkin) -> None:
    box.run("run", "--name", "grown", "--network", "none", "box:1", "sh", "-c", "echo more >/more; chmod 4750 /more")
    box.run("export", "-o", box.place / "flat.tar", "grown")
    box.run("import", box.place / "flat.tar", "flat:1")
    (document,) = json.loads(box.run("inspect", "flat:1").stdout)
    assert len(document["RootFS"]["Layers"]) == 1
    shown = box.run("run", "--rm", "--network", "none", "flat:1", "sh", "-c", "cat /more; stat -c %a /more")
    assert shown.stdout == "more\n4750\n"
    box.run("commit", "-c", "CMD cat /more", "grown", "grown:1")
    assert box.run("run", "--rm", "--network", "none", "grown:1").stdout == "more\n"


def test_a_flood_of_log_within_its_limit(box: Firkin) -> None:
    """1 GB goes through; what is kept is at most max-file times max-size."""
    box.run("run", "--name", "flood", "--network", "none", "--log-opt", "max-size=10m", "--log-opt", "max-file=3", "box:1",
            "sh", "-c", "yes 01234567890123456789012345678901234567890123456789012345678901234567890123456789 | head -c 1000000000",
            timeout=400)  # fmt: skip
    last, rest = box.run("logs", "--tail", "2", "flood").stdout.splitlines()
    assert (len(last), rest) == (80, "0")  # 81 bytes a line, so one byte of 10**9 is left
    (document,) = json.loads(box.run("container", "inspect", "flood").stdout)
    assert document["State"]["ExitCode"] == 0
    if os.geteuid() == 0:
        log = Path(document["LogPath"])
        kept = sum(path.stat().st_size for path in log.parent.iterdir() if path.name.startswith(log.name))
        assert 15_000_000 < kept <= 3 * 10_000_000 + 100_000


def test_a_terminal_in_tmux(box: Firkin) -> None:
    """What a person does: type, change the window's size, interrupt, detach."""
    socket_name = f"firkin-{os.getpid()}"
    tmux = ["tmux", "-L", socket_name, "-f", "/dev/null"]
    environment = {**box.environment(), "TERM": "xterm"}

    def say(*words: str) -> str:
        return box.account.run([*tmux, *words], env=environment, cwd="/", timeout=60).stdout

    def shows(text: str) -> bool:
        return text in say("capture-pane", "-p", "-t", "main")

    command = box.command("run", "-it", "--name", "term", "--network", "none", "box:1", "sh")
    say("new-session", "-d", "-s", "main", "-x", "90", "-y", "30", " ".join(command) + "; echo ended $?; sleep 60")
    try:
        until(lambda: shows("#") or shows("$"))
        say("send-keys", "-t", "main", "stty size", "Enter")
        until(lambda: shows("30 90"))
        say("resize-window", "-t", "main", "-x", "100", "-y", "40")
        until(lambda: (say("send-keys", "-t", "main", "stty size", "Enter"), time.sleep(0.2), shows("40 100"))[2])
        say("send-keys", "-t", "main", "sleep 100", "Enter")
        time.sleep(0.5)
        say("send-keys", "-t", "main", "C-c")
        say("send-keys", "-t", "main", "echo after$((1+1))", "Enter")
        until(lambda: shows("after2"))
        say("send-keys", "-t", "main", "C-p", "C-q")
        until(lambda: shows("ended 0"))
        assert box.run("ps", "--format", "{{.Names}}").stdout == "term\n"
    finally:
        say("kill-server")
    assert box.run("rm", "-f", "term").stdout == "term\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_lives_on_when_its_starter_is_gone(shared_box: Firkin) -> None:
    port = free_port()
    reply = "HTTP/1.0 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n"
    page = f"while true; do printf '{reply}' | nc -l -p {port}; done"
    starter = shared_box.popen("run", "--name", "alone", "--network", "host", "box:1", "sh", "-c", page)
    assert answer(port) == "ok\n"
    starter.kill()
    starter.wait()
    assert answer(port) == "ok\n"
    assert shared_box.run("ps", "--format", "{{.Names}}").stdout == "alone\n"
    shared_box.run("rm", "-f", "alone")
