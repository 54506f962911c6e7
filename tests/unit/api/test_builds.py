"""The Python API starts a worker, hands events on, raises its errors, stops it."""

import asyncio
import inspect
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from support.places import REPOSITORY
from support.small_engine import WORKER

import firkin
from firkin import errors
from firkin.api import builds as api
from firkin.api.hints import API
from firkin.builder.request import BuildRequest, BuildResult, CacheRef, ImageResult, Output, SshAgent, decode_request
from firkin.events import Started
from firkin.registry.settings import RegistrySettings
from firkin.worker import client
from firkin.worker.messages import Success

REAL_WORKER = client.COMMAND


def children() -> set[str]:
    """Return the processes that this one has started and not waited for: the test run's registry is one."""
    lists = pathlib.Path("/proc/self/task").glob("*/children")
    return {pid for each in lists for pid in each.read_text().split()}


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(client, "COMMAND", ["-c", WORKER])
    monkeypatch.setenv("FIRKIN_ROOT", str(tmp_path / "store"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_build_returns_its_result_and_tells_its_events():
    events = []
    result = firkin.build("done", tags=["app:1"], on_event=events.append)
    assert result.image.names == ("app:1",) and events == [Started(1.0, "a")]


def test_errors_are_raised_as_what_they_are_and_nothing_stays_open():
    firkin.build("done")
    before = descriptors()
    with pytest.raises(errors.StepFailed) as caught:
        firkin.build("failed")
    assert caught.value.exit_code == 7
    with pytest.raises(errors.InternalError, match="KeyError") as fault:
        firkin.build("bug")
    assert fault.value.hints == (API["bug"],)
    with pytest.raises(errors.InternalError, match="without a result"):
        firkin.build("die")
    assert descriptors() == before


def test_threads_build_at_the_same_time():
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(firkin.build("done", tags=[n]).image.names))
               for n in ("a", "b", "c")]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [("a",), ("b",), ("c",)]


def test_an_event_stops_the_build_when_the_caller_raises():
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        firkin.build("wait", on_event=stop)


def test_cancel_and_timeout():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(errors.Cancelled) as caught:
        firkin.build("wait", cancel=stop)
    assert caught.value.exit_code == 143
    began = time.monotonic()
    with pytest.raises(errors.Cancelled, match="time limit"):
        firkin.build("wait", timeout_s=0.3)
    assert time.monotonic() - began < 5


def test_a_time_limit_that_is_no_number_starts_nothing():
    before = children()
    with pytest.raises(errors.UsageError):
        firkin.build("done", timeout_s="5")
    assert children() == before


def test_standard_input_and_output_belong_to_the_caller():
    for arguments in ({"context": "-"}, {"outputs": [Output("tar", dest="-")]}):
        with pytest.raises(errors.UsageError):
            firkin.build(**arguments)


def test_a_request_can_be_run_as_it_is(tmp_path):
    assert api.run(BuildRequest(context="done", store_root=str(tmp_path), tags=("x",))).image.names == ("x",)


