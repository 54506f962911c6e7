"""What `pull` and `push` show while their tasks move bytes."""

import json
import os
import threading

import pytest

from firkin.cli.arguments import Arguments
from firkin.cli.moving import Moving, progress_name
from firkin.errors import Cancelled, RegistryError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.settings import Settings
from firkin.tasks.pools import Pools

KEPT = Descriptor("m", Digest("sha256:c"), 7)


@pytest.fixture
def written(monkeypatch):
    """Let descriptors 1 and 2 of the display be a pipe; returns what was written, once."""
    read_end, write_end = os.pipe()
    saved = [os.dup(1), os.dup(2)]

    def take() -> str:
        os.set_blocking(read_end, False)
        try:
            return os.read(read_end, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def make(name: str) -> Moving:
        for number in (1, 2):
            os.dup2(write_end, number)
        return Moving(name, "Pulling")

    yield make, take
    for number, old in zip((1, 2), saved, strict=True):
        os.dup2(old, number)
    for descriptor in (read_end, write_end, *saved):
        os.close(descriptor)


def move(moving: Moving, *calls) -> None:
    pools = Pools(steps=1, transfers=4, cpu=1)
    try:
        moving.wait([pools.transfers.submit(call) for call in calls])
    finally:
        pools.close(Cancelled("ended"))


@pytest.mark.parametrize("name", ["plain", "json", "quiet"])
def test_bytes_and_outcomes_of_parallel_tasks(written, name):
    make, take = written
    meet = threading.Barrier(2, timeout=10)
    with make(name) as moving, moving.line("pull app", "pulling app") as line:

        def fetch(digest: str) -> None:
            moved = line.meter(f"sha256:{digest * 64}", 100)
            meet.wait()
            moved(50)
            moved(100)

        move(moving, lambda: fetch("a"), lambda: fetch("b"), lambda: line.kept(KEPT, "exists"))
        line.detail = "sha256:manifest"
    text = take()
    if name == "quiet":
        assert text == ""
    elif name == "json":
        events = [json.loads(line) for line in text.splitlines()]
        assert [event["event"] for event in events][:2] == ["planned", "started"]
        assert {event["what"] for event in events if event["event"] == "progress"} == {
            "sha256:" + "a" * 12, "sha256:" + "b" * 12}  # fmt: skip
        assert (events[-1]["status"], events[-1]["detail"]) == ("done", "sha256:manifest")
    else:
        lines = text.splitlines()
        assert lines[0] == "#1 pulling app" and lines[-1].startswith("#1 DONE ")
        assert sum("100B / 100B" in line and line.endswith("done") for line in lines) == 2
        assert any(line.endswith(" sha256:c 7B exists") for line in lines)


def test_a_failure_is_raised_while_others_still_move(written):
    make, take = written
    release = threading.Event()

    def fail() -> None:
        raise RegistryError("gone")

    try:
        with pytest.raises(RegistryError, match="gone"), make("plain") as moving, moving.line("a", "pulling a"):
            move(moving, release.wait, fail)
    finally:
        release.set()
    assert "#1 ERROR: gone" in take()


def test_warnings_are_shown_in_the_end(written):
    make, take = written
    with make("plain") as moving:
        moving.warn("odd", "a registry is odd")
    assert "warning: a registry is odd (odd)\n" in take()


@pytest.mark.parametrize(("values", "setting", "expected"), [
    ({}, "", "plain"), ({"progress": ("json",)}, "", "json"), ({"quiet": ("true",)}, "", "quiet"),
    ({"progress": ("none",)}, "", "quiet"), ({"progress": ("tty",)}, "", "plain"), ({}, "quiet", "quiet"),
])
def test_the_display_is_chosen_as_for_a_build(written, values, setting, expected):
    make, _ = written
    make("quiet")  # standard error is a pipe from here on
    arguments = Arguments(values, ())
    assert progress_name(arguments, Settings(progress=setting), {"TERM": "xterm"}) == expected
