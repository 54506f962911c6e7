"""What differs between two images: their files and their configurations. Does I/O. Fronts use it.

Layers at the bottom that both have are not compared, and no content of theirs is read: only what the layers above them
touch can differ. Contents are compared by their digests, and only where sizes are equal; each layer is read once for
that. Nothing is kept but these digests: the trees are walked twice, once to find what must be read and once to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec

from firkin.images.explore.content import Buffer, read_files
from firkin.images.explore.files import ImageFile, ImageFiles
from firkin.images.explore.layers import ImageLayer
from firkin.images.explore.session import Session
from firkin.layer.change import Entry
from firkin.layer.members import Content, differences_of
from firkin.oci.image import Image

What = Literal["added", "removed", "changed"]
_Pair = tuple[ImageFile | None, ImageFile | None]
_Source = tuple[str, str]  # diff_id, path


class FileChange(msgspec.Struct, frozen=True):
    """A path that differs. `how` says in words what has changed, e.g. `mode 0644 → 0600`.

    `old_sha256` and `new_sha256` are there where contents had to be read ("": the sizes say it, or they are equal).
    """

    what: What
    path: str
    old: Entry | None
    new: Entry | None
    how: tuple[str, ...] = ()
    old_sha256: str = ""
    new_sha256: str = ""


class ConfigChange(msgspec.Struct, frozen=True):
    """A setting that differs: a `field` of the configuration and, in lists and maps with names, a `key` ("": none).

    Values are texts as they are, or JSON; None where there is none.
    """

    what: What
    field: str
    key: str
    old: str | None
    new: str | None


def common_layers(old: Image, new: Image) -> int:
    """Return how many layers, from the lowest on, both images have."""
    count = 0
    for one, other in zip(old.layers, new.layers, strict=False):
        if one.diff_id != other.diff_id:
            break
        count += 1
    return count


def file_changes(session: Session, old: ImageFiles, new: ImageFiles, *, times: bool = False) -> Iterator[FileChange]:
    """Yield the paths that differ, in the order of their bytes, each directory before what is in it.

    With `times`, modification times count, too. Fetches what it needs at the first step; raises RegistryError,
    StoreError.
    """
    common = common_layers(old.image, new.image)
    upper = (*old.layers[common:], *new.layers[common:])
    if not upper:
        return
    session.prepare((*old.layers, *new.layers))
    digests = _Digests(session)
    for before, after in _pairs(old, new, upper):
        if before is not None and after is not None:
            digests.want(old, before, new, after)
    digests.read()
    for before, after in _pairs(old, new, upper):
        session.cancel.check()
        if before is None or after is None:
            yield _lone(before, after)
        elif (change := _changed(digests.of(old, before, new, after), before, after, times)) is not None:
            yield change


def _lone(before: ImageFile | None, after: ImageFile | None) -> FileChange:
    if before is not None:
        return FileChange("removed", before.path, before.entry, None)
    assert after is not None
    return FileChange("added", after.path, None, after.entry)


def _changed(contents: tuple[str, str], before: ImageFile, after: ImageFile, times: bool) -> FileChange | None:
    old, new = (msgspec.structs.replace(file.entry, inode=None) for file in (before, after))
    if not times:
        new = msgspec.structs.replace(new, mtime_ns=old.mtime_ns)
    if old.kind == "file" == new.kind and old.size != new.size:
        marks = (str(old.size), str(new.size))
    else:
        marks = contents
    how = tuple(differences_of(Content(old, "", marks[0]), Content(new, "", marks[1])))
    return FileChange("changed", before.path, before.entry, after.entry, how, *contents) if how else None


class _Folder(NamedTuple):
    """A directory of either image that is being compared; `hidden`: a layer above the common ones hides what the
    common ones have in there.
    """

    path: str
    old: bool
    new: bool
    hidden: bool


def _pairs(old: ImageFiles, new: ImageFiles, upper: Sequence[ImageLayer]) -> Iterator[_Pair]:
    """Yield every path that may differ, as the files that the two images have there."""
    root = _Folder("", True, True, _hides(upper, ""))
    yield old.find(""), new.find("")
    stack = [_in_folder(old, new, upper, root)]
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
        elif isinstance(found, _Folder):
            stack.append(_in_folder(old, new, upper, found))
        else:
            yield found


def _in_folder(
    old: ImageFiles, new: ImageFiles, upper: Sequence[ImageLayer], folder: _Folder
) -> Iterator[_Pair | _Folder]:
    """Yield the pairs of one directory; a _Folder is one to go into now."""
    befores = old.list(folder.path) if folder.old else iter(())
    afters = new.list(folder.path) if folder.new else iter(())
    for path, before, after in _side_by_side(befores, afters):
        if not folder.hidden and all(layer.lookup(path) is None for layer in upper):
            continue  # nothing above the common layers says anything of it or what is beneath
        yield before, after
        if _is_folder(before) or _is_folder(after):
            yield _Folder(path, _is_folder(before), _is_folder(after), folder.hidden or _hides(upper, path))


def _is_folder(file: ImageFile | None) -> bool:
    return file is not None and file.entry.kind == "dir"


def _side_by_side(
    befores: Iterator[ImageFile], afters: Iterator[ImageFile]
) -> Iterator[tuple[str, ImageFile | None, ImageFile | None]]:
    """Join two sorted lists by their paths."""
    before, after = next(befores, None), next(afters, None)
    while before is not None or after is not None:
        left, right = _raw(before), _raw(after)
        one = before if after is None or left <= right else None
        other = after if before is None or right <= left else None
        known = one or other
        assert known is not None
        yield known.path, one, other
        before = next(befores, None) if one is not None else before
        after = next(afters, None) if other is not None else after


def _raw(file: ImageFile | None) -> bytes:
    return b"" if file is None else file.path.encode("utf-8", "surrogateescape")


def _hides(layers: Sequence[ImageLayer], path: str) -> bool:
    """Say whether one of these layers hides what lower ones have beneath a path."""
    for layer in layers:
        record = layer.lookup(path)
        if record is not None and (record.opaque or record.entry is None or record.entry.kind != "dir"):
            return True
    return False


class _Digests:
    """Digests of contents that must be compared: wanted first, then read a layer at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wanted: dict[ImageLayer, dict[str, str]] = {}

    def want(self, old: ImageFiles, before: ImageFile, new: ImageFiles, after: ImageFile) -> None:
        """Note the contents of two files if they can only be told apart by reading them."""
        one, other = before.entry, after.entry
        if one.kind != "file" or other.kind != "file" or not one.size or one.size != other.size:
            return
        if _source(old, before) != _source(new, after):
            self._wanted.setdefault(old.layers[before.layer], {})[before.path] = ""
            self._wanted.setdefault(new.layers[after.layer], {})[after.path] = ""

    def read(self) -> None:
        """Read what is wanted. Raises RegistryError, StoreError."""
        self._session.prepare_contents(self._wanted)
        for layer, digests in self._wanted.items():

            def take(path: str, pieces: Iterator[Buffer], digests: dict[str, str] = digests) -> None:
                hasher = sha256()
                for piece in pieces:
                    hasher.update(piece)
                digests[path] = hasher.hexdigest()

            read_files(layer, tuple(digests), self._session.store.layout.scratch_path, take)

    def of(self, old: ImageFiles, before: ImageFile, new: ImageFiles, after: ImageFile) -> tuple[str, str]:
        """Return the sha256 of two files; "" of both unless they were read to be compared."""
        if before.entry.kind != "file" or after.entry.kind != "file" or before.entry.size != after.entry.size:
            return "", ""
        if _source(old, before) == _source(new, after):
            return "", ""
        one = self._wanted.get(old.layers[before.layer], {}).get(before.path, "")
        return one, self._wanted.get(new.layers[after.layer], {}).get(after.path, "")


