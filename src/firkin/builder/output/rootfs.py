"""Writes an image's files: as a tar (type=tar) or into a directory (type=local). Does I/O.

Mirrors: buildkit exporter/tar, exporter/local. Several platforms get a directory each, `linux_amd64`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from firkin.builder.output.built import Export
from firkin.builder.output.kinds import epoch_of
from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.archive import output_error, output_file, standard_output
from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Content, Entry, Put, View
from firkin.layer.stream import write_layer
from firkin.linux.folders import remove_tree


class _Files(NamedTuple):
    """The files of one image, the directory they are put into, and their latest time."""

    prefix: str
    view: View
    epoch_s: int | None


def write_tar(export: Export) -> str:
    """Write the merged files of the images to a tar; times are at most an image's epoch."""
    views = _views(export)
    with output_file(export.dest, standard_output(export.dest)) as stream:
        write_layer(_walk_all(views), stream, compression="none")
    return f"tar: {export.output.dest}"


def write_directory(export: Export) -> str:
    """Write the merged files of the images into a directory; raises UsageError when it cannot be written to."""
    dest = export.dest
    views = _views(export)
    try:
        os.makedirs(dest, exist_ok=True)
        if export.output.mode_delete:
            for name in os.listdir(dest):
                remove_tree(f"{dest}/{name}")
        apply_changes(_for_user(_walk_all(views)), dest, form="flat", chown=False)
    except OSError as error:
        raise output_error(dest, error) from error
    return f"local: {export.output.dest}"


def _views(export: Export) -> list[_Files]:
    """Return the files of every image; several platforms get a directory each, unless the request says otherwise."""
    split = export.output.platform_split
    split = len(export.built) > 1 if split is None else split
    return [
        _Files(
            str(item.plan.platform).replace("/", "_") if split else "",
            export.session.layers.trees.view(item.snapshot, ""),
            epoch_of(export.request, export.output, item.plan),
        )
        for item in export.built
    ]


def _walk_all(views: Sequence[_Files]) -> Iterator[Put]:
    """Yield everything in the views; views that share a directory may have directories in common, but no file."""
    shared = len(views) > 1 and not views[0].prefix
    kinds: dict[str, str] = {}
    for prefix, view, epoch_s in views:
        for put in iter_view(view, prefix):
            if shared:
                if kinds.get(put.path) == put.entry.kind == "dir":
                    continue
                if put.path in kinds:
                    raise UsageError(
                        f"two platforms have a file `/{put.path}`",
                        code="output",
                        hints=(Hint.of("output-split"),),
                    )
                kinds[put.path] = put.entry.kind
            if epoch_s is not None and put.entry.mtime_ns > epoch_s * 1_000_000_000:
                entry = msgspec.structs.replace(put.entry, mtime_ns=epoch_s * 1_000_000_000)
                put = msgspec.structs.replace(put, entry=entry)
            yield put


def iter_view(view: View, prefix: str = "") -> Iterator[Put]:
    """Yield everything in a view but sockets as Puts, parents first, in the order of names; hard links are kept."""
    links: dict[tuple[int, int], str] = {}
    top = view.lstat("") if prefix else None
    if top is not None:
        yield Put(prefix, top)
    stack = [""]
    while stack:
        path = stack.pop()
        below: list[str] = []
        for child, entry in _listed(view, path):
            if entry.kind == "dir":
                below.append(child)
            yield _put(view, child, entry, f"{prefix}/{child}" if prefix else child, links)
        stack += reversed(below)


def _listed(view: View, path: str) -> Iterator[tuple[str, Entry]]:
    """Yield the entries of a directory but sockets, which no layer has either."""
    for name in view.iterdir(path):
        child = f"{path}/{name}" if path else name
        entry = view.lstat(child)
        if entry is not None and not (entry.kind == "file" and not entry.size and _is_socket(view.content(child))):
            yield child, entry


def _put(view: View, path: str, entry: Entry, shown: str, links: dict[tuple[int, int], str]) -> Put:
    """Return the Put of an entry; `links` has the first name of every inode so far."""
    if entry.kind == "dir":
        return Put(shown, entry)
    first = shown if entry.inode is None else links.setdefault(entry.inode, shown)
    if first != shown:
        return Put(shown, entry, link=first)
    return Put(shown, entry, view.content(path) if entry.kind == "file" else None)


def _is_socket(content: Content) -> bool:
    return isinstance(content, str) and os.lstat(content).st_mode & 0o170000 == 0o140000


def _for_user(changes: Iterable[Put]) -> Iterator[Change]:
    """Give every file to the user who builds, and leave out files that only root may make, as buildx does."""
    for put in changes:
        if put.entry.kind in ("char", "block"):
            continue
        entry = msgspec.structs.replace(put.entry, uid=0, gid=0, xattrs=())
        yield msgspec.structs.replace(put, entry=entry)
