"""Stores that earlier versions of firkin made, kept in `tests/data`, and how each was made.

A change of the store's format needs a store in the previous format. Make it with the last commit of that format:

    git worktree add --detach /tmp/before COMMIT
    PYTHONPATH=/tmp/before/src:tests python -m support.old_stores tests/data/store-vN.tar.xz

The machine must run commands in namespaces, on x86-64. The store holds an image of two layers with a name
(`kept:1`), an index (`many:1`), the cache records of both and a cache mount.
"""

import os
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from support.places import REPOSITORY

DATA = REPOSITORY / "tests" / "data"
# The exact files that were built: with these a later version finds its steps in the cache.
DOCKERFILE = """FROM scratch
COPY tool /tool
RUN --mount=type=cache,target=/cache ["/tool"]
"""
MANY = """FROM scratch
COPY hello /hello
"""
BUILDS = (
    ("kept:1", "Dockerfile", "linux/amd64"),
    ("many:1", "Dockerfile.many", "linux/amd64,linux/arm64"),
)
_MADE_S = 1_700_000_000


def make_context(place: Path) -> Path:
    """Write the files that were built."""
    place.mkdir()
    files = {"Dockerfile": DOCKERFILE, "Dockerfile.many": MANY, "hello": "hello\n"}
    for name, text in files.items():
        (place / name).write_text(text)
    (place / "tool").write_bytes(tool())
    for path in place.iterdir():
        path.chmod(0o755)
        os.utime(path, (_MADE_S, _MADE_S))
    place.chmod(0o755)
    return place


def tool() -> bytes:
    """Return a static program for x86-64 that makes `/cache/kept` and `/made`."""
    at = 0x400000
    texts = b"/cache/kept\0/made\0made\n"
    code_at = 64 + 56

    def code(texts_at: int) -> bytes:
        made = b""
        for path in (texts_at, texts_at + 12):
            made += struct.pack("<BIBIBI", 0xB8, 2, 0xBF, path, 0xBE, 0o1101)  # open, O_WRONLY | O_CREAT | O_TRUNC
            made += struct.pack("<BI", 0xBA, 0o644) + b"\x0f\x05\x89\xc7"  # its mode; call; edi is the descriptor
            made += struct.pack("<BIBIBI", 0xB8, 1, 0xBE, texts_at + 18, 0xBA, 5) + b"\x0f\x05"  # write
        return made + struct.pack("<BIBI", 0xB8, 60, 0xBF, 0) + b"\x0f\x05"  # exit

    body = code(at + code_at + len(code(at))) + texts
    start = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    start += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, at + code_at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = code_at + len(body)
    return start + struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, 0x1000) + body


def old_stores() -> dict[int, Path]:
    """Return the stores that are kept, by version."""
    return {int(path.name.removeprefix("store-v").partition(".")[0]): path for path in DATA.glob("store-v*.tar.xz")}


def unpack_store(version: int, place: Path) -> Path:
    """Unpack a store of a version as `place`/store; it belongs to the user who unpacks it."""
    with tarfile.open(old_stores()[version]) as archive:
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)  # keep modes
        archive.extractall(place)
    return place / "store"


def _make(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        context = make_context(place / "context")
        for name, file, platforms in BUILDS:
            command = [sys.executable, "-m", "firkin", "build", "--root", str(place / "store"), "-t", name]
            subprocess.run([*command, "-f", str(context / file), "--platform", platforms, str(context)], check=True)
        for name in ("boot", "boot.lock", "reserve"):  # specific to this machine; free space
            (place / "store" / name).unlink(missing_ok=True)
        with tarfile.open(archive, "w:xz") as made:
            made.add(place / "store", "store", filter=_of_nobody)


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
