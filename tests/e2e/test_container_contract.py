"""What the Engine's contract says of containers, at the operations that all fronts use: as root and as a user.

Calls in each state, starts that fail, waits, events, restarts, health, mounts; each test is named for what it is about.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from support.accounts import Firkin
from support.containers import make_box
from support.operations import run_script

pytestmark = [pytest.mark.registry, pytest.mark.userns]

HELPERS = """
from firkin.containers.archive import path_stat, put_archive, get_archive
from firkin.containers.changes import file_changes
from firkin.containers.commit import CommitRequest, commit
from firkin.containers.export import export
from firkin.containers.inspect import inspect_container
from firkin.containers.list import Wanted, list_containers
from firkin.containers.logs import LogQuery, read_logs
from firkin.containers.rename import rename
from firkin.containers.top import top
from firkin.containers.update import update

NONE = HostConfig(network_mode="none")
STATUS = {"invalid": 400, "missing": 404, "conflict": 409, "failed": 500, "unsupported": 501}

def by(call):
    "What the call comes to, as the Engine API numbers it."
    try:
        return 304 if call() is False else 204
    except ContainerError as error:
        return STATUS[error.kind]

def refusal(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ContainerError as error:
        return error
    raise AssertionError("it was not refused")

def asked(*argv, host=NONE, **config):
    return CreateRequest(Config(image="box:1", cmd=argv, **config), host)

def hosted(**fields):
    return HostConfig(**{"network_mode": "none", **fields})

def seen(id):
    return inspect_container(engine, home.record(id))

def said(id):
    lines = [each for some in read_logs(engine, home.record(id), LogQuery()) for each in some]
    return "".join(each.log for each in lines)
"""


@pytest.fixture(scope="module")
def script(shared_firkin: Firkin) -> Iterator[Callable[[str], str]]:
    """Run Python in the account's engine; its asserts are the test."""
    make_box(shared_firkin)
    yield partial(run_script, shared_firkin, prelude=HELPERS)


# What each call does in each state.

CALLS = """
def exported(id):
    with export(engine, home.record(id)) as chunks:
        assert sum(map(len, chunks))

def ran(id):
    with_exit = output(execs.run_exec(engine, id, execs.ExecRequest(("true",))))
    assert with_exit[1].status == 0

calls = {
    "start": lambda id: not start(engine, id).already,
    "stop": lambda id: stop(engine, id, timeout=0),
    "restart": lambda id: restart(engine, id, timeout=0),
    "kill": lambda id: kill(engine, id),
    "pause": lambda id: pause(engine, id),
    "unpause": lambda id: unpause(engine, id),
    "rm": lambda id: remove(engine, id) and None,
    "rm -f": lambda id: remove(engine, id, force=True) and None,
    "exec": ran,
    "attach": lambda id: attach(engine, id, AttachTo()).close(),
    "logs": lambda id: list(read_logs(engine, home.record(id), LogQuery())),
    "top": lambda id: top(engine, id) and None,
    "update": lambda id: update(engine, id, {"restart_policy": RestartPolicy("no")}) and None,
    "rename": lambda id: rename(engine, id, "new" + id[:9]) and None,
    "rename to its own name": lambda id: rename(engine, id, home.record(id).name) and None,
    "export": exported,
    "diff": lambda id: file_changes(engine, home.record(id)) and None,
    "commit": lambda id: commit(engine, home.record(id), CommitRequest()) and None,
    "stat": lambda id: path_stat(engine, home.record(id), "/etc") and None,
}
"""
MAKERS = {
    "created": "ids = [make('sleep', '100') for _ in calls]",
    "running": "ids = [make('sleep', '100') for _ in calls]\nfor id in ids: start(engine, id)",
    "paused": "ids = [make('sleep', '100') for _ in calls]\nfor id in ids: start(engine, id); pause(engine, id)",
    # Five restarts take three seconds; the sixth comes after another three.
    "restarting": (
        "host = hosted(restart_policy=RestartPolicy('always'))\n"
        "ids = [make('sh', '-c', 'exit 3', host=host) for _ in calls]\n"
        "for id in ids: start(engine, id)\n"
        "until(lambda: all(home.state(id).restart_count >= 5 and home.state(id).restarting for id in ids))"
    ),
    "exited": "ids = [make('true') for _ in calls]\nfor id in ids: start(engine, id); wait(engine, id)",
}
ROWS = {
    #                         created running paused restarting exited
    "start":                  (204, 304, 409, 304, 204),
    "stop":                   (304, 204, 204, 204, 304),
    "restart":                (204, 204, 204, 204, 204),
    "kill":                   (409, 204, 204, 204, 409),
    "pause":                  (409, 204, 409, 409, 409),
    "unpause":                (500, 500, 204, 500, 500),
    "rm":                     (204, 409, 409, 409, 204),
    "rm -f":                  (204, 204, 204, 204, 204),
    "exec":                   (409, 204, 409, 409, 409),
    "attach":                 (204, 204, 409, 409, 204),
    "logs":                   (204, 204, 204, 204, 204),
    "top":                    (409, 204, 204, 409, 409),
    "update":                 (204, 204, 204, 204, 204),
    "rename":                 (204, 204, 204, 204, 204),
    "rename to its own name": (400, 400, 400, 400, 400),
    "export":                 (204, 204, 204, 204, 204),
    "diff":                   (204, 204, 204, 204, 204),
    "commit":                 (204, 204, 204, 204, 204),
    "stat":                   (204, 204, 204, 204, 204),
}  # fmt: skip


@pytest.mark.parametrize("state", MAKERS)
def test_each_call_in_each_state(script: Callable[[str], str], state: str) -> None:
    column = list(MAKERS).index(state)
    expected = {call: row[column] for call, row in ROWS.items()}
    script(f"""{CALLS}
{MAKERS[state]}
found = {{call: by(lambda: calls[call](id)) for call, id in zip(calls, ids)}}
expected = {expected!r}
wrong = {{call: (code, expected[call]) for call, code in found.items() if code != expected[call]}}
assert not wrong, wrong
assert found.keys() == expected.keys()
""")


# Starts that fail.


def test_a_start_that_fails_keeps_why_and_leaves_the_container_created(script: Callable[[str], str]) -> None:
    script("""
        os.mkdir("dir"); open("file", "w").close()
        place = os.getcwd()
        for argv, host, code, words in (
            (("nothing-here",), NONE, 127, ("executable file not found",)),
            (("/nothing/here",), NONE, 127, ("no such file or directory",)),
            (("/etc",), NONE, 126, ("permission denied", "is a directory")),
            (("/etc/passwd",), NONE, 126, ("permission denied",)),
            (("true",), hosted(binds=(f"{place}/file:/home",)), 127, ("vice-versa",)),
            (("true",), hosted(binds=(f"{place}/dir:/etc/passwd",)), 127, ("vice-versa",)),
        ):
            id = make(*argv, host=host)
            error = refusal(start, engine, id)
            state = home.state(id)
            assert any(each in error.message for each in words), (argv, error.message)
            assert (state.exit_code, seen(id)["State"]["Status"]) == (code, "created"), (argv, state)
            assert state.error and any(each in state.error for each in words)
            assert events(id) == ["create"], events(id)
            alone = make(*argv, host=msgspec.structs.replace(host, auto_remove=True))
            refusal(start, engine, alone)
            until(lambda: alone not in home.ids())
        os.rmdir("dir"); os.unlink("file")
    """)


def test_a_start_clears_what_the_last_end_left(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "test -e /again && exec sleep 100; touch /again; exit 7")
        start(engine, id)
        assert wait(engine, id).status == 7
        ended = seen(id)["State"]
        assert (ended["ExitCode"], ended["Pid"], ended["Status"]) == (7, 0, "exited")
        start(engine, id)
        state = seen(id)["State"]
        assert (state["ExitCode"], state["Error"], state["OOMKilled"], state["Running"]) == (0, "", False, True)
        assert state["Pid"] and state["FinishedAt"] == ended["FinishedAt"]
    """)


# Waits, ends, --rm.


def test_conditions_of_waits_trap_12(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "exit 4")
        assert wait(engine, id).status == 0
        with ThreadPoolExecutor(2) as pool:
            ending, going = (pool.submit(wait, engine, id, condition) for condition in ("next-exit", "removed"))
            until(lambda: home.has_monitor(id))
            time.sleep(0.3)
            assert not ending.done() and not going.done()
            start(engine, id)
            assert ending.result(10).status == 4
            time.sleep(0.2)
            assert not going.done()
            remove(engine, id)
            assert going.result(10).status == 4
        assert refusal(wait, engine, make("true"), "never").kind == "invalid"
    """)


