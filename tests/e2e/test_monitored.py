"""Containers and their monitors, as root and as a user: deaths, races, --rm, pauses, limits, second commands."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.containers import make_box
from support.monitors import Watched
from support.operations import run_script

pytestmark = [pytest.mark.registry, pytest.mark.userns]


@pytest.fixture(scope="module")
def script(shared_firkin: Firkin) -> Iterator[Callable[[str], str]]:
    """Run Python in the account's engine; its asserts are the test."""
    make_box(shared_firkin)
    yield partial(run_script, shared_firkin)


def test_a_killed_monitor_takes_its_command_along_and_the_next_command_says_255_once(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100")
        started = start(engine, id)
        os.kill(home.state(id).monitor, signal.SIGKILL)
        until(lambda: ended(started.pid))
        with ThreadPoolExecutor(4) as pool:
            states = list(pool.map(lambda _: home.state(id), range(4)))
        assert home.state(id).exit_code == 255 and not home.state(id).running
        assert events(id) == ["create", "start", "die"], events(id)
        try:
            kill(engine, id)
        except ContainerError as error:
            assert "is not running" in error.message
        assert start(engine, id).already is False
    """)


def test_who_waits_learns_of_a_monitor_that_was_killed(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100")
        start(engine, id)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait, engine, id, "next-exit")
            time.sleep(0.2)
            os.kill(home.state(id).monitor, signal.SIGKILL)
            assert waiting.result(20).status == 255
    """)


def test_of_two_starts_at_once_one_starts(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100")
        with ThreadPoolExecutor(6) as pool:
            started = list(pool.map(lambda _: start(engine, id), range(6)))
        assert sorted(each.already for each in started) == [False] + [True] * 5
        assert len({each.pid for each in started}) == 1
        assert events(id).count("start") == 1
    """)


def test_a_container_that_removes_itself_takes_files_volumes_and_name_along(script: Callable[[str], str]) -> None:
    script("""
        host = HostConfig(network_mode="none", auto_remove=True)
        id = make("sh", "-c", "mkdir -m 0 /a; echo x > /data/f; chown -R 33 /data; exit 9", host=host, volumes={"/data": {}})
        mount = home.record(id).mounts[0]
        assert os.path.isdir(f"{engine.root}/volumes/{mount.name}")
        attached = start(engine, id, attach=AttachTo(until="removed")).attached
        assert output(attached)[1].status == 9
        left = lambda: [name for name in os.listdir(home.containers) if name not in ("lock", "names")]
        assert left() in ([], [f"gone-{id}"])  # files that nobody can find are deleted after it was told
        until(lambda: left() == [])
        assert os.listdir(home.containers + "/names") == []
        assert [name for name in os.listdir(f"{engine.root}/volumes") if not name.startswith(".lock")] == []
        until(lambda: events(id)[-1] == "destroy")
        assert events(id) == ["create", "attach", "start", "die", "destroy"]
    """)


def test_nothing_of_a_paused_container_runs(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "(while :; do echo x >> /n; sleep 0.01; done) & while :; do echo x >> /m; sleep 0.01; done")
        start(engine, id)
        files = [f"{home.directory(id)}/upper/{name}" for name in "nm"]
        until(lambda: all(os.path.exists(file) for file in files))
        pause(engine, id)
        sizes = [os.path.getsize(file) for file in files]
        time.sleep(0.3)
        assert [os.path.getsize(file) for file in files] == sizes
        try:
            execs.run_exec(engine, id, execs.ExecRequest(("true",)))
            raise AssertionError("an exec in a paused container")
        except ContainerError as error:
            assert error.kind == "conflict" and "is paused" in error.message
        unpause(engine, id)
        until(lambda: [os.path.getsize(file) for file in files] > sizes)
        pause(engine, id)
        assert stop(engine, id, timeout=0)
        assert home.state(id).exit_code == 137
    """)


