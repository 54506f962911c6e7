"""Layers unpacked: complete, nowhere but beneath the root, and verified."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from firkin.layer.apply import apply_changes
from firkin.layer.blob import unpack_blob
from firkin.layer.change import Change, Entry, Opaque, Put, Remove
from firkin.layer.entry import TRAILER, encode_member, encode_opaque, encode_whiteout, padding
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import LayerDigests, write_layer
from firkin.layer.unpack import Unpacked, unpack_layer
from firkin.oci.descriptor import Descriptor

ME = (os.getuid(), os.getgid())
OUTSIDE = "outside"


def file(name: str, content: bytes = b"", *, mode: int = 0o644, link: str = "") -> bytes:
    header = encode_member(name, Entry("file", mode, *ME, len(content), 5 * 10**9), link=link)
    return header + content + bytes(padding(len(content)))


def folder(name: str, mode: int = 0o755) -> bytes:
    return encode_member(name, Entry("dir", mode, *ME, 0, 6 * 10**9))


def symlink(name: str, target: str) -> bytes:
    return encode_member(name, Entry("symlink", 0o777, *ME, target=target))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty root with something beside it that nobody may touch."""
    (tmp_path / OUTSIDE).write_text("untouched")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def unpack(root: Path, *members: bytes, **options: object) -> Unpacked:
    try:
        return unpack_layer([b"".join(members) + TRAILER], str(root), **options)  # type: ignore[arg-type]
    finally:
        assert sorted(os.listdir(root.parent)) == [OUTSIDE, "root"]
        assert (root.parent / OUTSIDE).read_text() == "untouched"


def shown(root: Path) -> list[str]:
    return [f"{type(change).__name__.lower()} {change.path}" for change in iter_upper_changes(str(root))]


# --- the whole way ---


def blob_of(source: Path, compression: str = "gzip") -> tuple[LayerDigests, bytes]:
    sink = io.BytesIO()
    digests = write_layer(iter_upper_changes(str(source)), sink, compression=compression)  # type: ignore[arg-type]
    return digests, sink.getvalue()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_round_trip(
    source: Path, root: Path, plain: Callable[[Change], Change], compression: str, chunk: int
) -> None:
    digests, blob = blob_of(source, compression)
    seen: list[Change] = []
    teed = io.BytesIO()
    unpacked, diff_id = unpack_blob(
        (blob[at : at + chunk] for at in range(0, len(blob), chunk)),
        Descriptor("", digests.digest, digests.size),
        digests.diff_id,
        str(root),
        teed,
        observe=seen.append,
    )
    assert teed.getvalue() == blob
    assert diff_id == digests.diff_id
    assert unpacked == Unpacked(digests.entries, size_bytes=digests.unpacked_bytes)
    assert digests.unpacked_bytes
    wanted = [plain(change) for change in iter_upper_changes(str(source))]
    assert [plain(change) for change in iter_upper_changes(str(root))] == wanted
    assert [plain(change) for change in seen] == wanted
    again = io.BytesIO()
    assert write_layer(iter_upper_changes(str(root)), again, compression=compression) == digests  # type: ignore[arg-type]


def test_python_archives(root: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("./", None), ("./a/", None), ("./a/f", b"1"), ("b/c/f", b"2")):
            info = tarfile.TarInfo(name)
            info.uid, info.gid = ME
            info.mode, info.mtime = 0o750, 7
            if content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    from firkin.layer.compress import iter_decompressed

    unpacked = unpack_layer(iter_decompressed([buffer.getvalue()]), str(root))
    assert unpacked.implied == ("b", "b/c")
    assert unpacked.root == Entry("dir", 0o750, *ME, 0, 7 * 10**9)
    assert (root / "a" / "f").read_bytes() == b"1"
    assert root.stat().st_mtime == 7
    assert (root / "a").stat().st_mode & 0o7777 == 0o750
    assert (root / "b").stat().st_mode & 0o7777 == 0o755