def test_back_off_wakes_who_waits_for_an_end(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "exit 5", host=hosted(restart_policy=RestartPolicy("always")))
        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(wait, engine, id, "next-exit")
            until(lambda: home.has_monitor(id))
            time.sleep(0.1)
            start(engine, id)
            assert ending.result(10).status == 5
        assert wait(engine, id, "next-exit").status == 5
    """)


def test_a_wait_for_one_that_removes_itself_has_its_code_and_the_name_is_free_trap_11(
    script: Callable[[str], str],
) -> None:
    script("""
        for code in (3, 4, 5, 6):
            request = CreateRequest(Config(image="box:1", cmd=("sh", "-c", f"exit {code}")), hosted(auto_remove=True), name="same")
            id = create(engine, request, image_for(engine, "box:1")).id
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(wait, engine, id, "removed")
                until(lambda: home.has_monitor(id))
                start(engine, id)
                assert waiting.result(10).status == code
    """)


def test_nothing_of_a_fast_commands_output_is_lost_trap_1(script: Callable[[str], str]) -> None:
    script("""
        for round in range(20):
            id = make("sh", "-c", "seq 1 2000; echo last >&2")
            attached = start(engine, id, attach=AttachTo()).attached
            text, end = output(attached)
            assert text.count("\\n") == 2001 and "last\\n" in text, (round, len(text))
            assert home.state(id).exit_code == 0 and not home.state(id).running
            remove(engine, id)
    """)


def test_a_second_commands_code_is_there_when_its_output_ends_trap_2(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100")
        start(engine, id)
        for code in range(10):
            exec_id = execs.create_exec(engine, id, execs.ExecRequest(("sh", "-c", f"seq 1 3000; exit {code}")))
            attached = execs.start_exec(engine, id, exec_id)
            text = b""
            while (found := attached.read()) is not None:
                text += found[1]
            assert text.count(b"\\n") == 3000
            state = execs.inspect_exec(engine, id, exec_id)
            assert (state.running, state.exit_code) == (False, code), state
    """)


