"""What is built twice: a Dockerfile, a context and a set of build arguments, as values that JSON can hold. Pure, but `lay`."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import tarfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["dir", "file", "link", "hard", "fifo", "tar", "tgz"]


@dataclass(frozen=True)
class Item:
    """One entry of a context, or a member of an archive in it. `text` is content, or what a link leads to."""

    path: str
    kind: Kind
    text: str = ""
    mode: int = 0o644
    mtime: int = 1_000_000_000
    owner: int = 0  # members of archives only
    members: tuple[Item, ...] = ()

    @classmethod
    def read(cls, data: dict[str, Any]) -> Item:
        return cls(**{**data, "members": tuple(map(cls.read, data["members"]))})


@dataclass(frozen=True)
class Case:
    """One build. `name` is a seed's number, or that of a file of the corpus; `about` says why the case is kept."""

    name: str
    dockerfile: str
    context: tuple[Item, ...] = ()
    arguments: dict[str, str] = field(default_factory=dict)
    about: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Case:
        data = json.loads(text)
        return cls(**{**data, "context": tuple(map(Item.read, data["context"]))})

    def lay(self, place: Path) -> tuple[Path, Path]:
        """Write the case below `place`; return its Dockerfile and its context."""
        root = place / "context"
        root.mkdir()
        for item in self.context:
            _lay(root, item)
        for item in reversed(self.context):  # directories last, for what is put into them gives them the time
            path = root / item.path
            if item.kind != "link":
                path.chmod(item.mode)
            os.utime(path, (item.mtime, item.mtime), follow_symlinks=False)
        os.utime(root, (1_100_000_000, 1_100_000_000))
        dockerfile = place / "Dockerfile"
        dockerfile.write_text(self.dockerfile)
        return dockerfile, root


def _lay(root: Path, item: Item) -> None:
    path = root / item.path
    match item.kind:
        case "dir":
            path.mkdir()
        case "file":
            path.write_text(item.text)
        case "link":
            path.symlink_to(item.text)
        case "hard":
            path.hardlink_to(root / item.text)
        case "fifo":
            os.mkfifo(path)
        case "tar" | "tgz":
            path.write_bytes(archive(item.members, compressed=item.kind == "tgz"))


def archive(members: tuple[Item, ...], *, compressed: bool) -> bytes:
    """Return a tar of the members, in their order."""
    types = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for member in members:
            info = tarfile.TarInfo(member.path)
            info.mode, info.mtime, info.uid, info.gid = member.mode, member.mtime, member.owner, member.owner
            info.type = types.get(member.kind, tarfile.REGTYPE)
            data = b""
            if member.kind in ("link", "hard"):
                info.linkname = member.text
            elif member.kind == "file":
                data = member.text.encode()
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    raw = buffer.getvalue()
    return gzip.compress(raw, mtime=0) if compressed else raw


def encoded(data: bytes) -> str:
    """Return bytes as text for a report."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