def test_attributes_of_directories_survive_their_content(root: Path) -> None:
    unpack(root, folder("d", 0o555), file("d/f", mode=0o400), folder("d/e", 0o1777), file("d/e/f"))
    assert (root / "d").stat().st_mtime == 6
    assert (root / "d" / "e").stat().st_mtime == 6
    assert (root / "d").stat().st_mode & 0o7777 == 0o555
    (root / "d").chmod(0o755)


@pytest.mark.root
def test_owner_capability_and_setuid_together(root: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    entry = Entry("file", 0o6755, 12, 34, xattrs=(("security.capability", capability), ("user.x", b"1")))
    unpack(root, encode_member("f", entry), encode_member("l", Entry("symlink", 0o777, 5, 6, target="f")))
    status = (root / "f").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o6755)
    assert os.getxattr(root / "f", "security.capability") == capability
    assert (root / "l").lstat().st_uid == 5


@pytest.mark.root
def test_devices(root: Path) -> None:
    null = encode_member("null", Entry("char", 0o666, major=1, minor=3))
    zero = encode_member("zero", Entry("char", 0o666))
    unpacked = unpack(root, null, zero, file("link", link="null"))
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert (root / "link").stat().st_nlink == 2
    assert [path for path, _ in unpacked.skipped] == ["zero"]


def test_without_owners(root: Path) -> None:
    entry = Entry("file", 0o600, 12, 34)
    seen: list[Change] = []
    device = encode_member("null", Entry("char", 0o666, major=1, minor=3))
    unpacked = unpack(root, encode_member("f", entry), device, chown=False, observe=seen.append)
    assert (root / "f").stat().st_uid == ME[0]
    assert seen[0].entry == entry  # type: ignore[union-attr]
    assert seen[1].entry.major == 1  # type: ignore[union-attr]
    assert unpacked.skipped == (("null", "devices need root"),)


def test_sparse_file(root: Path) -> None:
    import subprocess

    with (root / "source").open("wb") as source:
        source.truncate(10 << 20)
        source.seek(5 << 20)
        source.write(b"middle")
    data = subprocess.run(["tar", "cS", "source"], cwd=root, capture_output=True, check=True).stdout
    wanted = (root / "source").read_bytes()
    (root / "source").unlink()
    unpack_layer([data], str(root))
    assert (root / "source").read_bytes() == wanted
    assert (root / "source").stat().st_blocks * 512 < 1 << 20


# --- removals ---


def test_removals_as_overlayfs_wants_them(root: Path) -> None:
    seen: list[Change] = []
    unpack(root, folder("a"), encode_opaque("a"), file("a/f"), encode_whiteout("gone"), observe=seen.append)
    assert shown(root) == ["put a", "opaque a", "put a/f", "remove gone"]
    assert [type(change) for change in seen] == [Put, Opaque, Put, Remove]


@pytest.mark.parametrize("first", ["removal", "directory"])
def test_removed_and_made_anew_is_opaque(root: Path, first: str) -> None:
    members = [encode_whiteout("a"), folder("a")]
    unpack(root, *(members if first == "removal" else reversed(members)), file("a/f"))
    assert shown(root) == ["put a", "opaque a", "put a/f"]


@pytest.mark.parametrize("first", ["removal", "file"])
def test_a_file_wins_over_its_removal(root: Path, first: str) -> None:
    members = [encode_whiteout("f"), file("f", b"new")]
    unpack(root, *(members if first == "removal" else reversed(members)))
    assert (root / "f").read_bytes() == b"new"


def test_members_beneath_a_removed_path(root: Path) -> None:
    unpack(root, encode_whiteout("a"), file("a/f"))
    assert shown(root) == ["put a", "opaque a", "put a/f"]


def test_marks_of_aufs_are_passed_over(root: Path) -> None:
    unpack(root, file(".wh..wh.aufs"), folder(".wh..wh.plnk"))
    assert os.listdir(root) == []


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_removals_that_mean_nothing(root: Path, name: str) -> None:
    with pytest.raises(ValueError, match="means nothing"):
        unpack(root, folder("d"), file(name))


