"""What a word of the user names: an image in a registry, an archive, a layout, a directory or the store. Pure.

    docker://NAME   docker-archive:PATH[:NAME|:@N]   oci:DIR[:REF|:@N]   oci-archive:PATH[:REF|:@N]   dir:DIR
    store:NAME      NAME (the same as docker://NAME)

Mirrors: containers/image transports; `store:` is firkin's own store.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.errors import UsageError
from firkin.images.names import read_reference
from firkin.oci.reference import Reference
from firkin.text import whole_number

Transport = Literal["docker", "docker-archive", "oci", "oci-archive", "dir", "store"]
TRANSPORTS: tuple[Transport, ...] = ("docker", "docker-archive", "oci", "oci-archive", "dir", "store")
_NOT_HERE = {
    "docker-daemon": "there is no daemon whose images could be read",
    "containers-storage": "the storage of podman and buildah is not read or written",
    "tarball": "a root file system is no image",
    "sif": "images of Singularity are not read",
    "ostree": "OSTree repositories are not written",
}
_MOST = 1 << 20


class Place(msgspec.Struct, frozen=True):
    """One end of a copy.

    `path` is set for files and directories. `name` is the reference, the name in an archive or layout, or the image of
    the store; `number` is the position in an archive or layout.
    """

    transport: Transport
    path: str = ""
    name: str = ""
    number: int | None = None

    @property
    def reference(self) -> Reference:
        """The name in a registry; raises UsageError if it is none."""
        return read_reference(self.name)

    def __str__(self) -> str:
        if self.transport == "docker":
            return self.reference.familiar
        if self.transport == "store":
            return f"store:{self.name}"
        rest = f":@{self.number}" if self.number is not None else f":{self.name}" if self.name else ""
        return f"{self.transport}:{self.path}{rest}"


def parse_place(text: str) -> Place:
    """Read one word; a path stays as it was written. Raises UsageError."""
    transport, colon, rest = text.partition(":")
    if colon and transport in _NOT_HERE:
        raise UsageError(f"`{transport}:` cannot be copied from or to: {_NOT_HERE[transport]}",
                         hints=("`docker save` and `podman save` write what `docker-archive:FILE` reads; "
                                "`store:NAME` is an image of this store",))  # fmt: skip
    known: Transport = next((known for known in TRANSPORTS if colon and transport == known), "docker")
    if known == "docker":
        return Place("docker", name=_checked(text, rest) if transport == "docker" else _name(text))
    if not rest:
        wanted = "NAME" if known == "store" else "PATH"
        raise UsageError(f"`{text}` names nothing", hints=(f"write `{known}:{wanted}`",))
    if known == "store":
        return Place("store", name=rest)
    return Place("dir", rest) if known == "dir" else _in_file(known, text, rest)


def _checked(text: str, rest: str) -> str:
    if not rest.startswith("//"):
        raise UsageError(f"`{text}`: write `docker://NAME`")
    return _name(rest[2:])


def _name(text: str) -> str:
    read_reference(text)
    return text


def _in_file(transport: Transport, text: str, rest: str) -> Place:
    path, _, name = rest.partition(":")
    if not path:
        raise UsageError(f"`{text}` has no path")
    if name.startswith("@"):
        number = whole_number(name[1:], _MOST)
        if number is None:
            raise UsageError(f"`{text}`: `{name}` is not the number of an image, as `@0`")
        return Place(transport, path, number=number)
    return Place(transport, path, _name(name) if name and transport == "docker-archive" else name)
