"""Records of builds and what they explain, as root and as an ordinary user: the story of one Dockerfile, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.registry import Registry

import firkin as api

pytestmark = pytest.mark.registry

DOCKERFILE = """FROM busybox:1.35 AS build
ARG VERSION=1
RUN echo $VERSION > /version
COPY src /src
FROM busybox:1.35
ENV MODE=dev
RUN echo $MODE > /mode
COPY --from=build /src /app
"""


@pytest.fixture
def context(firkin: Firkin) -> Path:
    place = firkin.directory("shop")
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "src").mkdir()
    (place / "src/main.py").write_text("main\n")
    (place / "src/util.py").write_text("util\n")
    (place / "src/main.py").chmod(0o644)
    firkin.account.give(place)
    return place


def explained(firkin: Firkin, *words: str) -> dict[str, str]:
    """Return the first reason of each step that ran, by the step's title."""
    lines = firkin.run("explain", *words).stdout.splitlines()
    return {line.partition("] ")[2]: said.strip() for line, said in pairwise(lines) if said.startswith("    ")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


Change = Callable[[Path], tuple[str, ...]]


def _content(context: Path) -> tuple[str, ...]:
    (context / "src/main.py").write_text("other\n")
    return ()


def _mode(context: Path) -> tuple[str, ...]:
    (context / "src/main.py").chmod(0o755)
    return ()


def _added(context: Path) -> tuple[str, ...]:
    (context / "src/new.py").write_text("new\n")
    return ()


def _ignored(context: Path) -> tuple[str, ...]:
    (context / ".dockerignore").write_text("src/util.py\n")
    return ()


def _argument(context: Path) -> tuple[str, ...]:
    return ("--build-arg", "VERSION=2")


def _environment(context: Path) -> tuple[str, ...]:
    edit(context / "Dockerfile", "MODE=dev", "MODE=production")
    return ()


def _instruction(context: Path) -> tuple[str, ...]:
    edit(context / "Dockerfile", "echo $MODE >", "echo is $MODE >")
    return ()


COPY, FROM_STAGE = "COPY src /src", "COPY --from=build /src /app"
READS = "stage `build` that it reads changed: `COPY src /src` ran"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_content, {COPY: "the content of `src/main.py` changed", FROM_STAGE: READS}),
        (_mode, {COPY: "the mode of `src/main.py` changed: 644 → 755", FROM_STAGE: READS}),
        (_added, {COPY: "`src/new.py` is new", FROM_STAGE: READS}),
        (_ignored, {COPY: "`src/util.py` is gone (the ignore file changed)", FROM_STAGE: READS}),
        (_argument, {"RUN echo $VERSION > /version": "the value of build argument `VERSION` changed"}),
        (_environment, {"RUN echo $MODE > /mode": "the value of variable `MODE` (ENV or ARG) changed"}),
        (_instruction, {"RUN echo is $MODE > /mode":
                        "the instruction changed: `RUN echo $MODE > /mode` → `RUN echo is $MODE > /mode`"}),
    ],
)  # fmt: skip
def test_each_change_is_explained(firkin: Firkin, context: Path, change: Change, told: dict[str, str]) -> None:
    firkin.run("build", "-t", "shop:1", context)
    assert set(explained(firkin).values()) == {"no earlier build of this instruction is recorded"}
    firkin.run("build", "-t", "shop:1", context)
    assert "every step came from the cache" in firkin.run("explain").stdout
    words = change(context)
    firkin.run("build", "-t", "shop:1", *words, context)
    found = explained(firkin)
    assert {title: found.get(title) for title in told} == told, firkin.run("explain").stdout
    firkin.run("build", "-t", "shop:1", *words, context)
    assert "every step came from the cache" in firkin.run("explain").stdout
    assert explained(firkin, "^1") == found  # an older build is explained as before


