"""`firkin ls`: the files of an image. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firkin.cli.command import Invocation
from firkin.cli.exploring import ABOUT_IMAGE, EXPLORING, Explorer, Output, explore, shown_mode, shown_name
from firkin.cli.options import Option
from firkin.errors import UsageError
from firkin.images.explore.files import ImageFile, ImageFiles
from firkin.images.explore.report import file_document, time_text

USAGE = "[OPTIONS] IMAGE [PATH]"
ABOUT = f"List the files of an image, without unpacking it. {ABOUT_IMAGE} Links on the way to PATH are followed."
OPTIONS = (
    Option(("--long", "-l"), "long", "flag", "show mode, owner, size, time and the target of links", takes_value=False),
    Option(("--recursive", "-R"), "recursive", "flag", "list what is in directories as well, as paths below PATH",
           takes_value=False),
    Option(("--directory", "-d"), "directory", "flag", "list PATH itself, not what is in it", takes_value=False),
    Option(("--layer",), "layer", "flag", "show the layer that each file comes from: its number, and its digest",
           takes_value=False),
    Option(("--json",), "json", "flag", "print a JSON object for each file", takes_value=False),
    Option(("--all", "-a"), "", "ignored", "names that begin with a dot are always listed", takes_value=False),
    *EXPLORING,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print a line for each file. Raises UsageError."""
    arguments = invocation.arguments
    if not 1 <= len(arguments.operands) <= 2:
        raise UsageError("`firkin ls` needs an image, and takes one path in it")
    image, path = (*arguments.operands, "/")[:2]
    inside = not arguments.flag("directory")

    def find(explorer: Explorer) -> tuple[ImageFiles, ImageFile]:
        files = explorer.open(image)
        file = files.resolve(path, follow=inside)
        if inside and file.entry.kind == "dir":
            explorer.session.prepare(files.layers)
        return files, file

    def work(explorer: Explorer) -> int:
        files, file = explorer.fetch(lambda: find(explorer))
        output = Output(explorer.cancel)
        line = _json_line if arguments.flag("json") else _Line(arguments.flag("long"), arguments.flag("layer"))
        for item, name in _listed(files, file, path, inside=inside, deep=arguments.flag("recursive")):
            output.line(line(files, item, name))
        output.flush()
        return 0

    return explore(invocation, work)


def _listed(
    files: ImageFiles, file: ImageFile, path: str, *, inside: bool, deep: bool
) -> Iterator[tuple[ImageFile, str]]:
    """Yield the files to be listed, and the name of each."""
    if not inside or file.entry.kind != "dir":
        yield file, path
        return
    found: Iterable[ImageFile] = files.walk(file.path) if deep else files.list(file.path)
    cut = len(file.path) + 1 if file.path else 0
    for item in found:
        yield item, item.path[cut:]


def _json_line(files: ImageFiles, file: ImageFile, name: str) -> str:
    import msgspec

    return msgspec.json.encode(file_document(files, file)).decode()


class _Line:
    """Makes the line of a file for people."""

    def __init__(self, long: bool, layer: bool) -> None:
        self._long = long
        self._layer = layer

    def __call__(self, files: ImageFiles, file: ImageFile, name: str) -> str:
        text = shown_name(name)
        entry = file.entry
        if self._long:
            size = f"{entry.major},{entry.minor}" if entry.kind in ("char", "block") else str(entry.size)
            mode, owner = shown_mode(entry.kind, entry.mode), f"{entry.uid}:{entry.gid}"
            text = f"{mode} {owner:>9} {size:>10} {time_text(entry.mtime_ns)} {text}"
            if entry.kind == "symlink":
                text += f" -> {shown_name(entry.target)}"
        if self._layer:
            digest = files.layers[file.layer].layer.descriptor.digest if file.layer >= 0 else ""
            text = f"{file.layer:>3} {digest.partition(':')[2][:12]:12} {text}"
        return text