def test_second_commands_are_started_once_and_known_after_the_end_trap_58(script: Callable[[str], str]) -> None:
    script("""
        id = make("sleep", "100")
        start(engine, id)
        request = execs.ExecRequest(("true",))
        done, waiting = (execs.create_exec(engine, id, request) for _ in range(2))
        assert execs.inspect_exec(engine, id, done).exit_code is None
        output(execs.start_exec(engine, id, done))
        assert refusal(execs.start_exec, engine, id, done).kind == "conflict"
        pause(engine, id)
        assert refusal(execs.start_exec, engine, id, waiting).kind == "conflict"
        assert execs.inspect_exec(engine, id, waiting).running is False
        unpause(engine, id)
        assert refusal(execs.create_exec, engine, id, execs.ExecRequest(())).kind == "invalid"
        assert refusal(execs.inspect_exec, engine, id, "0" * 64).kind == "missing"
        stop(engine, id, timeout=0)
        assert execs.inspect_exec(engine, id, done).exit_code == 0
        remove(engine, id)
        assert refusal(execs.inspect_exec, engine, id, done).kind == "missing"
    """)


def test_an_unfinished_last_line_is_in_the_log_trap_9(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "echo whole; printf 'no end'")
        start(engine, id)
        wait(engine, id)
        assert said(id) == "whole\\nno end"
    """)


# Events.

EVENTS = {
    "its own end": ("('true',)", "", "start(engine, id); wait(engine, id)", "create start die"),
    "stop": ("('sleep', '100')", "", "start(engine, id); stop(engine, id, timeout=0)", "create start kill kill stop die"),
    "stop that is heard": (
        "('sh', '-c', 'trap \"exit 0\" TERM; echo up; while :; do sleep 0.05; done')", "",
        "start(engine, id); until(lambda: said(id)); stop(engine, id)", "create start kill stop die",
    ),
    "restart": (
        "('sleep', '100')", "", "start(engine, id); restart(engine, id, timeout=0)",
        "create start kill kill stop die start restart",
    ),
    "kill": ("('sleep', '100')", "", "start(engine, id); kill(engine, id)", "create start kill die"),
    "rm -f": ("('sleep', '100')", "", "start(engine, id); remove(engine, id, force=True)", "create start kill die destroy"),
    "rm": ("('true',)", "", "remove(engine, id)", "create destroy"),
    "policy": (
        "('sh', '-c', 'exit 1')", "restart_policy=RestartPolicy('on-failure', 2)",
        "start(engine, id); until(lambda: not home.state(id).running)", "create start die start die start die",
    ),
    "stop in a back-off": (
        "('sh', '-c', 'exit 1')", "restart_policy=RestartPolicy('always')",
        "start(engine, id); until(lambda: home.state(id).restart_count == 3 and home.state(id).restarting)\n"
        "assert stop(engine, id)", "create start die start die start die start die stop",
    ),
    "pause": (
        "('sleep', '100')", "", "start(engine, id); pause(engine, id); unpause(engine, id)", "create start pause unpause"
    ),
    "rename": ("('true',)", "", "rename(engine, id, 'other')", "create rename"),
}  # fmt: skip


@pytest.mark.parametrize("what", EVENTS)
def test_events_of_an_operation(script: Callable[[str], str], what: str) -> None:
    argv, host, calls, expected = EVENTS[what]
    script(f"""id = make(*{argv}, host=hosted({host}))
{calls}
until(lambda: len(events(id)) >= {len(expected.split())})
time.sleep(0.1)
assert events(id) == {expected.split()!r}, events(id)
""")


# Restarts.


def test_stops_and_starts_that_come_while_a_policy_starts_the_container(script: Callable[[str], str]) -> None:
    """Whether it is in its back-off, about to start or just ended: a stop is the end, a restart one more start."""
    script("""
        host = hosted(restart_policy=RestartPolicy("always"))
        for round in range(24):
            id = make("sh", "-c", "exit 1", host=host)
            start(engine, id)
            time.sleep(0.007 * round)
            call = (stop, kill)[round % 2]
            try:
                call(engine, id)
            except ContainerError as error:
                raise AssertionError((round, error))
            until(lambda: not home.state(id).running)
            time.sleep(0.25)
            assert not home.state(id).running, (round, events(id))
            remove(engine, id)
    """)


def test_restart_in_a_back_off_starts_once_and_counts_anew_trap_15(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "test -e /well && exec sleep 100; exit 1", host=hosted(restart_policy=RestartPolicy("always")))
        start(engine, id)
        until(lambda: home.state(id).restart_count == 4 and home.state(id).restarting)
        waiting = seen(id)
        assert (waiting["State"]["Status"], waiting["State"]["Running"], waiting["State"]["Pid"]) == ("restarting", True, 0)
        assert (waiting["State"]["ExitCode"], waiting["RestartCount"]) == (1, 4)
        put = home.directory(id) + "/upper/well"
        open(put, "w").close()
        restart(engine, id)
        assert seen(id)["State"]["Status"] == "running"
        time.sleep(2)
        after = events(id)
        assert after[-2:] == ["start", "restart"] and after.count("start") == 6, after
        assert seen(id)["RestartCount"] == 0
    """)