def test_a_base_that_moved(firkin: Firkin, context: Path, registry: Registry) -> None:
    """The tag of a base points to another image now: its digests are told."""
    name = registry.reference(f"moved/{firkin.account.name}:1")
    (context / "base").write_text("FROM busybox:1.35\nCOPY src/main.py /base\n")
    firkin.run("build", "-f", context / "base", "-t", name, "--push", context)
    (context / "Dockerfile").write_text(f"FROM {name}\nRUN cat /base\n")
    firkin.run("build", context)
    (context / "base").write_text("FROM busybox:1.35\nCOPY src/util.py /base\n")
    firkin.run("build", "-f", context / "base", "-t", name, "--push", context)
    firkin.run("build", context)
    (told,) = explained(firkin).values()
    assert told.startswith(f"the base image `{name}` changed: `sha256:"), told
    assert told.count("sha256:") == 2


def test_no_cache_and_a_layer_that_was_pruned(firkin: Firkin, context: Path) -> None:
    firkin.run("build", context)
    first = firkin.run("builds", "ls", "-q").stdout.split()[0]
    firkin.run("build", "--no-cache", context)
    assert set(explained(firkin).values()) == {"the cache was not to be used (`--no-cache`)"}
    firkin.run("builds", "rm", "^0")
    _age(firkin)
    firkin.run("prune")
    firkin.run("build", context)
    assert set(explained(firkin).values()) == {
        f"its layer was removed from the store after build `{first}`, as a prune does"
    }


def _age(firkin: Firkin) -> None:
    """Make everything in the store look old, so that a prune does not spare it."""
    import sqlite3

    with sqlite3.connect(next(firkin.store.glob("records-*.db"))) as connection:
        for table in ("records", "trees", "blobs"):
            connection.execute(f"UPDATE {table} SET used = used - 9999")


def test_a_step_that_failed_is_told_so(firkin: Firkin, context: Path) -> None:
    edit(context / "Dockerfile", "RUN echo $MODE > /mode", "RUN false")
    result = firkin.run("build", context, check=False)
    assert result.returncode == 1
    (row,) = [json.loads(line) for line in firkin.run("builds", "ls", "--format", "json").stdout.splitlines()]
    assert (row["status"], row["name"]) == ("Error", "shop")
    firkin.run("build", context, check=False)
    found = explained(firkin)
    assert found["RUN false"].startswith("it did not succeed in build `")
    document = json.loads(firkin.run("builds", "show", "--format", "json").stdout)
    assert document["Status"] == "failed" and document["Error"]["Name"] == "run-failed"
    assert "exit code: 1" in document["Error"]["Message"]


def test_require_cached_names_what_would_run(firkin: Firkin, context: Path) -> None:
    firkin.run("build", context)
    _content(context)
    assert firkin.run("build", "--require-cached", context, check=False).returncode == 1
    assert explained(firkin)[COPY] == "the content of `src/main.py` changed"


def test_a_build_that_explains_names_the_file_as_well(firkin: Firkin, context: Path) -> None:
    firkin.run("build", context)
    _content(context)
    said = firkin.run("build", "--explain", context).stderr
    assert "not cached: the content of `src/main.py` changed" in said


def test_steps_from_a_cache_elsewhere_count_as_cached(firkin: Firkin, context: Path) -> None:
    cache = firkin.directory("cache")
    firkin.run("build", "--cache-to", f"type=local,dest={cache},mode=max", context)
    other = ["--root", str(firkin.place / "other")]
    firkin.run("build", *other, "--cache-from", f"type=local,src={cache}", context)
    said = firkin.run("explain", *other).stdout
    assert "every step came from the cache" in said
    assert "its layer came from a cache elsewhere" in firkin.run("explain", *other, "^0", "COPY src").stdout
    _content(context)
    firkin.run("build", *other, "--cache-from", f"type=local,src={cache}", context)
    assert "the content of `src/main.py` changed" in firkin.run("explain", *other).stdout


