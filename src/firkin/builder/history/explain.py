"""Why the steps of a recorded build ran: a comparison with the nearest earlier records. Pure.

A step is compared with the step at the same place (platform, stage, and the same text or else the same number) of the
newest earlier build that had one. What differs first in the order of the key is the reason; where it is the root or
another stage, the step that caused it is named, and where it is a set of files, the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from firkin.builder.graph.explain import VARIABLES, Difference, comparable, differences, in_words
from firkin.builder.graph.key import READS
from firkin.builder.history.files import FileChange, compare_lists, read_list
from firkin.builder.history.record import BuildRecord, StepEntry

Kind = Literal["cached", "no-cache", "new", "removed", "failed", "changed"]
Lists = Callable[[str], list[str] | None]

# Parts that an instruction's own text decides; the others come from the instructions around it.
_OWN = frozenset(
    "op command sources destination path mount file chown chmod keep_owner unpack link parents exclude network "
    "insecure".split()
)
_FILES = ("context", "http", "git")
_SHOWN_DIGEST = 19


class Reason(msgspec.Struct, frozen=True):
    """Why a step ran, or that it did not. `build` is the id of the record that it was compared with, "" for none.

    `texts` say it in words, the decisive difference first; `files` are all files that differ.
    """

    step: StepEntry
    kind: Kind
    texts: tuple[str, ...]
    build: str = ""
    files: tuple[FileChange, ...] = ()


class Told(msgspec.Struct, frozen=True):
    """A build with its steps."""

    record: BuildRecord
    steps: tuple[StepEntry, ...]

    def step(self, id: str) -> StepEntry | None:
        """Return a step by its id."""
        return next((step for step in self.steps if step.id == id), None)


def explain_build(build: Told, earlier: Iterable[Told], lists: Lists) -> tuple[Reason, ...]:
    """Return a reason for each step that has a key, in order; `earlier` are other builds, newest first.

    `lists` returns the list of files with a digest, None if it is not kept.
    """
    before = [other for other in earlier if is_related(build.record, other.record)]
    return tuple(_reason(build, step, before, lists) for step in build.steps if step.key)


def is_related(record: BuildRecord, other: BuildRecord) -> bool:
    """Say whether another build came before this one and was of the same Dockerfile, or of an image with its name."""
    if (other.started_s, other.id) >= (record.started_s, record.id):
        return False
    return (bool(record.slot) and record.slot == other.slot) or bool(set(record.tags) & set(other.tags))


def _reason(build: Told, step: StepEntry, earlier: list[Told], lists: Lists) -> Reason:
    if step.place:
        return Reason(step, "cached", (_PLACES.get(step.place, "its layer was in the store"),))
    if step.no_cache:
        return Reason(step, "no-cache", ("the cache was not to be used (`--no-cache`)",))
    nearest = next(((other, found) for other in earlier if (found := _same_place(step, other.steps))), None)
    known = next(((other, found) for other in earlier for found in other.steps if found.key == step.key), None)
    if known is not None:
        return _lost(step, *known)
    if nearest is None:
        return Reason(step, "new", ("no earlier build of this instruction is recorded",))
    return _compared(build, step, *nearest, lists)


def _lost(step: StepEntry, other: Told, old: StepEntry) -> Reason:
    """Say why a step ran although an earlier build had the same key."""
    id = other.record.id
    if old.status in ("done", "cached"):
        told = f"its layer was removed from the store after build `{id}`, as a prune does"
        return Reason(step, "removed", (told,), id)
    return Reason(step, "failed", (f"it did not succeed in build `{id}`",), id)


_PLACES = {
    "caches": "its layer came from a cache elsewhere",
    "narrow": "the layers that it reads files from are the same",
    "recalled": "the layers that it reads files from are the same",
    "unchanged": "the stages that it reads were built again with the same content",
    "destination": "the same files were copied to such a destination before",
}


def _same_place(step: StepEntry, steps: tuple[StepEntry, ...]) -> StepEntry | None:
    """Return the step of another build at the place of a step, if its layer was made or found there."""
    there = [
        other for other in steps
        if other.parts and other.status in ("done", "cached")
        and (other.platform, other.stage) == (step.platform, step.stage)
    ]  # fmt: skip
    same = [other for other in there if other.title == step.title]
    near = min(same, key=lambda other: abs(other.number - step.number), default=None)
    return near or next((other for other in there if other.number == step.number), None)


def _compared(build: Told, step: StepEntry, other: Told, old: StepEntry, lists: Lists) -> Reason:
    before, after = comparable(old.parts, step.parts)
    texts: list[str] = []
    files: list[FileChange] = []
    for difference in differences(before, after):
        if difference.name in READS and difference.subject:
            text, changes = _of_files(build, step, other, old, difference, lists)
            files += changes
        else:
            text = _in_words(build, step, other, old, difference)
        if text not in texts:
            texts.append(text)
    told = tuple(texts) or ("no part of its key differs: keys of another version",)
    return Reason(step, "changed", told, other.record.id, tuple(files))


def _in_words(build: Told, step: StepEntry, other: Told, old: StepEntry, difference: Difference) -> str:
    if difference.name == "root":
        return _root(build, step, other, old)
    if difference.name in _OWN and step.title != old.title:
        return f"the instruction changed: `{old.title}` → `{step.title}`"
    text = in_words(difference)
    if difference.name == VARIABLES and difference.subject in dict(
        (*build.record.build_args, *other.record.build_args)
    ):
        return text.replace("variable", "build argument", 1).replace(" (ENV or ARG)", "", 1)
    return text


def _root(build: Told, step: StepEntry, other: Told, old: StepEntry) -> str:
    now, then = build.step(step.root), other.step(old.root)
    if now is None or now.kind in ("pull", "scratch"):
        return _bases("the base image", now, then)
    if now.status == "done" and not now.place:
        return f"it follows `{now.title}`, which ran"
    if then is not None and then.title != now.title:
        return f"it follows `{now.title}` now, not `{then.title}`"
    return f"it follows `{now.title}`, which has another layer"


def _bases(what: str, now: StepEntry | None, then: StepEntry | None) -> str:
    """Say how an image has changed: its digest, or its name."""
    (name, digest), (name_then, digest_then) = _image(now), _image(then)
    if name == name_then and digest_then:
        return f"{what} `{name}` changed: `{digest_then[:_SHOWN_DIGEST]}` → `{digest[:_SHOWN_DIGEST]}`"
    return f"{what} changed: `{name_then}` → `{name}`"


def _image(step: StepEntry | None) -> tuple[str, str]:
    """Return name and digest of the image that a step pulls."""
    if step is None or step.kind != "pull":
        return "scratch" if step is not None and step.kind == "scratch" else step.title if step else "?", ""
    repository, _, digest = step.origin.rpartition("://")[2].rpartition("@")
    named = step.title.removeprefix("FROM ").partition("@")[0]  # with its tag
    return named if named.startswith(repository) else repository, digest


def _of_files(
    build: Told, step: StepEntry, other: Told, old: StepEntry, difference: Difference, lists: Lists
) -> tuple[str, tuple[FileChange, ...]]:
    """Say which files of a context or download have changed, or which step changed the stage that is read."""
    position = int(difference.subject)
    if position >= len(step.reads) or position >= len(old.reads):
        return in_words(difference), ()
    read, read_then = step.reads[position], old.reads[position]
    source, source_then = build.step(read.step), other.step(read_then.step)
    if source is not None and source.kind not in _FILES:
        return _of_stage(source, source_then), ()
    before, after = lists(difference.before[0]), lists(difference.after[0])
    if before is None or after is None:
        return f"{in_words(difference)}; which of them is not known, since no list of them was kept", ()
    changes = changed_files(before, after, read_then.path, read.path)
    if source is not None and source.kind == "http" and changes:
        return f"`{source.origin}` has another content", changes
    ignore = build.record.ignore != other.record.ignore
    return (first_of(changes, ignore=ignore) if changes else in_words(difference)), changes


def changed_files(before: list[str], after: list[str], then: str, now: str) -> tuple[FileChange, ...]:
    """Return what differs between two lists of files, () for damaged ones; `then` and `now` are the sources' paths."""
    try:
        return tuple(compare_lists(read_list(before, then), read_list(after, now)))
    except ValueError:
        return ()