def test_what_counts_as_stopped_by_hand_trap_55(script: Callable[[str], str]) -> None:
    script("""
        body = "trap 'echo hup' HUP; trap 'echo winch' WINCH; trap 'exit 6' USR1; echo up; while :; do sleep 0.02; done"
        for name, goes_on in (("unless-stopped", False), ("always", True)):
            host = hosted(restart_policy=RestartPolicy(name))
            id = make("sh", "-c", body, host=host, stop_signal="QUIT")
            start(engine, id)
            until(lambda: said(id))
            for signal_name in ("HUP", "WINCH", "SIGURG", "CHLD"):
                kill(engine, id, signal=signal_name)
            until(lambda: "hup" in said(id) and "winch" in said(id))
            assert home.state(id).running and home.state(id).by_hand
            kill(engine, id, signal="USR1")
            until(lambda: "die" in events(id))
            until(lambda: home.state(id).running is goes_on)
        assert refusal(kill, engine, id, signal="NOTHING").kind == "invalid"
    """)


# Health.


def test_health_is_starting_at_each_start_and_events_tell_changes_only_traps_16_17_18(
    script: Callable[[str], str],
) -> None:
    script("""
        second = 1_000_000_000
        check = HealthConfig(("CMD-SHELL", "test -e /ill || exit 0; echo so ill; exit 2"), interval=second // 5, retries=2)
        id = make("sh", "-c", "sleep 100", healthcheck=check, host=hosted(restart_policy=RestartPolicy("always")))
        start(engine, id)
        assert seen(id)["State"]["Health"]["Status"] == "starting"
        until(lambda: seen(id)["State"]["Health"]["Status"] == "healthy")
        time.sleep(0.7)
        execs.run_detached(engine, id, execs.ExecRequest(("touch", "/ill")))
        until(lambda: seen(id)["State"]["Health"]["Status"] == "unhealthy")
        health = seen(id)["State"]["Health"]
        assert health["FailingStreak"] >= 2 and len(health["Log"]) <= 5
        assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (2, "so ill\\n")
        assert seen(id)["State"]["Running"]  # being ill restarts nothing
        told = [each for each in events(id) if each.startswith("health_status")]
        assert told == ["health_status: healthy", "health_status: unhealthy"], told
        restart(engine, id, timeout=0)
        health = seen(id)["State"]["Health"]
        assert (health["Status"], health["FailingStreak"]) == ("starting", 0) and health["Log"]
        until(lambda: seen(id)["State"]["Health"]["Status"] == "unhealthy")
        stop(engine, id, timeout=0)
        assert seen(id)["State"]["Health"]["Status"] == "unhealthy"
    """)


