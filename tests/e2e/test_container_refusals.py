"""Containers that cannot be had, or not all of what was asked for: words, exit codes, and what is left of them."""

import json
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.scripts import run_python

pytestmark = [pytest.mark.registry, pytest.mark.userns]

RUN = ("run", "--rm", "--network", "none")
VICE_VERSA = "are you trying to mount a directory onto a file (or vice-versa)"


def left(firkin: Firkin) -> str:
    return firkin.run("ps", "-aq").stdout


@pytest.fixture
def place(shared_box: Firkin, tmp_path: Path) -> Path:
    found = shared_box.directory(f"refusals-{tmp_path.name}")
    (found / "file").write_text("x\n")
    (found / "dir").mkdir()
    shared_box.account.give(found)
    return found


@pytest.mark.parametrize(("kind", "target"), [("file", "/etc"), ("dir", "/etc/passwd"), ("file", "/etc/passwd/x")])
def test_a_file_over_a_directory(shared_box: Firkin, place: Path, kind: str, target: str) -> None:
    """`run` ends with 125 as docker's, and the container has the exit code 127."""
    option = ("-v", f"{place}/{kind}:{target}")
    done = shared_box.run(*RUN, *option, "box:1", "true", check=False)
    assert (done.returncode, VICE_VERSA in done.stderr) == (125, True), done.stderr
    assert left(shared_box) == ""
    id = shared_box.run("create", "--network", "none", *option, "box:1", "true").stdout.strip()
    assert shared_box.run("start", id, check=False).returncode == 1
    (document,) = json.loads(shared_box.run("inspect", id).stdout)
    assert (document["State"]["Status"], document["State"]["ExitCode"]) == ("created", 127)
    shared_box.run("rm", id)


def test_a_volume_over_a_file(shared_box: Firkin) -> None:
    for source in ("", "named-one:"):
        done = shared_box.run(*RUN, "-v", f"{source}/etc/passwd", "box:1", "true", check=False)
        assert (done.returncode, left(shared_box)) == (125, "")
        assert "cannot mount volume over existing file, file exists /etc/passwd" in done.stderr
    shared_box.run("volume", "rm", "named-one")


def test_a_working_directory_that_is_a_file(shared_box: Firkin) -> None:
    done = shared_box.run(*RUN, "-w", "/etc/passwd", "box:1", "true", check=False)
    assert (done.returncode, "not a directory" in done.stderr) == (125, True), done.stderr


def test_ports_without_a_network_mean_nothing(shared_box: Firkin) -> None:
    done = shared_box.run("run", "-d", "--name", "ports", "--network", "none", "-p", "80:80", "-P", "box:1", "sleep", "99")
    assert done.stderr == ""
    assert shared_box.run("port", "ports").stdout == ""
    assert shared_box.run("ps", "--format", "{{.Ports}}").stdout == "\n"
    shared_box.run("rm", "-f", "ports")


def test_an_oom_score_that_may_not_be_lowered(shared_box: Firkin) -> None:
    """Whether it may is the machine's business: then it is, else there is the fact, or a warning."""
    words = ("box:1", "cat", "/proc/self/oom_score_adj")
    done = shared_box.run(*RUN, "--oom-score-adj", "-500", *words, check=False)
    if done.returncode == 0:
        assert done.stdout == "-500\n"
        return
    assert (done.returncode, "needs CAP_SYS_RESOURCE" in done.stderr, "--limits=warn" in done.stderr) == (125, True, True)
    done = shared_box.run(*RUN, "--oom-score-adj", "-500", "--limits", "warn", *words)
    assert (done.stdout, "CAP_SYS_RESOURCE" in done.stderr) == ("0\n", True)
    assert shared_box.run(*RUN, "--oom-score-adj", "500", *words).stdout == "500\n"


def test_a_single_process(shared_box: Firkin) -> None:
    """The limit holds from the command's first moment on, and whoever makes the container does not count."""
    for _ in range(4):
        done = shared_box.run(*RUN, "--pids-limit", "1", "box:1", "sh", "-c", "echo in; ls /; ls /", check=False)
        if done.returncode == 125:
            assert "cannot limit processes: control groups" in done.stderr
            return
        assert done.stdout == "in\n"
        assert "can't fork" in done.stderr
    assert shared_box.run(*RUN, "--pids-limit", "1", "box:1", "true").returncode == 0


def test_a_group_where_there_are_none(shared_box: Firkin) -> None:
    done = shared_box.run(*RUN, "--cgroup-parent", "/mine", "box:1", "true", check=False)
    if done.returncode:
        assert (done.returncode, "cannot put the container into the control group" in done.stderr) == (125, True)
        done = shared_box.run(*RUN, "--cgroup-parent", "/mine", "--limits", "warn", "box:1", "true")
        assert "was discarded" in done.stderr


def test_called_docker_it_speaks_of_docker(shared_box: Firkin) -> None:
    program = "import sys; sys.argv[0] = 'docker'; from firkin.cli.main import main; sys.exit(main())"
    done = run_python(shared_box, program, "run", check=False)
    assert "`docker run` requires at least 1 argument" in done.stderr
    assert "firkin" not in done.stderr


BROKEN = """
import sys
from firkin.containers.link import monitoring, program
from firkin.containers.opening import open_engine
from firkin.containers.start import start
from firkin.errors import HostError

good, times = program.loader, int(sys.argv[3])
program.loader = lambda link: b"raise MemoryError('no room')"
spawned = monitoring.spawn_monitor()
if times == 1:
    program.loader = good
try:
    print(start(open_engine(sys.argv[1], runtime=sys.argv[4]), sys.argv[2], spawned=spawned).already)
except HostError as error:
    print(error.message)
"""


@pytest.mark.parametrize(("times", "said"), [(1, "False"), (2, "the monitor of the container did not start: MemoryError: no room")])
def test_a_monitor_that_does_not_start_gets_a_second_chance(shared_box: Firkin, times: int, said: str) -> None:
    id = shared_box.run("create", "--network", "none", "box:1", "sleep", "99").stdout.strip()
    runtime = shared_box.environment().get("XDG_RUNTIME_DIR", "")
    done = run_python(shared_box, BROKEN, str(shared_box.store), id, str(times), runtime)
    assert done.stdout.strip() == said
    shared_box.run("rm", "-f", id)


FAULT = """
import sys
from firkin.containers.link import launch
from firkin.containers.opening import open_engine
from firkin.containers.start import start

def plan(engine, record):
    raise KeyError("a bug")
launch.plan_launch = plan
try:
    start(open_engine(sys.argv[1], runtime=sys.argv[3]), sys.argv[2])
except KeyError:
    print("told")
"""


def test_nothing_stays_of_one_that_removes_itself_and_cannot_be_planned(shared_box: Firkin) -> None:
    id = shared_box.run("create", "--rm", "--network", "none", "-v", "/data", "box:1", "true").stdout.strip()
    runtime = shared_box.environment().get("XDG_RUNTIME_DIR", "")
    assert run_python(shared_box, FAULT, str(shared_box.store), id, runtime).stdout == "told\n"
    assert (left(shared_box), shared_box.run("volume", "ls", "-q").stdout) == ("", "")
