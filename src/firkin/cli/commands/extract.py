"""`firkin extract`: files of an image, to this machine. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.cli.command import Invocation
from firkin.cli.exploring import ABOUT_IMAGE, EXPLORING, Explorer, Output, explore, shown_name
from firkin.cli.options import Option
from firkin.cli.store import warn_plainly
from firkin.errors import HostError, UsageError
from firkin.images.explore.extract import extract, layers_of
from firkin.images.explore.files import ImageFile, ImageFiles
from firkin.images.explore.targets import DirectoryTarget, TarTarget, exists, place_of

USAGE = "[OPTIONS] IMAGE PATH [DEST]"
ABOUT = (
    "Copy a file or a directory of an image to DEST (default: the current directory; `-`: a tar to standard output). "
    f"What goes to a directory keeps its name, `DIR/.` means what is in it. {ABOUT_IMAGE} Files keep mode and time; "
    "only root's get the owners that they have in the image."
)
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "replace files that are there, and merge directories",
           takes_value=False),
    Option(("--no-follow", "-P"), "no_follow", "flag", "if PATH is a link, copy the link itself", takes_value=False),
    Option(("--no-same-owner",), "no_same_owner", "flag", "all files belong to whoever runs firkin (not with `-`)",
           takes_value=False),
    *EXPLORING,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Copy the files. Raises UsageError, HostError."""
    arguments = invocation.arguments
    if not 2 <= len(arguments.operands) <= 3:
        raise UsageError("`firkin extract` needs an image and a path in it, and takes one place to copy to")
    image, path, dest = (*arguments.operands, ".")[:3]
    if dest == "-" and os.isatty(1):
        raise UsageError("cowardly refusing to save to a terminal: name a directory, or redirect the output")

    def find(explorer: Explorer) -> tuple[ImageFiles, ImageFile]:
        files = explorer.open(image)
        file = files.resolve(path, follow=not arguments.flag("no_follow"))
        if file.entry.kind == "dir":
            explorer.session.prepare(files.layers)
        return files, file

    def work(explorer: Explorer) -> int:
        files, file = explorer.fetch(lambda: find(explorer))
        if dest == "-":
            _to_tar(explorer, files, file, _name(path, file))
        else:
            directory, name = place_of(dest, _name(path, file))
            own = os.geteuid() == 0 and not arguments.flag("no_same_owner")
            _to_directory(explorer, files, file, directory, name, own=own, force=arguments.flag("force"))
        return 0

    return explore(invocation, work)


def _to_tar(explorer: Explorer, files: ImageFiles, file: ImageFile, name: str) -> None:
    explorer.fetch(lambda: explorer.session.prepare_contents(layers_of(files, file)))
    target = TarTarget(Output(explorer.cancel).write)
    extract(files, file, name, target, explorer.session.store.layout.scratch_path, explorer.cancel)
    target.finish()


def _to_directory(
    explorer: Explorer, files: ImageFiles, file: ImageFile, directory: str, name: str, *, own: bool, force: bool
) -> None:
    if name and os.path.lexists(f"{directory}/{name}") and not force:
        raise exists(f"{directory}/{name}")  # before anything is fetched
    explorer.fetch(lambda: explorer.session.prepare_contents(layers_of(files, file)))
    with DirectoryTarget(directory, chown=own, force=force) as target:
        try:
            extract(files, file, name, target, explorer.session.store.layout.scratch_path, explorer.cancel)
            target.finish()
        except OSError as error:
            raise HostError(f"cannot write to `{directory}`: {(error.strerror or str(error)).lower()}") from error
    for skipped, why in target.skipped:
        warn_plainly("not-extracted", f"`{shown_name(skipped)}`: {why}")


def _name(path: str, file: ImageFile) -> str:
    """Return the name that the user gave a file last; "" for the root and for `DIR/.`: what is in the directory."""
    if file.entry.kind == "dir" and (not file.path or path.endswith("/.") or path == "."):
        return ""
    last = path.rstrip("/").rpartition("/")[2]
    return last if last not in ("", ".", "..") else file.path.rpartition("/")[2]