def test_several_platforms_and_a_step_by_name(firkin: Firkin, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
    firkin.run("build", "--platform", "linux/amd64,linux/arm64", context)
    _content(context)
    _added(context)
    firkin.run("build", "--platform", "linux/amd64,linux/arm64", context)
    said = firkin.run("explain").stdout
    assert "[linux/amd64 1/1] COPY src /src\n    the content of `src/main.py` changed, and 1 more differs\n" in said
    said = firkin.run("explain", "^0", "COPY").stdout
    assert "        `src/new.py` is new\n" in said
    assert "[linux/arm64 1/1] COPY src /src\n    cached" in said  # its key is the same
    said = firkin.run("explain", "^0", "7", check=False)
    assert said.returncode == 1 and "has no step `7`" in said.stderr
    document = json.loads(firkin.run("builds", "show", "--format", "json").stdout)
    assert [image["Platform"] for image in document["Images"]] == ["linux/amd64", "linux/arm64"]


SECRET, TOKEN = "pl4nted-s3cret-value", "hunter2-t0ken"


def test_secrets_and_arguments_are_in_no_record(firkin: Firkin, context: Path) -> None:
    """Neither the values nor anything that shows them is below `builds/`, compressed or not."""
    (context / "secret").write_text(SECRET + "\n")
    (context / "Dockerfile").write_text(
        "FROM busybox:1.35\nARG TOKEN\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo token $TOKEN; printf '%s' $TOKEN\n"
        "COPY src /$TOKEN/\nWORKDIR /w/$TOKEN\nADD https://me:$TOKEN@127.0.0.1:1/x /x\n"
    )
    words = ("--secret", f"id=s,src={context}/secret", "--build-arg", f"TOKEN={TOKEN}", "--label", f"l={TOKEN}")
    result = firkin.run("build", *words, context, check=False)
    assert result.returncode != 0 and SECRET in result.stderr and TOKEN in result.stderr  # it was on the screen
    logs = firkin.run("builds", "logs", "--progress", "json").stdout
    said = firkin.run("builds", "logs").stderr
    assert "token ${TOKEN}" in said and "***" in said and "COPY src /$TOKEN/" in said
    shown = firkin.run("builds", "show").stdout + firkin.run("builds", "show", "--format", "json").stdout
    for text in (logs, said, shown, firkin.run("explain").stdout, *_files(firkin.store / "builds")):
        assert SECRET not in text and TOKEN not in text
    assert not any(SECRET in text for text in _files(firkin.store))


def _files(place: Path) -> list[str]:
    """Return the content of all files below a place, and of what is compressed in records."""
    import zlib

    found = []
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found.append(data.decode("latin-1"))
            if path.parent.name == "builds" and data.count(b"\n") > 1:
                found.append(zlib.decompressobj().decompress(data.split(b"\n", 2)[2]).decode("latin-1"))
    return found


def test_logs_show_what_was_printed(firkin: Firkin, context: Path) -> None:
    edit(context / "Dockerfile", "RUN echo $MODE > /mode", "RUN echo to be seen; printf 'no end'")
    firkin.run("build", context)
    said = firkin.run("builds", "logs")
    assert said.stdout == "" and " to be seen\n" in said.stderr and "no end" in said.stderr
    lines = firkin.run("buildx", "history", "logs", "--progress", "rawjson").stderr.splitlines()
    assert all(json.loads(line) for line in lines)


def test_rows_filters_and_removal(firkin: Firkin, context: Path) -> None:
    for number in range(3):
        firkin.run("build", "-t", f"shop:{number}", context)
    head, *rows = firkin.run("builds", "ls").stdout.splitlines()
    assert head.split("   ")[0] == "BUILD ID" and head.split() == "BUILD ID NAME STATUS CREATED AT DURATION".split()
    assert [row.split()[1:3] for row in rows] == [["shop", "Completed"]] * 3
    ids = firkin.run("buildx", "history", "ls", "--format", "{{.Ref}}").stdout.split()
    assert ids == [row.split()[0] for row in rows] and len(set(ids)) == 3
    assert firkin.run("builds", "ls", "-q", "--filter", "status=error").stdout == ""
    assert firkin.run("builds", "ls", "-q", "--filter", f"ref={ids[1]}").stdout.split() == [ids[1]]
    assert len(firkin.run("builds", "ls", "-q", "--filter", "startedAt>1h").stdout.split()) == 3
    assert firkin.run("builds", "ls", "-q", "--filter", "duration>1h").stdout == ""
    result = firkin.run("builds", "ls", "--filter", "name=x", check=False)
    assert result.returncode == 1 and 'unsupported filter "name=x"' in result.stderr
    assert ids[0] in firkin.run("builds", "show", "shop:2", "--format", "{{.Ref}}").stdout
    result = firkin.run("builds", "rm", ids[0], "nope", ids[1][:12], check=False)
    assert result.returncode == 1 and "no record found for ref `nope`" in result.stderr
    assert firkin.run("builds", "ls", "-q").stdout.split() == [ids[2]]
    firkin.run("builds", "rm", "--all")
    assert firkin.run("builds", "ls").stdout.count("\n") == 1
    result = firkin.run("explain", check=False)
    assert result.returncode == 1 and "no records found" in result.stderr


def test_builds_side_by_side_have_a_record_each(firkin: Firkin, context: Path) -> None:
    running = [firkin.popen("build", "-q", context, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    assert firkin.run("builds", "ls").stdout.count("Completed") == 4


def test_the_number_of_records_is_bounded(firkin: Firkin, context: Path) -> None:
    settings = firkin.place / "config.toml"
    settings.write_text("[history]\nkeep-builds = 3\n")
    firkin.account.give(settings)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
    for _ in range(7):
        firkin.run("build", "-q", "--config", settings, context)
    assert 3 <= len(firkin.run("builds", "ls", "-q").stdout.split()) <= 4
    settings.write_text("[history]\nkeep-builds = 0\n")
    before = firkin.run("builds", "ls", "-q").stdout
    firkin.run("build", "-q", "--config", settings, context)
    assert firkin.run("builds", "ls", "-q").stdout == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_was_ended_does_not_run_for_ever(firkin: Firkin, context: Path, number: int) -> None:
    edit(context / "Dockerfile", "RUN echo $MODE > /mode", "RUN echo begun; sleep 60")
    process = firkin.popen("build", context, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"begun" not in (line := process.stderr.readline()):
        assert line
    assert "Running" in firkin.run("builds", "ls").stdout
    refused = firkin.run("builds", "rm", "^0", check=False)
    assert refused.returncode == 1 and "is running" in refused.stderr
    firkin.run("builds", "rm", "--all")
    assert json.loads(firkin.run("builds", "show", "--format", "json").stdout)["Status"] == "running"
    process.send_signal(number)
    process.wait(20)
    deadline = time.monotonic() + 10
    while "Running" in firkin.run("builds", "ls").stdout:
        assert time.monotonic() < deadline
    killed = number == signal.SIGKILL
    assert ("Killed" if killed else "Error") in firkin.run("builds", "ls").stdout
    status = json.loads(firkin.run("builds", "show", "--format", "json").stdout)["Status"]
    assert status == ("killed" if killed else "canceled")
    assert "begun" in firkin.run("builds", "logs").stderr
    firkin.run("explain")
    firkin.run("builds", "rm", "--all")
    assert not [path for path in (firkin.store / "builds").iterdir() if path.name not in ("key", "lists")]


def test_killed_at_any_moment_a_record_is_whole_or_says_so(firkin: Firkin, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\nCOPY src /again\n")
    for number in range(12):
        process = firkin.popen("build", "-q", "--no-cache", context, stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(0.04 * number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        time.sleep(0.05)
        for row in firkin.run("builds", "ls", "--format", "json").stdout.splitlines():
            assert json.loads(row)["status"] in ("Completed", "Killed", "Running", "Error")
    firkin.run("build", context)
    for id in firkin.run("builds", "ls", "-q").stdout.split():
        for words in (("builds", "show", id), ("builds", "logs", id), ("explain", id)):
            firkin.run(*words)
    assert firkin.run("builds", "ls").stdout.count("Completed") >= 1


def test_python_builds_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    if os.geteuid() != 0:
        pytest.skip("the store of this process's own user")
    api.build(tmp_path, tags=["shop:1"], root=tmp_path / "store")
    (record,) = [path for path in (tmp_path / "store/builds").iterdir() if len(path.name) == 25]
    assert b'"tags":["shop:1"]' in record.read_bytes()