@pytest.mark.parametrize(("arguments", "message", "hint"), [
    ({"tags": "app:1"}, "`tags` is of type `str`: it takes an iterable of str", "write a list: `tags=['app:1']`"),
    ({"no_cache_filter": "build"}, "`no_cache_filter` is of type `str`", "write a list"),
    ({"tags": ["app@sha256:" + "0" * 64]}, "it has a digest", ""),
    ({"labels": {"": "x"}}, "a label has no name", ""),
    ({"build_args": {" ": "x"}}, "a build argument has no name", ""),
    ({"dockerfile": "a", "dockerfile_text": "FROM scratch"}, "exclude each other", ""),
    ({"outputs": [Output("docker")]}, "an output of type docker needs a place", "`dest`"),
    ({"source_date_epoch": -1}, "not a number of seconds", ""),
    ({"outputs": "type=oci,dest=a"}, "`outputs` is of type `str`: it takes an iterable", 'firkin.Output("oci"'),
    ({"outputs": Output("oci", dest="a")}, "`outputs` is of type `Output`", "write a list"),
    ({"outputs": {"type": "oci"}}, "`outputs` is of type `dict`", "write a list"),
    ({"outputs": ["type=oci,dest=a"]}, "`outputs[0]` is of type `str`: it takes a firkin.request.Output",
     'firkin.Output("oci"'),
    ({"outputs": [Output("zip", dest="a")]}, "`outputs[0].type`: invalid enum value 'zip'", ""),
    ({"outputs": [Output("oci", dest=7)]}, "`outputs[0].dest` is of type `int`: it takes `str`", ""),
    ({"outputs": [Output("oci", dest="a", names="app")]}, "`outputs[0].names` is of type `str`: it takes `tuple`", ""),
    ({"outputs": [Output("oci", dest=object())]}, "`outputs[0]` has a value of type `object`, which none", ""),
    ({"registry": RegistrySettings(retries="3")}, "`registry.retries` is of type `str`: it takes `int`", ""),
    ({"registry": RegistrySettings(parallel=0)}, "`registry.parallel` is 0: it goes from 1", ""),
    ({"secrets": {"id": 7}}, "`secrets['id']` is of type `int`: it takes a str or bytes", ""),
    ({"isolation": "jail"}, "`isolation` is 'jail': it takes one of auto, namespaces, chroot, inplace", ""),
    ({"build_args": {"A": 1}}, "`build_args['A']` is of type `int`: it takes a str", ""),
    ({"build_args": {1: "A"}}, "`build_args` has a key that is of type `int`: its keys are str", ""),
    ({"tags": ["a", 1]}, "`tags[1]` is of type `int`: it takes a str", ""),
    ({"platform": None, "timeout_s": float("nan")}, "`timeout_s` is nan", ""),
    ({"timeout_s": -1}, "`timeout_s` is -1", ""),
    ({"root": ""}, "`root` is empty", ""),
    ({"context": pathlib.Path("/a\0b")}, "`context` has a NUL character", ""),
    ({"context": "caf\udce9"}, "`context` is not UTF-8", ""),
    ({"root": "caf\ud800"}, "`root` has a surrogate", ""),
    ({"dockerfile_text": "FROM scratch\nLABEL a=\udce9"}, "`dockerfile_text` has a surrogate", ""),
    ({"labels": {"a\0": "b"}}, "a key of `labels` has a NUL character", ""),
    ({"secrets": {"a": "\ud800"}}, "`secrets['a']` has a surrogate", ""),
    ({"target": "a\0"}, "`target` has a NUL character", ""),
    ({"allow": ["\ud800"]}, "`allow[0]` has a surrogate", ""),
])  # fmt: skip
def test_wrong_arguments(arguments, message, hint):
    with pytest.raises(errors.UsageError) as caught:
        firkin.build(**{"context": "done", **arguments})
    assert message in caught.value.message and hint in " ".join(caught.value.hints)


# Of these each argument takes those that are named beside it.
VALUES = {
    "none": None, "int": 3, "float": 1.5, "true": True, "bytes": b"x", "str": "auto", "path": pathlib.PurePath("a"),
    "list": ["a"], "generator": "a", "ints": [1], "bytes list": [b"x"], "dict": {"a": "b"}, "path dict":
    {"a": pathlib.PurePath("b")}, "bytes dict": {"a": b"b"}, "int dict": {"a": 1}, "int keys": {1: "a"}, "empty list": [],
    "empty dict": {}, "object": object(), "function": len, "event": threading.Event(),
}  # fmt: skip
LISTS, PAIRS = "list, generator, empty list", "none, dict, empty dict"
TAKES = {
    "context": "str, path", "dockerfile": "none, str, path", "root": "none, str, path", "config": "none, str, path",
    "dockerfile_text": "none, str", "target": "none, str", "isolation": "none, str",
    "tags": LISTS, "no_cache_filter": LISTS, "allow": LISTS, "platform": f"none, str, {LISTS}",
    "build_args": PAIRS, "labels": PAIRS, "annotations": PAIRS, "build_contexts": f"{PAIRS}, path dict",
    "secrets": f"{PAIRS}, bytes dict", "outputs": "none, empty list", "cache_from": "empty list",
    "cache_to": "empty list", "ssh": "empty list", "run_options": "none", "registry": "none", "push": "true",
    "no_cache": "true", "pull": "true", "require_cached": "true", "rewrite_timestamp": "true",
    "source_date_epoch": "none, int", "max_parallel_steps": "int", "timeout_s": "none, int, float",
    "on_event": "none, function", "cancel": "none, event",
}  # fmt: skip


def wrong_values(argument: str, takes: str) -> list[object]:
    """Return what an argument must refuse."""
    return [pytest.param(argument, value, id=f"{argument}-{kind}") for kind, value in VALUES.items()
            if kind not in takes.split(", ") and kind != "generator"]  # fmt: skip