def test_second_commands_have_user_directory_variables_and_end_with_the_container(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100", env=("A=1", "B=2"))
        start(engine, id)
        request = execs.ExecRequest(("sh", "-c", "echo $A$B$C; pwd; id -u; exit 3"), env=("B=5", "C=6"), cwd="/tmp", user="7")
        text, end = output(execs.run_exec(engine, id, request))
        assert (text.split(), end.status) == (["156", "/tmp", "7"], 3), text
        for argv, code in ((("nothing",), 127), (("/etc",), 126)):
            try:
                execs.run_exec(engine, id, execs.ExecRequest(argv))
                raise AssertionError(argv)
            except ContainerError as error:
                assert error.exit_code == code, error
        left = execs.run_detached(engine, id, execs.ExecRequest(("sleep", "99")))
        pid = execs.inspect_exec(engine, id, left).pid
        stop(engine, id, timeout=0)
        assert ended(pid)
        assert execs.inspect_exec(engine, id, left).exit_code == 137
    """)


def test_an_attached_front_of_a_container_that_is_started_later(script: Callable[[str], str]) -> None:
    script("""
        id = make("cat", open_stdin=True, stdin_once=True)
        attached = attach(engine, id, AttachTo(stdin=True))
        attached.write_stdin(b"first byte")
        attached.close_stdin()
        start(engine, id)
        text, end = output(attached)
        assert (text, end.status) == ("first byte", 0)
    """)


def test_waiting_for_the_removal_of_a_container_that_never_ran(script: Callable[[str], str]) -> None:
    script("""
        id = make("true")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait, engine, id, "removed")
            until(lambda: home.has_monitor(id))
            time.sleep(0.2)
            remove(engine, id)
            assert waiting.result(10).status == 0
    """)


def test_a_restart_policy_ends_when_the_command_cannot_be_started(script: Callable[[str], str]) -> None:
    script("""
        host = HostConfig(network_mode="none", restart_policy=RestartPolicy("always"))
        id = make("sh", "-c", "rm /bin/sh; exit 1", host=host)
        start(engine, id)
        until(lambda: not home.state(id).running)
        state = home.state(id)
        assert "no such file or directory" in state.error or "executable file not found" in state.error, state
        assert state.exit_code == 127
    """)


@pytest.mark.root
def test_a_container_short_of_memory_says_so(script: Callable[[str], str], shared_firkin: Firkin) -> None:
    if not shared_firkin.account.is_root:
        pytest.skip("users have no control groups here")
    script("""
        host = HostConfig(network_mode="none", memory=16 << 20, memory_swap=16 << 20)
        id = make("tail", "/dev/zero", host=host)
        start(engine, id)
        wait(engine, id)
        state = home.state(id)
        assert state.oom_killed and state.exit_code == 137, state
        assert events(id) == ["create", "start", "oom", "die"], events(id)
    """)


@pytest.mark.root
def test_a_monitor_needs_little_memory(tmp_path: Path) -> None:
    watched = [Watched(tmp_path / str(number), "sleep", "60") for number in range(20)]
    try:
        for each in watched:
            each.link.ask("start")
        sizes = []
        for each in watched:
            rows = Path(f"/proc/{each.state().monitor}/smaps_rollup").read_text().splitlines()
            sizes.append(next(int(row.split()[1]) for row in rows if row.startswith("Pss:")))
        assert sorted(sizes)[10] < 6 << 10, sizes  # KiB
    finally:
        for each in watched:
            each.link.ask("signal", number=9)


def test_who_attaches_with_logs_gets_every_byte_once(script: Callable[[str], str]) -> None:
    """Also those of a line that has not ended, while a flood is written and files are rotated."""
    script("""
        from firkin.containers.logs import attach_with_log

        def gather(attached, until_text):
            found = {1: b"", 2: b""}
            while not found[1].endswith(until_text):
                pieces = attached.receive()
                assert pieces or not attached.ended, found
                for stream, data in pieces:
                    found[stream] += data
            attached.close()
            return found

        def log(id):
            try:
                return open(f"{home.directory(id)}/log/{id}-json.log", "rb").read()
            except FileNotFoundError:
                return b""

        id = make("sh", "-c", "echo one; echo error >&2; printf prompt; read x; echo $x; exec sleep 100",
                  open_stdin=True, host=HostConfig(network_mode="none"))
        start(engine, id)
        until(lambda: b"error" in log(id))
        time.sleep(0.2)
        first = attach_with_log(engine, id, AttachTo(stdin=True))
        assert first.waiting
        first.write_stdin(b"typed\\n")
        assert gather(first, b"typed\\n") == {1: b"one\\nprompttyped\\n", 2: b"error\\n"}
        again = attach_with_log(engine, id, AttachTo(stderr=False))
        assert gather(again, b"typed\\n") == {1: b"one\\nprompttyped\\n", 2: b""}
        kill(engine, id)

        # One that has ended: its log, and then nothing.
        wait(engine, id, "not-running")
        late = attach_with_log(engine, id, AttachTo())
        assert gather(late, b"typed\\n")[2] == b"error\\n"

        logs = LogConfig("json-file", {"max-size": "1m", "max-file": "100"})
        flood = make("sh", "-c", "seq 300000; exec sleep 100", host=HostConfig(network_mode="none", log_config=logs))
        start(engine, flood)
        whole = b"".join(b"%d\\n" % number for number in range(1, 300001))
        for _ in range(3):
            assert gather(attach_with_log(engine, flood, AttachTo()), b"\\n300000\\n")[1] == whole
        kill(engine, flood)
        nothing = make("true", host=HostConfig(network_mode="none", log_config=LogConfig("none")))
        try:
            attach_with_log(engine, nothing, AttachTo())
        except ContainerError as error:
            assert error.kind == "unsupported" and "does not support reading" in error.message
        else:
            raise AssertionError("a log that is not there was replayed")
    """)
