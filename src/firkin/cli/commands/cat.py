"""`firkin cat`: a file of an image. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterator

from firkin.cli.command import Invocation
from firkin.cli.exploring import ABOUT_IMAGE, EXPLORING, Explorer, Output, explore
from firkin.errors import UsageError
from firkin.images.explore.content import Buffer, read_files
from firkin.images.explore.layers import ImageLayer
from firkin.text import valid_text

USAGE = "[OPTIONS] IMAGE PATH..."
ABOUT = (
    f"Print files of an image, without unpacking it. {ABOUT_IMAGE} Links are followed inside the image. A layer from a "
    "registry is verified as a whole before anything of it is printed."
)
OPTIONS = EXPLORING


def run(invocation: Invocation) -> int:
    """Write the contents to standard output. Raises UsageError."""
    image, *paths = invocation.arguments.operands or ("",)
    if not paths:
        raise UsageError("`firkin cat` needs an image and a path in it")

    def find(explorer: Explorer) -> list[tuple[ImageLayer, str]]:
        files = explorer.open(image)
        found = []
        for path in paths:
            file = files.resolve(path)
            if file.entry.kind != "file":
                what = "a directory" if file.entry.kind == "dir" else f"a {file.entry.kind} device"
                what = "a named pipe" if file.entry.kind == "fifo" else what
                raise UsageError(f"`{valid_text(path)}` in {files.name} is {what}, not a file", code="no-regular-file",
                                 hints=(f"`firkin ls {image} PATH` lists a directory",))  # fmt: skip
            found.append((files.layers[file.layer], file.path))
        explorer.session.prepare_contents(layer for layer, _ in found)
        return found

    def work(explorer: Explorer) -> int:
        output = Output(explorer.cancel)

        def take(path: str, pieces: Iterator[Buffer]) -> None:
            for piece in pieces:
                output.write(piece)

        for layer, path in explorer.fetch(lambda: find(explorer)):
            read_files(layer, (path,), explorer.session.store.layout.scratch_path, take)
        return 0

    return explore(invocation, work)
