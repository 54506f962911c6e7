"""Writes an image's files: as a tar (type=tar) or into a directory (type=local). Does I/O.

Mirrors: buildkit exporter/tar, exporter/local. Several platforms get a directory each, `linux_amd64`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from firkin.builder.graph.step import ImagePlan
from firkin.builder.request import Output
from firkin.builder.solve.session import BuildSession
from firkin.content.snapshot import Snapshot
from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.archive import output_error, output_file
from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Content, Put, View
from firkin.layer.stream import write_layer
from firkin.store.layout import remove_tree


def write_rootfs(
    bench: BuildSession,
    items: list[tuple[ImagePlan, Snapshot]],
    epochs: list[int | None],
    output: Output,
    dest: str,
    stdout: BinaryIO | None,
) -> None:
    """Write the merged files of the snapshots to a tar or a directory; no time is after an item's epoch."""
    views: list[tuple[str, View, int | None]] = []
    for (plan, snapshot), epoch_s in zip(items, epochs, strict=True):
        split = len(items) > 1 if output.platform_split is None else output.platform_split
        prefix = str(plan.platform).replace("/", "_") if split else ""
        views.append((prefix, bench.layers.trees.view(snapshot, ""), epoch_s))
    if output.type == "tar":
        with output_file(dest, stdout) as stream:
            write_layer(_walk_all(views), stream, compression="none")
        return
    try:
        os.makedirs(dest, exist_ok=True)
        if output.mode_delete:
            for name in os.listdir(dest):
                remove_tree(f"{dest}/{name}")
        apply_changes(_for_user(_walk_all(views)), dest, form="flat", chown=False)
    except OSError as error:
        raise output_error(dest, error) from error


def _walk_all(views: list[tuple[str, View, int | None]]) -> Iterator[Put]:
    """Yield everything in the views; those that share a place may have directories in common, and no file."""
    shared = len(views) > 1 and not views[0][0]
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
    """Yield everything in a view but sockets as Puts, parents first, in the order of names; links by inode kept."""
    links: dict[tuple[int, int], str] = {}
    stack = [""]
    if prefix:
        entry = view.lstat("")
        if entry is not None:
            yield Put(prefix, entry)
    while stack:
        path = stack.pop()
        below: list[str] = []
        for name in view.iterdir(path):
            child = f"{path}/{name}" if path else name
            entry = view.lstat(child)
            if entry is None:
                continue
            shown = f"{prefix}/{child}" if prefix else child
            if entry.kind == "file" and not entry.size and _is_socket(view.content(child)):
                continue  # no layer has it either
            if entry.kind == "dir":
                below.append(child)
                yield Put(shown, entry)
            elif entry.inode is not None and entry.inode in links:
                yield Put(shown, entry, link=links[entry.inode])
            else:
                if entry.inode is not None:
                    links[entry.inode] = shown
                yield Put(shown, entry, view.content(child) if entry.kind == "file" else None)
        stack += reversed(below)


def _is_socket(content: Content) -> bool:
    return isinstance(content, str) and os.lstat(content).st_mode & 0o170000 == 0o140000


def _for_user(changes: Iterable[Put]) -> Iterator[Change]:
    """Give everything to whoever builds, and leave out what only root may make, as buildx does."""
    for put in changes:
        if put.entry.kind in ("char", "block"):
            continue
        entry = msgspec.structs.replace(put.entry, uid=0, gid=0, xattrs=())
        yield msgspec.structs.replace(put, entry=entry)