def first_of(changes: tuple[FileChange, ...], *, ignore: bool = False) -> str:
    """Return the first change, and how many there are; `ignore`: the ignore file is another one as well."""
    text = change_in_words(changes[0])
    more = len(changes) - 1
    text += f", and {more} more {'differs' if more == 1 else 'differ'}" if more else ""
    if ignore and changes[0].what in ("added", "removed"):
        text += " (the ignore file changed)"
    return text


def _of_stage(source: StepEntry, then: StepEntry | None) -> str:
    if source.kind in ("pull", "scratch"):
        return _bases("the image that it reads", source, then)
    where = f"stage `{source.stage}`" if source.stage else "the stage"
    how = "ran" if source.status == "done" and not source.place else "has another layer"
    return f"{where} that it reads changed: `{source.title}` {how}"


def change_in_words(change: FileChange) -> str:
    """Return what has changed of a file."""
    path, what, before, after = change
    texts = {
        "added": f"`{path}` is new",
        "removed": f"`{path}` is gone",
        "content": f"the content of `{path}` changed",
        "mode": f"the mode of `{path}` changed: {before} → {after}",
        "owner": f"the owner of `{path}` changed: {before} → {after}",
        "target": f"the link `{path}` changed: `{before}` → `{after}`",
        "kind": f"`{path}` was a {before} and is a {after}",
    }
    return texts[what]
