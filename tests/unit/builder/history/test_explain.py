"""Each way in which a step can miss has its reason, found in the nearest earlier record."""

from __future__ import annotations

import msgspec
import pytest

from firkin.builder.graph.key import Part
from firkin.builder.history.explain import Told, explain_build
from firkin.builder.history.record import HISTORY_VERSION, BuildRecord, StepEntry, StepRead

BASE = StepEntry("0", "FROM docker.io/library/alpine:3", kind="pull", origin="docker-image://docker.io/library/alpine@sha256:aaaa")
CONTEXT = StepEntry("1", "load build context", kind="context", origin="context")


def copied(digest: str = "d1", status: str = "done", **changes: object) -> StepEntry:
    parts: tuple[Part, ...] = (("op", "copy"), ("sources", "s"), ("root", "r0"), ("files", digest))
    entry = StepEntry(
        "2", "COPY src /app", kind="copy", number=1, total=2, status="done", key=f"copy-{digest}", parts=parts,
        root="0", reads=(StepRead("1", "/src"),),
    )  # fmt: skip
    return msgspec.structs.replace(entry, status=status, **changes)


def ran(root: str = "r1", **changes: object) -> StepEntry:
    parts: tuple[Part, ...] = (("op", "run"), ("command", "make"), ("environment", "V=h1"), ("root", root))
    entry = StepEntry("3", "RUN make", kind="run", number=2, total=2, status="done", key=f"run-{root}", parts=parts,
                      root="2")  # fmt: skip
    return msgspec.structs.replace(entry, **changes)


def told(number: int, *steps: StepEntry, base: StepEntry = BASE, **changes: object) -> Told:
    record = BuildRecord(version=HISTORY_VERSION, id=f"b{number}", name="app", slot="/app|Dockerfile", started_s=number)
    return Told(msgspec.structs.replace(record, **changes), (base, CONTEXT, *steps))


LISTS = {
    "d1": ["(", "1:afile 644 0 0 11\n", ")"],
    "d2": ["(", "1:afile 644 0 0 22\n", ")"],
    "d3": ["(", "1:afile 755 0 0 11\n", "1:bfile 644 0 0 33\n", ")"],
    "d4": ["(", ")"],
}


def reasons(build: Told, *earlier: Told) -> list[tuple[str, str]]:
    return [(reason.kind, reason.texts[0]) for reason in explain_build(build, earlier, LISTS.get)]


FIRST = told(1, copied(), ran())


def test_the_first_build_has_nothing_to_compare_with() -> None:
    assert reasons(FIRST)[0] == ("new", "no earlier build of this instruction is recorded")


@pytest.mark.parametrize(
    ("digest", "text"),
    [
        ("d2", "the content of `src/a` changed"),
        ("d3", "the mode of `src/a` changed: 644 → 755, and 1 more differs"),
        ("d4", "`src/a` is gone"),
        ("none", "files that it copies changed; which of them is not known, since no list of them was kept"),
    ],
)
def test_the_file_that_changed_is_named(digest: str, text: str) -> None:
    assert reasons(told(2, copied(digest), ran("r2")), FIRST) == [
        ("changed", text),
        ("changed", "it follows `COPY src /app`, which ran"),
    ]


def test_a_file_that_is_ignored_now() -> None:
    new = told(2, copied("d4"), ran(), ignore="i2")
    assert reasons(new, FIRST)[0] == ("changed", "`src/a` is gone (the ignore file changed)")


def test_the_base_has_moved() -> None:
    base = msgspec.structs.replace(BASE, origin=BASE.origin.replace("aaaa", "bbbb"))
    step = copied(parts=(("op", "copy"), ("sources", "s"), ("root", "r9"), ("files", "d1")), key="k")
    text = "the base image `docker.io/library/alpine:3` changed: `sha256:aaaa` → `sha256:bbbb`"
    assert reasons(told(2, step, base=base), FIRST) == [("changed", text)]
    base = StepEntry("0", "FROM docker.io/library/debian:13", kind="pull",
                     origin="docker-image://docker.io/library/debian@sha256:cccc")  # fmt: skip
    text = "the base image changed: `docker.io/library/alpine:3` → `docker.io/library/debian:13`"
    assert reasons(told(2, step, base=base), FIRST) == [("changed", text)]