def test_no_probe_runs_while_paused_and_the_first_comes_after_an_interval(script: Callable[[str], str]) -> None:
    script("""
        check = HealthConfig(("CMD", "touch", "/probed"), interval=400_000_000)
        id = make("sleep", "100", healthcheck=check)
        began = time.monotonic()
        start(engine, id)
        until(lambda: "exec_die" in events(id))
        assert time.monotonic() - began >= 0.4
        pause(engine, id)
        assert seen(id)["State"]["Health"]["Status"] == "unhealthy"
        probes = events(id).count("exec_die")
        time.sleep(1)
        assert events(id).count("exec_die") <= probes + 1
        unpause(engine, id)
        until(lambda: seen(id)["State"]["Health"]["Status"] == "healthy")
    """)


# Requests, mounts, what inspect shows.


def test_an_entry_without_value_removes_a_variable_and_entrypoints_reset_trap_56(script: Callable[[str], str]) -> None:
    script("""
        from firkin.oci.config import RuntimeConfig
        from firkin.oci.reference import parse_reference
        name = "reset:1"
        base = make("echo", "from image", env=("A=1", "B=2"))
        commit(engine, home.record(base), CommitRequest(name=parse_reference(name)))
        def run(**config):
            id = create(engine, CreateRequest(Config(image=name, **config), NONE), image_for(engine, name)).id
            return output(start(engine, id, attach=AttachTo()).attached)[0]
        assert run() == "from image\\n"
        assert run(cmd=("sh", "-c", "echo ${A-none} $B"), env=("A", "C=3")) == "none 2\\n"
        assert run(entrypoint=()) == "from image\\n"
        assert refusal(run, entrypoint=("",)).message.find("no command specified") >= 0
    """)


def test_sources_that_are_missing_trap_33(script: Callable[[str], str]) -> None:
    script("""
        place = os.getcwd()
        id = make("sh", "-c", "ls -ld /in", host=hosted(binds=(f"{place}/made/by/bind:/in",)))
        start(engine, id); wait(engine, id)
        assert os.path.isdir(f"{place}/made/by/bind") and os.stat(f"{place}/made/by/bind").st_mode & 0o777 == 0o755
        error = refusal(make, "true", host=hosted(mounts=(Mount("bind", f"{place}/never", "/in"),)))
        assert error.kind == "invalid" and "bind source path does not exist" in error.message
        assert not os.path.exists(f"{place}/never")
        willing = Mount("bind", f"{place}/willing", "/in", bind_options=BindOptions(create_mountpoint=True))
        start(engine, make("true", host=hosted(mounts=(willing,))))
        assert os.path.isdir(f"{place}/willing")
        os.removedirs(f"{place}/made/by/bind"); os.rmdir(f"{place}/willing")
    """)


def test_two_mounts_at_one_place_and_volumes_with_and_without_names_traps_32_34_50(
    script: Callable[[str], str],
) -> None:
    script("""
        twice = hosted(binds=("one:/data",), tmpfs={"/data/": ""})
        error = refusal(make, "true", host=twice)
        assert error.kind == "invalid" and "Duplicate mount point" in error.message
        id = make("true", host=hosted(binds=("named:/data",)), volumes={"/data": {}, "/x:/y": {}})
        mounts = {each["Destination"]: each for each in seen(id)["Mounts"]}
        assert mounts["/data"]["Name"] == "named" and sorted(mounts) == ["/data", "/x:/y"]
        assert len(mounts["/x:/y"]["Name"]) == 64 and mounts["/data"]["Driver"] == "local"
    """)


