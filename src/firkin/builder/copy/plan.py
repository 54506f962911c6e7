"""Plans COPY, ADD and WORKDIR: views in, the changes of one layer out. Pure. The engine imports it.

Contract and rules: docs/dev/copy.md.
Mirrors: moby/buildkit solver/llbsolver/file/backend.go, tonistiigi/fsutil copy/copy.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, assert_never

import msgspec

from firkin.builder.context.views import Matcher, Member, SingleFile, empty_view
from firkin.builder.copy.chmod import Chmod, parse_chmod
from firkin.builder.copy.draft import Draft
from firkin.builder.copy.owner import Owner, find_owner
from firkin.builder.copy.select import Match, find_matches, has_wildcard, not_found, nothing_selected, split_parents
from firkin.builder.copy.walk import names_of, selection_of
from firkin.builder.graph.ops import Copy, FileSource, MakeDir, PathSource, TextSource
from firkin.errors import StepFailed
from firkin.layer.change import Change, Content, Entry, Put, View
from firkin.text import clean


class CopyTools(NamedTuple):
    """Functions and settings that a plan needs from its caller.

    `read` returns a small file's bytes. `open_archive` returns an archive's members, or None if
    the content is not an archive. `warn` takes a code and a text. `made_ns` is the mtime of directories
    and texts that have none of their own; with `like_sources`, directories that a copy makes get the newest mtime
    of its sources instead. If this layer repeats a directory of the layers below, the directory's mtime is limited
    to `latest_ns`.
    """

    read: Callable[[Content], bytes]
    open_archive: Callable[[Content], Iterable[Member] | None]
    matcher: Callable[[tuple[str, ...]], Matcher]
    warn: Callable[[str, str], None]
    made_ns: int = 0
    like_sources: bool = False
    latest_ns: int | None = None


class _Job(NamedTuple):
    """One thing to copy, and the options that decide its place below the destination."""

    view: View
    match: Match
    contents: bool = True  # copy a directory's contents into the destination, which is made if missing
    include: str = ""  # --parents: the pattern of files to copy
    required: PathSource | None = None  # --parents: the source, if it must select something
    unpacks: bool = False


def plan_copy(op: Copy, inputs: Sequence[View], tools: CopyTools, *, first: bool = False) -> Iterator[Change]:
    """Yield the changes of a COPY or ADD; `inputs` are the views of the step's inputs. `first`: no layer is below.

    Raises ContextError for a missing source, StepFailed for a change that the root does not allow.
    """
    jobs = list(_jobs(op, inputs, tools))
    if tools.like_sources and jobs:
        tools = tools._replace(made_ns=max(job.match.entry.mtime_ns for job in jobs))
    planner = _Planner(op, empty_view() if op.link else inputs[0], tools, first)  # refuses owners and modes at once
    for job in jobs:
        members = planner.members(job)
        if members is not None:
            planner.unpack(job, members)
        elif len(jobs) == 1:
            # A single source yields each path once, so no change has to be held until the end.
            tree = planner.place(job)
            made = list(planner.draft.changes())
            yield from made
            yield from planner.draft.with_parents(tree, [change.path for change in made])
            return
        else:
            for put in planner.place(job):
                planner.draft.apply(put)
    yield from planner.draft.changes()


def plan_mkdir(op: MakeDir, root: View, tools: CopyTools, *, first: bool = False) -> Iterator[Change]:
    """Yield the changes of a WORKDIR: the directory and its missing parents. `first`: no layer is below.

    Raises StepFailed.
    """
    draft = Draft(root, tools.latest_ns)
    owner = find_owner(op.user, None if first else root, tools.read, tools.warn, "USER")
    template = Entry(kind="dir", mode=0o755, uid=owner.uid, gid=owner.gid, mtime_ns=tools.made_ns)
    draft.make_dirs(draft.follow(clean(op.path)), template, owned=bool(op.user))
    yield from draft.changes()


def _jobs(op: Copy, inputs: Sequence[View], tools: CopyTools) -> Iterator[_Job]:
    """Yield everything to copy, in order. Raises ContextError for a missing source."""
    count = 0
    for source in op.sources:
        match source:
            case PathSource():
                view = inputs[source.input]
                found = _parents_jobs(view, source) if op.parents else _path_jobs(op, view, source)
                if not found:
                    tools.warn("copy-nothing-matched", f"`{source.path.lstrip('/')}` matched nothing")
                count += len(found)
                yield from found
            case TextSource():
                entry = Entry(kind="file", size=len(source.content.encode("utf-8", "surrogateescape")))
                entry = msgspec.structs.replace(entry, mtime_ns=tools.made_ns)
                view = SingleFile(source.name, entry, source.content.encode("utf-8", "surrogateescape"))
                count += 1
                yield _Job(view, Match(source.name, source.name, entry), contents=False)
            case FileSource():
                view = inputs[source.input]
                name = getattr(view, "filename", "")
                found_entry = view.lstat(name)
                if found_entry is None:
                    raise not_found(view, name, name)
                count += 1
                yield _Job(view, Match(name, name, found_entry), contents=False, unpacks=op.unpack == "always")
            case _:
                assert_never(source)
    if count > 1 and not op.parents and not op.dest.endswith(("/", "/.")):
        tools.warn(
            "copy-several-to-file",
            f"several sources are copied to `{op.dest}`, which does not end with `/`: "
            "unless it is a directory, each replaces the one before",
        )


def _path_jobs(op: Copy, view: View, source: PathSource) -> list[_Job]:
    matches = find_matches(view, source.path, wildcard=source.wildcard)
    return [_Job(view, match, unpacks=op.unpack != "never") for match in matches]


def _parents_jobs(view: View, source: PathSource) -> list[_Job]:
    start, pattern = split_parents(source)
    # An empty pattern (`--parents .`, `--parents d/./`) matches nothing.
    required = None if has_wildcard(source.path) else source
    return [_Job(view, match, include=pattern, required=required) for match in find_matches(view, "/" + start)]


class _Frame:
    """A directory that is being copied into `target`."""

    __slots__ = ("copied", "entry", "exists", "target")

    def __init__(self, target: str, entry: Entry, copied: bool, exists: bool) -> None:
        self.target = target
        self.entry = entry
        self.copied = copied  # False: it is made only when something in it is copied
        self.exists = exists  # False: it is new, so nothing in it can conflict


class _Planner:
    """One COPY: its options as values, and the draft of the destination."""

    def __init__(self, op: Copy, root: View, tools: CopyTools, first: bool) -> None:
        self.draft = Draft(root, tools.latest_ns)
        self._op = op
        self._tools = tools
        self._chmod: Chmod | None = None
        if op.chmod:
            try:
                self._chmod = parse_chmod(op.chmod)
            except ValueError as error:
                raise StepFailed(str(error), code="copy-chmod") from None
        self._owner: Owner | None = None
        if op.chown:
            known = None if op.link or first else root
            self._owner = find_owner(op.chown, known, tools.read, tools.warn, "--chown", link=op.link)
        owner = self._owner or Owner(0, 0)
        mode = self._chmod.made_dir_mode if self._chmod else 0o755
        self._made = Entry(kind="dir", mode=mode, uid=owner.uid, gid=owner.gid, mtime_ns=tools.made_ns)
        self._dest = clean(op.dest)
        last = op.dest.rpartition("/")[2]
        self._dest_is_dir = last in ("", ".")

    def entry(self, entry: Entry) -> Entry:
        """Return an entry with --chown and --chmod applied, and without its inode: the Put names hard links."""
        owner, chmod = self._owner, self._chmod
        if entry.inode is not None:
            entry = msgspec.structs.replace(entry, inode=None)
        if owner is None and chmod is None:
            return entry
        mode = entry.mode
        if chmod is not None and entry.kind != "symlink":
            mode = chmod.apply(mode, entry.kind == "dir")
        if owner is None:
            return msgspec.structs.replace(entry, mode=mode)
        return msgspec.structs.replace(entry, mode=mode, uid=owner.uid, gid=owner.gid)

    # archives

    def members(self, job: _Job) -> Iterable[Member] | None:
        """Return the members if the source is an archive to unpack, else None."""
        if not job.unpacks or job.match.entry.kind != "file":
            return None
        return self._tools.open_archive(job.view.content(job.match.path))

    def unpack(self, job: _Job, members: Iterable[Member]) -> None:
        """Unpack an archive into the destination, which is made a directory."""
        from firkin.builder.copy.archive import unpack

        dest = self.draft.follow(self._dest)
        made = msgspec.structs.replace(self._made, mode=0o755)
        self._make_dirs(dest, made)
        unpack(self.draft, dest, members, self._owner, self._tools.made_ns, job.match.name)

    # files and directories

    def place(self, job: _Job) -> Iterator[Put]:
        """Make the directories for one source at once, and return its changes. Raises ContextError, StepFailed."""
        draft = self.draft
        self._make_dirs(draft.follow(self._dest if self._dest_is_dir else self._dest.rpartition("/")[0]))
        target = draft.follow(self._dest)
        if job.match.entry.kind == "dir":
            return self._place_directory(job, target)
        if job.required is not None:
            raise nothing_selected(job.view, job.required, self._op.exclude)
        return iter((self._place_file(job, target),))

    def _place_directory(self, job: _Job, target: str) -> Iterator[Put]:
        present = self.draft.lstat(target)
        if present is None and job.contents:
            self._make_dirs(target)
        else:
            self._make_dirs(target.rpartition("/")[0])
        _check_directory(target, present)
        if target and (present is not None or job.contents):
            self.draft.set_time(target, job.match.entry.mtime_ns)
        return self._tree(job, target)

    def _place_file(self, job: _Job, target: str) -> Put:
        match = job.match
        present = self.draft.lstat(target)
        if present is not None and present.kind == "dir":
            name = match.name.rpartition("/")[2]
            target = f"{target}/{name}" if target else name
            present = self.draft.lstat(target)
        self._make_dirs(target.rpartition("/")[0])
        _check_no_directory(target, present)
        content = job.view.content(match.path) if match.entry.kind == "file" else None
        return Put(target, self.entry(match.entry), content)

    def _make_dirs(self, path: str, template: Entry | None = None) -> None:
        self.draft.make_dirs(path, template or self._made, owned=self._owner is not None)

    def _tree(self, job: _Job, target: str) -> Iterator[Put]:
        """Yield the changes for a directory's contents, parents first. Mirrors: fsutil copier.copy."""
        view, draft, top = job.view, self.draft, job.match
        exists = draft.lstat(target) is not None
        if not exists:  # a git tree into a new destination: the tree's root gives it its attributes
            yield Put(target, self.entry(top.entry))
        links: dict[tuple[int, int], str] = {}
        selected = False
        stack = [_Frame(target, top.entry, copied=True, exists=exists)]
        for found in selection_of(self._op, self._tools.matcher, job.include).walk(view, top.path, names_of(view)):
            if found is None:
                stack.pop()
                continue
            name, source, entry, _, wanted = found
            frame = stack[-1]
            path = f"{frame.target}/{name}" if frame.target else name
            if wanted:
                selected = True
                if not frame.copied:
                    yield from self._held_back(stack)
            present = draft.lstat(path) if frame.exists else None
            if entry.kind != "dir":
                _check_no_directory(path, present)
                yield self._file(path, entry, view, source, links)
                continue
            if wanted:
                _check_directory(path, present)
                yield Put(path, self.entry(entry))
            stack.append(_Frame(path, entry, wanted, present is not None))
        if not selected and self._op.parents:
            self._miss(job)

    def _miss(self, job: _Job) -> None:
        """Report a --parents source that selects nothing."""
        if job.required is not None:
            raise nothing_selected(job.view, job.required, self._op.exclude)
        self._tools.warn("copy-nothing-matched", f"`{job.include}` matched nothing")

    def _file(self, path: str, entry: Entry, view: View, source: str, links: dict[tuple[int, int], str]) -> Put:
        """Return the change for a non-directory; `links` maps each hard-linked inode to its first path."""
        if entry.inode is not None:
            first = links.setdefault(entry.inode, path)
            if first != path:
                return Put(path, self.entry(entry), None, first)
        return Put(path, self.entry(entry), view.content(source) if entry.kind == "file" else None)

    def _held_back(self, stack: list[_Frame]) -> Iterator[Put]:
        """Yield the directories that were deferred until something is copied into them."""
        for frame in stack:
            if frame.copied:
                continue
            frame.copied = True
            present = self.draft.lstat(frame.target) if frame.exists else None
            _check_directory(frame.target, present)
            if present is None:
                frame.exists = False
                yield Put(frame.target, self.entry(frame.entry))
            else:
                yield Put(frame.target, msgspec.structs.replace(self.draft.limited(present), mode=frame.entry.mode))


def _check_directory(target: str, present: Entry | None) -> None:
    """Refuse to put a directory where something else is."""
    if present is not None and present.kind != "dir":
        raise StepFailed(f"cannot copy to non-directory: /{target}", code="copy-over-file")


def _check_no_directory(target: str, present: Entry | None) -> None:
    """Refuse to put anything else where a directory is."""
    if present is not None and present.kind == "dir":
        raise StepFailed(f"cannot replace to directory /{target} with file", code="copy-over-directory")