def _source(files: ImageFiles, file: ImageFile) -> _Source:
    """Return what stands for the content of a file: equal ones are equal."""
    layer = files.layers[file.layer]
    path = layer.link_target(file.path) if layer.is_plain(file.path) else file.path
    return layer.layer.diff_id, path


# --- configurations --------------------------------------------------------------------------------------------------

_PAIRS = ("Env",)  # lists of NAME=VALUE
_TOP = ("architecture", "os", "variant", "os.version", "author")


def config_changes(old: Image, new: Image, *, times: bool = False) -> Iterator[ConfigChange]:
    """Yield the settings that differ; with `times`, the time of creation counts, too. Layers and history do not."""
    before, after = _settings(old.config.raw, times), _settings(new.config.raw, times)
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one != other:
            what: What = "added" if one is None else "removed" if other is None else "changed"
            yield ConfigChange(what, *name, one, other)


def _settings(raw: bytes, times: bool) -> dict[tuple[str, str], str]:
    document = msgspec.json.decode(raw)
    runtime = document.get("config") or {}
    found = {(name, ""): _text(document[name]) for name in (*_TOP, *("created",) * times) if document.get(name)}
    for field, value in runtime.items():
        if field in _PAIRS and isinstance(value, list):
            value = dict(_text(item).partition("=")[::2] for item in value)
        if isinstance(value, dict) and field != "Healthcheck":
            found |= {(field, str(key)): _text(item) for key, item in value.items()}
        elif value not in (None, "", [], False):
            found[field, ""] = _text(value)
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