def test_a_volume_is_filled_once_with_owners_and_modes(script: Callable[[str], str]) -> None:
    script("""
        base = make("sh", "-c", "mkdir -p /seed; echo a > /seed/f; chmod 640 /seed/f; chown 5:6 /seed /seed/f; chmod 711 /seed")
        start(engine, base); wait(engine, base)
        from firkin.oci.reference import parse_reference
        commit(engine, home.record(base), CommitRequest(name=parse_reference("seed:1")))
        def run(words, **host):
            request = CreateRequest(Config(image="seed:1", cmd=("sh", "-c", words)), hosted(**host))
            id = create(engine, request, image_for(engine, "seed:1")).id
            return output(start(engine, id, attach=AttachTo()).attached)[0]
        look = "stat -c '%a %u %g %n' /v /v/*; rm -f /v/f"
        assert run(look, binds=("filled:/v", )) .startswith("755"), "nothing is there to copy"
        assert run(look.replace("/v", "/seed"), binds=("fresh:/seed",)) == "711 5 6 /seed\\n640 5 6 /seed/f\\n"
        assert run("touch /seed/g; ls /seed", binds=("fresh:/seed",)) == "f\\ng\\n", "empty again: filled again"
        assert run("rm /seed/f; ls /seed", binds=("fresh:/seed",)) == "g\\n"
        assert run("ls /seed", binds=("fresh:/seed",)) == "g\\n", "not empty: nothing is copied"
        assert run("ls /seed", binds=("bare:/seed:nocopy",)) == ""
    """)


def test_inspect_and_lists_have_the_forms_that_clients_cut_traps_21_22_25_54(script: Callable[[str], str]) -> None:
    script("""
        from firkin.containers.list import summary
        import re
        id = make("true")
        found = seen(id)
        assert found["Name"].startswith("/") and found["Image"].startswith("sha256:") and found["Config"]["Image"] == "box:1"
        assert re.fullmatch(r"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?Z", found["Created"]), found["Created"]
        assert found["State"]["StartedAt"] == "0001-01-01T00:00:00Z" and "Health" not in found["State"]
        host = found["HostConfig"]
        assert (host["MemorySwappiness"], host["PidsLimit"], found["Config"]["Entrypoint"]) == (None, None, None)
        (listed,) = [each for each in list_containers(engine, Wanted(every=True)) if each.entry.record.id == id]
        element = summary(listed, time.time())
        assert element["Names"][0].startswith("/") and element["Labels"] == {} and element["Mounts"] == []
        assert isinstance(element["Created"], int)
    """)


def test_who_joined_a_container_that_was_made_anew_fails_at_its_next_start_trap_46(
    script: Callable[[str], str],
) -> None:
    script("""
        def named():
            request = CreateRequest(Config(image="box:1", cmd=("sleep", "100")), NONE, name="base")
            return create(engine, request, image_for(engine, "box:1")).id
        base = named()
        start(engine, base)
        joiner = make("sleep", "100", host=HostConfig(network_mode="container:base"))
        assert seen(joiner)["HostConfig"]["NetworkMode"] == f"container:{base}"
        start(engine, joiner)
        remove(engine, base, force=True)
        start(engine, named())
        stop(engine, joiner, timeout=0)
        error = refusal(start, engine, joiner)
        assert base[:12] in error.message, error.message
    """)


def test_a_second_call_of_create_for_a_volume_changes_nothing_trap_31(script: Callable[[str], str]) -> None:
    script("""
        from firkin.containers.volumes.make import make_volume
        first = make_volume(engine, "kept", labels={"a": "b"})
        assert make_volume(engine, "kept", labels={"c": "d"}, options={"type": "tmpfs", "device": "tmpfs"}) == first
        nameless = make_volume(engine)
        assert len(nameless.name) == 64 and "com.docker.volume.anonymous" in nameless.labels
        for name in ("x", "a/b", ".a"):
            assert refusal(make_volume, engine, name).kind == "invalid"
    """)