@pytest.mark.parametrize(("argument", "value"), [case for row in TAKES.items() for case in wrong_values(*row)])
def test_a_value_of_another_type_is_refused_by_the_name_of_its_argument(argument, value, monkeypatch):
    monkeypatch.setattr(api, "spawn_worker", None)  # none is started
    with pytest.raises(errors.UsageError) as caught:
        firkin.build(**{"context": "done", argument: value})
    if value is VALUES["object"]:
        with pytest.raises(errors.UsageError, match=re.escape(caught.value.message)):
            asyncio.run(firkin.build_async(**{"context": "done", argument: value}))
    assert caught.value.code == "argument-type" and f"`{argument}" in caught.value.message
    assert re.search(r"takes|keys are", caught.value.message)


@pytest.mark.parametrize(("argument", "value"), [
    pytest.param(argument, (text for text in "ab") if kind == "generator" else VALUES[kind], id=f"{argument}-{kind}")
    for argument, kinds in TAKES.items() for kind in kinds.split(", ") if argument != "config" or kind == "none"
])  # fmt: skip
def test_values_that_an_argument_takes(argument, value, monkeypatch):
    requests = []
    worker = SimpleNamespace(watch=lambda watcher: client.Ending(Success(None), 0))
    monkeypatch.setattr(api, "spawn_worker", lambda data: requests.append(decode_request(data)) or worker)
    firkin.build(**{"context": "done", argument: value})
    assert len(requests) == 1


def test_every_argument_is_tried():
    assert set(inspect.signature(api.build).parameters) == set(TAKES)


def test_paths_are_paths_wherever_one_is_due(monkeypatch, tmp_path):
    requests = []
    worker = SimpleNamespace(watch=lambda watcher: client.Ending(Success(None), 0))
    monkeypatch.setattr(api, "spawn_worker", lambda data: requests.append(decode_request(data)) or worker)
    file = tmp_path / "file"
    firkin.build(tmp_path, dockerfile=file, build_contexts={"a": file}, outputs=[Output("oci", dest=file)], root=file,
                 ssh=[SshAgent("default", [file])], registry=RegistrySettings(ca_files=[("*", file)]),
                 cache_to=[CacheRef("local", file)])  # fmt: skip
    (request,) = requests
    assert request.context == str(tmp_path) and request.registry.ca_files == (("*", str(file)),)
    assert {request.dockerfile, request.build_contexts[0][1], request.outputs[0].dest, request.store_root,
            request.ssh[0].paths[0], request.cache_to[0].ref} == {str(file)}  # fmt: skip


def test_arguments_reach_the_request(monkeypatch):
    requests = []
    monkeypatch.setattr(api, "run", lambda request, *rest, **options: requests.append(request))
    agent = SshAgent("default", ("/agent",))
    firkin.build(tags=(tag for tag in ("a", "b")), platform="linux/arm64", allow=["network.host"], ssh=[agent],
                 require_cached=True, rewrite_timestamp=True, max_parallel_steps=3)  # fmt: skip
    firkin.build(platform=["linux/amd64", "linux/arm64"])
    first, second = requests
    assert (first.tags, first.platforms, first.allow, first.ssh) == (
        ("a", "b"), ("linux/arm64",), ("network.host",), (agent,))  # fmt: skip
    assert first.require_cached and first.rewrite_timestamp and first.max_parallel_steps == 3
    assert second.platforms == ("linux/amd64", "linux/arm64")


def test_a_failed_step_tells_the_end_of_its_output():
    with pytest.raises(errors.StepFailed) as caught:
        firkin.build("loud")
    output = caught.value.output
    assert output.endswith(b"2999: " + b"x" * 60 + b"\nthe end\n") and len(output) == 1 << 16
    assert b"of another step" not in output
    with pytest.raises(errors.StepFailed) as caught:
        firkin.build("failed")
    assert caught.value.output == b""


def test_steps_tell_their_layers(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "COMMAND", REAL_WORKER)
    text = "FROM scratch AS other\nCOPY a /other\nFROM scratch\nWORKDIR /w\nCOPY a b /\nCOPY --from=other /other /\n"
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    for _ in range(2):  # made, then cached
        result = firkin.build(tmp_path, dockerfile_text=text)
        diff_ids = json.loads(bytes(result.image.config))["rootfs"]["diff_ids"]
        assert [step.diff_id for step in result.steps] == ["", *diff_ids]
        assert [bool(step.size_bytes) for step in result.steps] == [False, True, True, True]