def test_a_layer_gives_no_orders_to_overlayfs(root: Path) -> None:
    entry = Entry("dir", 0o755, *ME, xattrs=(("user.ok", b"1"), ("user.overlay.redirect", b"/etc")))
    unpack(root, encode_member("d", entry))
    assert sorted(os.listxattr(root / "d")) == ["user.ok", "user.overlay.overlay.redirect"]
    ((change),) = iter_upper_changes(str(root))
    assert change.entry.xattrs == entry.xattrs  # type: ignore[union-attr]


def _lower(root: Path) -> None:
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "sub" / "old").touch()
    (root / "d" / "old").touch()
    (root / "f").write_text("old")


def lay_on(root: Path, tmp_path: Path, *members: bytes) -> None:
    """Unpack a layer and lay it on a directory that holds those below, as roots without mounts are made."""
    tree = tmp_path / "tree"
    tree.mkdir()
    unpack_layer([b"".join(members) + TRAILER], str(tree))
    apply_changes(iter_upper_changes(str(tree)), str(root), form="flat")


def test_flat_removals(root: Path, tmp_path: Path) -> None:
    _lower(root)
    lay_on(root, tmp_path, encode_whiteout("f"), file("d/new"), encode_whiteout("d/sub"))
    assert shown(root) == ["put d", "put d/new", "put d/old"]


@pytest.mark.parametrize("late", [False, True])
def test_flat_opaque(root: Path, tmp_path: Path, late: bool) -> None:
    _lower(root)
    members = [file("d/sub/new"), encode_opaque("d")]
    lay_on(root, tmp_path, folder("d"), *(members if late else reversed(members)))
    assert shown(root) == ["put d", "put d/sub", "put d/sub/new", "put f"]


def test_flat_replaces(root: Path, tmp_path: Path) -> None:
    _lower(root)
    (root / "l").symlink_to("..")
    lay_on(root, tmp_path, file("d"), folder("f"), file("f/x"), file("l/y"))
    assert shown(root) == ["put d", "put f", "put f/x", "put l", "put l/y"]


# --- names that lead elsewhere ---


@pytest.mark.parametrize("name", ["../evil", "/../../evil", "a/../../../evil", "/evil"])
def test_names_stay_at_the_root(root: Path, name: str) -> None:
    unpack(root, file(name, b"x"))
    assert (root / "evil").read_bytes() == b"x"
    if ".." in name:
        with pytest.raises(ValueError, match="out of the root"):
            unpack(root, file(name, b"x"), strict=True)


@pytest.mark.parametrize("target", ["..", "../..", "/", "../../../..", "/..", "loop/../../.."])
def test_a_parent_that_is_a_link(root: Path, target: str) -> None:
    unpack(root, folder("d"), symlink("d/l", target), file("d/l/inside"))
    assert (root / "inside").exists()


def test_links_as_parents_end_where_they_point_inside(root: Path) -> None:
    unpack(root, folder("usr/lib"), symlink("lib", "usr/lib"), symlink("abs", "/usr"), file("lib/x"), file("abs/y"))
    assert (root / "usr" / "lib" / "x").exists()
    assert (root / "usr" / "y").exists()


def test_link_loops(root: Path) -> None:
    with pytest.raises(ValueError, match="too many symbolic links"):
        unpack(root, symlink("a", "b"), symlink("b", "a"), file("a/x"))


def test_a_link_is_replaced_not_followed(root: Path) -> None:
    outside = "../" + OUTSIDE
    unpack(root, symlink("f", outside), file("f", b"mine"), symlink("d", ".."), folder("d", 0o700), file("d/x"))
    assert (root / "f").read_bytes() == b"mine"
    assert (root / "d" / "x").exists()


def test_a_link_may_not_move_what_was_checked_before(root: Path) -> None:
    unpack(root, folder("d"), file("d/a"), symlink("d", ".."), file("d/b"))
    assert (root / "b").exists()