def test_update_contradictions_and_unknown_filters(script: Callable[[str], str]) -> None:
    script("""
        id = make("true", host=hosted(auto_remove=True))
        assert refusal(update, engine, id, {"restart_policy": RestartPolicy("always")}).kind == "conflict"
        assert refusal(list_containers, engine, Wanted(filters={"nothing": ("x",)})).kind == "invalid"
        other = make("true", host=hosted(), )
        assert refusal(rename, engine, other, home.record(id).name).kind == "conflict"
        host = hosted(auto_remove=True, restart_policy=RestartPolicy("always"))
        assert refusal(make, "true", host=host).kind == "invalid"
        assert refusal(image_for, engine, "absent:1").kind == "missing"
    """)


def test_only_a_missing_image_is_missing_at_create_trap_52(script: Callable[[str], str]) -> None:
    """Clients pull the image and try again when create says that something is missing."""
    script("""
        for fields in (
            {"network_mode": "container:nothing"}, {"pid_mode": "container:nothing"}, {"ipc_mode": "container:nothing"},
            {"volumes_from": ("nothing",)}, {"mounts": (Mount("image", "absent:1", "/in"),)},
            {"binds": ("/nothing/here:/in:bogus",)}, {"mounts": (Mount("bind", "/nothing/here", "/in"),)},
            {"devices": (Device("/dev/nothing", "/dev/nothing"),)}, {"network_mode": "nowhere"},
        ):
            try:
                id = make("true", host=hosted(**fields))
            except ContainerError as error:
                assert error.kind != "missing", (fields, error)
            else:
                error = refusal(start, engine, id)
                assert error.message, fields
    """)


def test_sizes_wait_for_nobody_trap_49(script: Callable[[str], str]) -> None:
    script("""
        id = make("true")
        with ThreadPoolExecutor(1) as pool, home.locked(id):
            found = pool.submit(inspect_container, engine, home.record(id), size=True).result(10)
            assert found["SizeRootFs"] > 0 and found["SizeRw"] >= 0
            assert pool.submit(list_containers, engine, Wanted(every=True)).result(10)
    """)


def test_the_end_of_a_clients_input_is_not_that_of_a_terminal_trap_57(script: Callable[[str], str]) -> None:
    script("""
        words = "read -r a; echo got $a; read -r b; echo got $b"
        id = make("sh", "-c", words, tty=True, open_stdin=True, stdin_once=True)
        first = start(engine, id, attach=AttachTo(stdin=True)).attached
        first.write_stdin(b"one\\n")
        first.close_stdin()
        until(lambda: "got one" in said(id))
        time.sleep(0.3)
        assert home.state(id).running
        second = attach(engine, id, AttachTo(stdin=True))
        second.write_stdin(b"two\\n")
        text, end = output(second)
        assert "got two\\r\\n" in text and end.status == 0, text
    """)


def test_input_stays_open_for_the_next_client_unless_it_is_taken_once(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "read -r a; read -r b; echo $a$b; exec sleep 0.1", open_stdin=True)
        first = start(engine, id, attach=AttachTo(stdin=True)).attached
        first.write_stdin(b"one\\n")
        first.close_stdin()
        first.close()
        second = attach(engine, id, AttachTo(stdin=True))
        second.write_stdin(b"two\\n")
        assert output(second)[0] == "onetwo\\n"
    """)


def test_a_policy_gives_up_and_a_start_counts_anew(script: Callable[[str], str]) -> None:
    script("""
        id = make("sh", "-c", "exit 1", host=hosted(restart_policy=RestartPolicy("on-failure", 2)))
        for _ in range(2):
            start(engine, id)
            until(lambda: not home.state(id).running)
            assert (seen(id)["RestartCount"], seen(id)["State"]["ExitCode"]) == (2, 1)
        until(lambda: events(id).count("die") == events(id).count("start") == 6)
    """)


def test_volumes_of_another_container_and_what_a_removal_takes(script: Callable[[str], str]) -> None:
    script("""
        first = make("sh", "-c", "echo here > /data/f", volumes={"/data": {}})
        start(engine, first); wait(engine, first)
        nameless = seen(first)["Mounts"][0]["Name"]
        second = make("cat", "/data/f", host=hosted(volumes_from=(f"{first[:12]}:ro",)))
        assert (seen(second)["Mounts"][0]["Name"], seen(second)["Mounts"][0]["RW"]) == (nameless, False)
        remove(engine, first, volumes=True)
        assert output(start(engine, second, attach=AttachTo()).attached)[0] == "here\\n"
        remove(engine, second, volumes=True)
        assert os.path.isdir(f"{engine.root}/volumes/{nameless}")  # it was not second's own
    """)
