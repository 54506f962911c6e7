"""Layers written: the same bytes always, and right by the judgement of others."""

import gzip
import hashlib
import io
import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from firkin.layer.change import Change, Entry, Opaque, Put, Remove
from firkin.layer.compress import BLOCK_BYTES, compress_bytes, iter_decompressed, new_encoder
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import LayerDigests, write_layer, write_tar
from firkin.layer.unpack import unpack_layer
from firkin.oci.digest import digest_of
from firkin.oci.media import Compression


def write(changes: list[Change] | Path, **options: object) -> tuple[LayerDigests, bytes]:
    sink = io.BytesIO()
    if isinstance(changes, Path):
        changes = list(iter_upper_changes(str(changes)))
    return write_layer(changes, sink, **options), sink.getvalue()  # type: ignore[arg-type]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


UNPACK = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(),
    "none": bytes,
}


@pytest.mark.parametrize("compression", UNPACK)
def test_digests_and_sizes(source: Path, compression: str) -> None:
    digests, blob = write(source, compression=compression)
    tar = UNPACK[compression](blob)
    assert (digests.digest, digests.size) == (sha256(blob), len(blob))
    assert (digests.diff_id, digests.uncompressed_size) == (sha256(tar), len(tar))
    assert blob == compress_bytes(tar, new_encoder(compression))  # type: ignore[arg-type]
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        assert len(file.getmembers()) == digests.entries


@pytest.mark.parametrize("compression", UNPACK)
def test_bytes_do_not_depend_on_threads(source: Path, compression: str) -> None:
    assert len({write(source, compression=compression, threads=threads)[1] for threads in (1, 2, 5)}) == 1


def test_gnu_tar_unpacks_it(source: Path, tmp_path: Path) -> None:
    _, blob = write(source)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xzpf", "-", "--xattrs"], cwd=tmp_path / "out", input=blob, check=True, capture_output=True)
    assert _listing(tmp_path / "out") == _listing(source)


def _listing(root: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted(root.rglob("*"), key=os.fsencode):
        status = path.lstat()
        link = os.readlink(path) if path.is_symlink() else ""
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        size = status.st_mode, status.st_uid, status.st_gid, status.st_nlink, int(status.st_mtime)
        names = [] if path.is_symlink() else sorted(os.listxattr(path))
        found.append((path.relative_to(root), *size, link, sha256(content), names))
    return found


def test_layers_are_the_same_for_the_same_tree(source: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(tmp_path / "copy")], check=True)
    assert write(source)[1] == write(tmp_path / "copy")[1]


def test_all_changes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from disk")
    changes: list[Change] = [
        Put("a", Entry("dir", 0o755)),
        Opaque("a"),
        Remove("a/gone"),
        Put("a/here", Entry("file", size=5), b"bytes"),
        Put("a/there", Entry("file", size=9), str(tmp_path / "file")),
        Put("b", Entry("file", size=9), None, "a/there"),
        Put("c", Entry("file")),
    ]
    digests, blob = write(changes)
    seen: list[Change] = []
    assert write(changes, observe=seen.append)[1] == blob
    assert seen == changes
    with tarfile.open(fileobj=io.BytesIO(blob)) as file:
        assert file.getnames() == ["a", "a/.wh..wh..opq", "a/.wh.gone", "a/here", "a/there", "b", "c"]
        assert file.extractfile("a/there").read() == b"from disk"  # type: ignore[union-attr]
        assert file.getmember("b").linkname == "a/there"
    assert digests.entries == 7


def test_nothing_is_a_layer_too() -> None:
    digests, blob = write([])
    assert gzip.decompress(blob) == bytes(1024)
    # The diff_id of the empty layer that every builder knows.
    assert digests.diff_id == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def test_times_are_clamped() -> None:
    changes: list[Change] = [Put("new", Entry("file", mtime_ns=9 * 10**9)), Put("old", Entry("file", mtime_ns=10**9))]
    _, blob = write(changes, clamp_mtime_s=5)
    with tarfile.open(fileobj=io.BytesIO(blob)) as file:
        assert [member.mtime for member in file] == [5, 1]


@pytest.mark.parametrize("real", [99, 101, 0, 3_000_000])
def test_a_file_that_changed_its_size(tmp_path: Path, real: int) -> None:
    (tmp_path / "file").write_bytes(bytes(real))
    with pytest.raises(ValueError, match="while it was read"):
        write([Put("file", Entry("file", size=100), str(tmp_path / "file"))])


def test_a_big_file_that_grew(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3_000_001))
    with pytest.raises(ValueError, match="grew"):
        write([Put("file", Entry("file", size=3_000_000), str(tmp_path / "file"))])