def test_hard_links(root: Path) -> None:
    unpack(root, file("a/f", b"x"), file("l1", link="/a/f"), file("l2", link="../../a/./f"), symlink("s", "a"),
           file("l3", link="s/f"))  # fmt: skip
    assert (root / "l3").stat().st_nlink == 4


def test_hard_link_to_a_link_does_not_follow_it(root: Path) -> None:
    members = symlink("s", "../" + OUTSIDE), file("h", link="s")
    unpack(root, *members)
    assert (root / "h").is_symlink()
    (root / "s").unlink()
    (root / "h").unlink()
    unpack(root, *members, file("h", b"content"))
    assert (root / "h").read_bytes() == b"content"


@pytest.mark.parametrize("link", ["../" + OUTSIDE, "nothing", "d", "", ".", "l", "up/" + OUTSIDE])
def test_hard_links_to_what_is_not_there(root: Path, link: str) -> None:
    header = bytearray(file("l", link=link or "x"))
    if not link:
        header[157:158] = b"\0"
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:]))
    with pytest.raises(ValueError, match=r"hard link|linked to"):
        unpack(root, folder("d"), symlink("up", ".."), bytes(header))


def test_a_hard_link_cannot_copy_a_removal(root: Path) -> None:
    with pytest.raises(ValueError, match="not there"):
        unpack(root, encode_whiteout("gone"), file("l", link="gone"))


def test_beneath_a_file(root: Path) -> None:
    with pytest.raises(ValueError, match="no directory"):
        unpack(root, file("f"), file("f/x"))
    with pytest.raises(ValueError, match="replace the root"):
        unpack(root, file("."))


def test_the_last_of_several_members_counts(root: Path) -> None:
    unpack(root, file("f", b"1"), file("f", b"2"), folder("d"), folder("d", 0o700), file("d/x"), symlink("d/x", "y"))
    assert (root / "f").read_bytes() == b"2"
    assert (root / "d").stat().st_mode & 0o777 == 0o700
    assert os.readlink(root / "d" / "x") == "y"


# --- verification ---


def test_wrong_blobs(source: Path, root: Path) -> None:
    digests, blob = blob_of(source)
    right = Descriptor("", digests.digest, digests.size)
    wrong_size = Descriptor("", digests.digest, digests.size + 1)
    short = Descriptor("", digests.digest, digests.size - 1)
    other = bytearray(blob)
    other[4] = 1  # the time in the gzip header, which nothing else would notice
    cases: list[tuple[bytes, Descriptor, str | None, str]] = [
        (blob[:-1], right, None, "cut short: "),
        (blob[: len(blob) // 2], right, None, "cut short: "),
        (b"", right, None, "cut short: "),
        (blob, wrong_size, None, "cut short: "),
        (blob, short, None, "longer than"),
        (bytes(other), right, None, "came damaged"),
        (blob, right, "sha256:" + "0" * 64, "but its image says"),
        (blob[:1000] + b"\xff" * 300 + blob[1300:], right, None, "damaged"),
    ]
    for data, descriptor, diff_id, why in cases:
        with pytest.raises(ValueError, match=why):
            unpack_blob([data[at : at + 999] for at in range(0, len(data), 999)], descriptor, diff_id, str(root))


def test_what_the_network_raises_gets_through(root: Path) -> None:
    def chunks() -> object:
        yield bytes(10)
        raise ConnectionError("reset")

    with pytest.raises(ConnectionError):
        unpack_blob(chunks(), Descriptor("", "sha256:" + "0" * 64, 1 << 30), None, str(root))  # type: ignore[arg-type]


def test_no_thread_is_left_behind(source: Path, root: Path) -> None:
    import threading

    digests, blob = blob_of(source)
    before = threading.active_count()
    with pytest.raises(ValueError):
        unpack_blob([blob] * 3, Descriptor("", digests.digest, len(blob) * 3), None, str(root))
    assert threading.active_count() == before