def test_a_variable_or_a_build_argument() -> None:
    parts: tuple[Part, ...] = (("op", "run"), ("command", "make"), ("environment", "V=h2"), ("root", "r1"))
    new = ran(parts=parts, key="k")
    same = copied(place="own", status="cached")
    assert reasons(told(2, same, new), FIRST)[1][1] == "the value of variable `V` (ENV or ARG) changed"
    new_told = told(2, same, new, build_args=(("V", "h2"),))
    assert reasons(new_told, FIRST)[1][1] == "the value of build argument `V` changed"


def test_an_instruction_that_was_edited_and_one_that_was_put_between() -> None:
    parts: tuple[Part, ...] = (("op", "run"), ("command", "make all"), ("environment", "V=h1"), ("root", "r1"))
    same = copied(place="own", status="cached")
    edited = told(2, same, ran(title="RUN make all", parts=parts, key="k"))
    assert reasons(edited, FIRST)[1][1] == "the instruction changed: `RUN make` → `RUN make all`"
    between = StepEntry("9", "RUN echo", kind="run", number=2, status="cached", key="e", place="own", root="2")
    moved = told(2, same, between, msgspec.structs.replace(ran("r5", number=3), root="9"))
    assert reasons(moved, FIRST)[2][1] == "it follows `RUN echo` now, not `COPY src /app`"


def test_no_cache_comes_first() -> None:
    text = "the cache was not to be used (`--no-cache`)"
    assert reasons(told(2, copied("d2", no_cache=True)), FIRST) == [("no-cache", text)]


def test_a_layer_that_was_removed() -> None:
    """An earlier build had the same key, so its layer must have gone; a nearer one with another key does not count."""
    second = told(2, copied("d2"))
    text = "its layer was removed from the store after build `b1`, as a prune does"
    assert reasons(told(3, copied()), second, FIRST) == [("removed", text)]


def test_a_step_that_failed_before() -> None:
    failed = told(2, copied("d2", status="failed"))
    assert reasons(told(3, copied("d2")), failed, FIRST) == [("failed", "it did not succeed in build `b2`")]
    assert reasons(told(3, copied("d3")), failed, FIRST)[0][0] == "changed"  # compared with the first


def test_other_dockerfiles_and_later_builds_are_not_compared() -> None:
    other = told(1, copied(), slot="/other|Dockerfile")
    assert reasons(told(2, copied("d2")), other)[0][0] == "new"
    assert reasons(told(2, copied("d2")), told(3, copied()))[0][0] == "new"
    named = told(1, copied(), slot="/other|Dockerfile", tags=("app:1",))
    assert reasons(told(2, copied("d2"), tags=("app:1",)), named)[0][0] == "changed"


def test_platforms_are_kept_apart() -> None:
    arm = copied("d2", platform="linux/arm64")
    assert reasons(told(2, arm), FIRST)[0][0] == "new"


def test_a_stage_that_was_built_again() -> None:
    stage = StepEntry("7", "RUN build", kind="run", stage="build", number=1, status="done", key="s", parts=(("op", "run"),))
    parts: tuple[Part, ...] = (("op", "copy"), ("sources", "s"), ("root", "r0"), ("files", "stage2"))
    now = copied(parts=parts, key="k", reads=(StepRead("7", "/out"),))
    then = copied(parts=(*parts[:3], ("files", "stage1")), key="j", reads=(StepRead("7", "/out"),))
    found = reasons(told(2, stage, now), told(1, msgspec.structs.replace(stage, key="old"), then))
    assert found[-1][1] == "stage `build` that it reads changed: `RUN build` ran"


def test_times_count_only_where_both_keys_have_them() -> None:
    timed = copied(parts=(*copied("d2").parts, ("times", "t1")), key="k")
    assert reasons(told(2, timed), FIRST) == [("changed", "the content of `src/a` changed")]