B = BLOCK_BYTES
# Name, size, and where there are three bytes that are not zero; everything else of the file is a hole.
HOLES = [
    ("nothing but a hole", 3 * B + 5, ()),
    ("a hole of whole blocks", 4 * B, ()),
    ("data at the start", 2 * B + 1, (0,)),
    ("data at the end", 5 * B, (5 * B - 3,)),
    ("data between holes", 5 * B + 77, (2 * B - 1, 4 * B + 9)),
    ("data all over", 3 * B, tuple(range(0, 3 * B, 50_000))),
]


@pytest.mark.parametrize("compression", UNPACK)
@pytest.mark.parametrize(("size", "data"), [row[1:] for row in HOLES], ids=[row[0] for row in HOLES])
def test_holes_are_zeros(tmp_path: Path, size: int, data: tuple[int, ...], compression: Compression) -> None:
    """The bytes of a layer do not tell whether a file had holes; and unpacking makes holes of zeros."""
    sparse, full, out = tmp_path / "sparse", tmp_path / "full", tmp_path / "out"
    with open(sparse, "wb") as file:
        file.truncate(size)
        for at in data:
            file.seek(at)
            file.write(b"abc"[: size - at])
    full.write_bytes(sparse.read_bytes())
    if os.lstat(full).st_blocks <= os.lstat(sparse).st_blocks + 8:
        pytest.skip("this file system has no holes")
    before, after = (Put(name, Entry("file", 0o644, size=700), text) for name, text in (("a", b"1" * 700), ("c", b"2" * 700)))
    blobs = set()
    for path in (sparse, full):
        put = Put("b", Entry("file", 0o644, size=size), str(path))
        blobs.add(write([before, put, after], compression=compression)[1])
    assert len(blobs) == 1
    tar = UNPACK[compression](blobs.pop())
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = [archive.extractfile(name).read() for name in "abc"]  # type: ignore[union-attr]
    assert found == [b"1" * 700, full.read_bytes(), b"2" * 700]
    out.mkdir()
    unpack_layer([tar[at : at + 300_000] for at in range(0, len(tar), 300_000)], str(out), chown=False)
    assert (out / "b").read_bytes() == full.read_bytes()
    if len(data) < 3:
        assert os.lstat(out / "b").st_blocks * 512 < size // 2


def test_a_hole_that_grows_or_shrinks_is_noticed(tmp_path: Path) -> None:
    for real in (4 * B - 1, 4 * B + 1, 8 * B):
        with open(tmp_path / "f", "wb") as file:
            file.truncate(real)
        with pytest.raises(ValueError, match="while it was read"):
            write([Put("f", Entry("file", 0o644, size=4 * B), str(tmp_path / "f"))])


def test_a_link_or_fifo_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="link` became a link while it was copied"):
        write([Put("file", Entry("file", size=100), str(tmp_path / "link"))])
    for path in ("nothing", "fifo/nothing"):
        with pytest.raises(ValueError, match=f"{path}` vanished while it was copied"):
            write([Put("file", Entry("file", size=100), str(tmp_path / path))])
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="shrank"):
        write([Put("file", Entry("file", size=100), str(tmp_path / "fifo"))])


def test_what_a_layer_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"\.wh\."):
        write([Put("a/.wh.b", Entry("file"))])
    with pytest.raises(ValueError, match="without its content"):
        write([Put("a", Entry("file", size=1))])
    with pytest.raises(ValueError, match="should have 5"):
        write([Put("a", Entry("file", size=5), b"123")])
    assert write([Put("a/.whb", Entry("file")), Put("x.wh.y", Entry("file"))])[0].entries == 2


class FullDisk:
    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("room", [0, 100, 5_000_000])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_full_disk_is_reported(room: int, compression: str) -> None:
    content = os.urandom(1_000_000)
    changes: list[Change] = [Put(f"f{at}", Entry("file", size=len(content)), content) for at in range(40)]
    with pytest.raises(OSError, match="No space left"):
        write_layer(changes, FullDisk(room), compression=compression)  # type: ignore[arg-type]


def test_an_error_of_the_changes_gets_through() -> None:
    def changes() -> object:
        for at in range(40):
            yield Put(f"f{at}", Entry("file", size=1_000_000), bytes(1_000_000))
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write_layer(changes(), io.BytesIO())  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 511, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 77])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_tar_as_it_is(size: int, compression: Compression) -> None:
    data = random.Random(size).randbytes(size)
    for step in (1000, 1 << 20):
        sink = io.BytesIO()
        written = write_tar((data[at : at + step] for at in range(0, size, step)), sink, compression=compression)
        assert b"".join(iter_decompressed([sink.getvalue()], compression)) == data
        assert (written.diff_id, written.uncompressed_size) == (digest_of(data), size)
        assert (written.digest, written.size) == (digest_of(sink.getvalue()), len(sink.getvalue()))