def test_build_async_returns_results_and_tells_events_in_the_loop():
    threads = set()

    async def builds() -> list[str]:
        tell = lambda event: threads.add(threading.get_ident())  # noqa: E731
        results = await asyncio.gather(*(firkin.build_async("done", tags=[tag], on_event=tell) for tag in "abc"))
        return [result.image.names[0] for result in results]

    assert asyncio.run(builds()) == ["a", "b", "c"]
    assert threads == {threading.get_ident()}


def test_build_async_raises_what_the_build_or_its_listener_raises():
    def refuse(event: object) -> None:
        raise LookupError("not this one")

    with pytest.raises(errors.StepFailed, match="ended with 7"):
        asyncio.run(firkin.build_async("failed"))
    for context in ("wait", "done", "failed"):
        with pytest.raises(LookupError, match="not this one"):
            asyncio.run(firkin.build_async(context, on_event=refuse))
    with pytest.raises(errors.Cancelled, match="time limit"):
        asyncio.run(firkin.build_async("wait", timeout_s=0.2))
    stop = threading.Event()
    stop.set()
    with pytest.raises(errors.Cancelled):
        asyncio.run(firkin.build_async("wait", cancel=stop))

    async def listen(event: object) -> None: ...

    with pytest.raises(errors.UsageError, match="coroutine function"):
        asyncio.run(firkin.build_async("done", on_event=listen))


def test_a_cancelled_task_stops_its_build():
    before, running = descriptors(), children()

    async def cancel() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(firkin.build_async("wait", on_event=lambda event: started.set()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() == running  # the worker has ended, and somebody has waited for it

    asyncio.run(cancel())
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(firkin.build_async("wait"), 0.3))
    assert descriptors() == before


def test_a_process_that_waits_for_no_child_can_build():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert firkin.build("done", tags=["x"]).image.names == ("x",)
        with pytest.raises(errors.StepFailed):
            firkin.build("failed")
        with pytest.raises(errors.Cancelled):
            firkin.build("wait", timeout_s=0.2)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_event_loop_stays_free():
    async def builds() -> list[str]:
        results = await asyncio.gather(*(asyncio.to_thread(firkin.build, "done", tags=[tag]) for tag in "abc"))
        return [result.image.names[0] for result in results]

    assert asyncio.run(builds()) == ["a", "b", "c"]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_of_the_manual_run(page, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(client, "COMMAND", REAL_WORKER)
    monkeypatch.chdir(tmp_path)
    context = tmp_path / "path/to/context"
    context.mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nARG VERSION\nCOPY Dockerfile /\nLABEL version=$VERSION\n")
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, page, "exec"), {})
    assert "sha256:" in capsys.readouterr().out


def test_examples_of_the_manual_are_typed(tmp_path):
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python.md").read_text(), re.DOTALL)
    files = []
    for number, example in enumerate(examples):
        files.append(tmp_path / f"example_{number}.py")
        files[-1].write_text(example)
    # In one process with what it has found out about firkin before, it takes a second.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", *map(str, files)]
    result = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "MYPYPATH": "src"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_manual_names_every_argument():
    page = (REPOSITORY / "docs/python.md").read_text()
    assert [name for name in inspect.signature(api.build).parameters if f"`{name}`" not in page] == []
    fields = (*BuildResult.__struct_fields__, *ImageResult.__struct_fields__)
    assert [name for name in fields if name not in page] == []


def test_a_named_context_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "COMMAND", REAL_WORKER)
    with pytest.raises(errors.ContextError, match=rf"^`build_contexts\[\"assets\"\]`: {tmp_path}/nowhere does not exist"):
        firkin.build(tmp_path, dockerfile_text="FROM scratch", build_contexts={"assets": f"{tmp_path}/nowhere"})


def test_public_names_load_on_first_use():
    code = """if True:
        import sys, firkin
        assert "build" in dir(firkin) and "errors" in dir(firkin) and "firkin.errors" not in sys.modules
        assert firkin.errors.FirkinError is firkin.FirkinError and firkin.events.Log and firkin.request.CacheRef
        from firkin import *
        assert build is firkin.build and not hasattr(firkin, "nothing")
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_environment_that_is_not_utf8_is_no_hindrance(monkeypatch):
    from firkin.ambient import text_environment

    assert text_environment({"A": "caf\udce9", "B\udcff": "x"}) == {"A": "caf\ufffd", "B\ufffd": "x"}
    monkeypatch.setenv("AWS_X", "caf\udce9")
    from firkin.api.builds import read_ambient

    assert read_ambient().environ["AWS_X"] == "caf\ufffd"
