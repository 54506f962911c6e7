"""Files taken out of an image: to a directory and as a tar, with nothing written outside, or half."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.explored import Made, blobs_asked_for, layer

from firkin.errors import Cancelled, RegistryError, UsageError
from firkin.images.explore.extract import extract, layers_of
from firkin.images.explore.files import ImageFiles
from firkin.images.explore.session import Session
from firkin.images.explore.targets import DirectoryTarget, TarTarget, place_of
from firkin.oci.platform import Platform
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

Open = Callable[..., Session]
AMD64 = Platform("linux", "amd64")
BASE = layer(
    "dir /etc 0750", "file /etc/passwd 0640 @1000 root", "file /etc/suid 4755 @1000 s", "hard /etc/twin = /etc/passwd",
    "link /etc/absolute -> /etc/passwd", "link /etc/out -> ../../../../tmp", "dir /etc/deep 0500 @2000",
    "file /etc/deep/file f", "fifo /etc/pipe",
)  # fmt: skip
TOP = layer("file /etc/new 0600 @3000 new", "gone /etc/absolute")


@pytest.fixture
def files(begin: Open, registry: FakeRegistry) -> tuple[Session, ImageFiles]:
    session = begin()
    return session, session.open(Made(BASE, TOP).serve(registry, "app:1"), AMD64)


def take(
    session: Session, files: ImageFiles, path: str, dest: Path, *, name: str = "", force: bool = False,
    cancel: Cancel | None = None,
) -> list[tuple[str, str]]:  # fmt: skip
    with DirectoryTarget(str(dest), chown=False, force=force) as target:
        scratch = session.store.layout.scratch_path
        extract(files, files.resolve(path, follow=False), name, target, scratch, cancel or Cancel())
        target.finish()
    return target.skipped


def test_a_directory_comes_out_as_it_is(files: tuple[Session, ImageFiles], tmp_path: Path) -> None:
    session, image = files
    take(session, image, "etc", tmp_path, name="copy")
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["deep", "new", "out", "passwd", "pipe", "suid", "twin"]
    assert {p.name: stat.S_IMODE(p.lstat().st_mode) for p in (copy, copy / "passwd", copy / "deep", copy / "suid")} == {
        "copy": 0o750, "passwd": 0o640, "deep": 0o500, "suid": 0o755}  # fmt: skip
    assert (copy / "passwd").read_text() == "root" and (copy / "passwd").stat().st_mtime == 1000
    assert (copy / "deep").stat().st_mtime == 2000
    assert (copy / "twin").stat().st_ino == (copy / "passwd").stat().st_ino
    assert os.readlink(copy / "out") == "../../../../tmp"
    assert stat.S_ISFIFO((copy / "pipe").lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["copy", "store"]


def test_what_is_there_is_not_replaced(files: tuple[Session, ImageFiles], tmp_path: Path) -> None:
    session, image = files
    dest = tmp_path / "dest"
    (dest / "etc").mkdir(parents=True)
    (dest / "etc/new").write_text("mine")
    (dest / "etc/kept").write_text("mine")
    for path, name in (("etc", "etc"), ("etc", "")):
        with pytest.raises(UsageError) as caught:
            take(session, image, path, dest if name else dest / "etc", name=name)
        assert caught.value.code == "exists"
    assert (dest / "etc/new").read_text() == "mine" and not list(dest.glob(".firkin*"))
    take(session, image, "etc", dest, name="etc", force=True)
    assert (dest / "etc/new").read_text() == "new" and (dest / "etc/kept").read_text() == "mine"
    (dest / "etc/new").unlink()
    (dest / "etc/new").mkdir()
    with pytest.raises(UsageError):  # a file never replaces a directory
        take(session, image, "etc/new", dest / "etc", name="new", force=True)


def test_nothing_is_written_through_links_at_the_target(
    files: tuple[Session, ImageFiles], tmp_path: Path
) -> None:
    session, image = files
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    dest.mkdir()
    (outside / "deep").mkdir(parents=True)
    (outside / "victim").write_text("safe")
    (dest / "etc").symlink_to(outside)
    with pytest.raises(UsageError):
        take(session, image, "etc", dest, name="etc", force=True)
    (dest / "etc").unlink()
    (dest / "etc").mkdir()
    (dest / "etc/new").symlink_to(outside / "victim")
    (dest / "etc/deep").symlink_to(outside / "deep")
    with pytest.raises(UsageError):  # `deep` is a link, and no directory to be merged with
        take(session, image, "etc", dest, name="etc", force=True)
    (dest / "etc/deep").unlink()
    take(session, image, "etc", dest, name="etc", force=True)
    assert (outside / "victim").read_text() == "safe" and os.listdir(outside / "deep") == []
    assert (dest / "etc/new").read_text() == "new" and not (dest / "etc/new").is_symlink()


def test_a_hostile_link_in_the_image_is_no_way_out(begin: Open, registry: FakeRegistry, tmp_path: Path) -> None:
    """A layer that makes a link and then files beneath it: they land inside the image, and so beneath the target."""
    outside = tmp_path / "outside"
    outside.mkdir()
    tar = layer(f"link /srv -> {outside}", "file /srv/x evil", "dir /a", "link /a/up -> ../../../..", "file /a/up/y evil")
    session = begin()
    image = session.open(Made(tar).serve(registry, "app:1"), AMD64)
    dest = tmp_path / "dest"
    dest.mkdir()
    take(session, image, "/", dest)
    assert os.listdir(outside) == [] and (dest / "srv").is_symlink()
    assert (dest / str(outside).strip("/") / "x").read_text() == "evil"
    assert (dest / "y").read_text() == "evil"


def test_a_stopped_or_failed_extraction_leaves_nothing(
    files: tuple[Session, ImageFiles], tmp_path: Path, registry: FakeRegistry
) -> None:
    session, image = files
    dest = tmp_path / "dest"
    dest.mkdir()
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        take(session, image, "etc", dest, name="etc", cancel=cancel)
    session.prepare(image.layers)
    os.unlink(session.store.blobs.path(image.layers[0].layer.descriptor.digest))
    registry.blobs.clear()  # the names are known, the contents cannot be fetched
    with pytest.raises(RegistryError):
        take(session, image, "etc", dest, name="etc")
    assert os.listdir(dest) == []


def test_only_layers_with_contents_are_read(begin: Open, registry: FakeRegistry) -> None:
    made = Made(layer("dir /a", "file /a/big x"), layer("dir /b", "file /b/f f"), layer("dir /c"))
    session = begin()
    image = session.open(made.serve(registry, "app:1"), AMD64)
    wanted = {known.layer.diff_id for known in layers_of(image, image.resolve("b"))}
    assert wanted == {made.image.layers[1].diff_id}
    assert sorted(set(blobs_asked_for(registry, made))) == [0, 1, 2]  # a directory may get names from any layer


def test_a_tar_is_what_tarfile_reads(files: tuple[Session, ImageFiles]) -> None:
    session, image = files
    out = io.BytesIO()
    target = TarTarget(out.write)
    extract(image, image.resolve("etc"), "etc", target, session.store.layout.scratch_path, Cancel())
    target.finish()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        members = {member.name: member for member in archive}
        assert sorted(members) == [
            "etc", "etc/deep", "etc/deep/file", "etc/new", "etc/out", "etc/passwd", "etc/pipe", "etc/suid", "etc/twin",
        ]  # fmt: skip
        assert members["etc/suid"].mode == 0o4755 and members["etc/passwd"].mtime == 1000
        assert members["etc/twin"].islnk() and members["etc/twin"].linkname == "etc/passwd"
        new = archive.extractfile("etc/new")
        assert new is not None and new.read() == b"new"
        names = archive.getnames()
    assert names.index("etc/deep") < names.index("etc/deep/file")


@pytest.mark.root
def test_root_gives_files_their_owners(begin: Open, registry: FakeRegistry, tmp_path: Path) -> None:
    session = begin()
    image = session.open(Made(layer("dir /d 0711 7:8", "file /d/f 4750 5:6 x")).serve(registry, "app:1"), AMD64)
    with DirectoryTarget(str(tmp_path), chown=True, force=False) as target:
        extract(image, image.resolve("d"), "d", target, session.store.layout.scratch_path, Cancel())
        target.finish()
    found = (tmp_path / "d/f").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (5, 6, 0o4750)
    assert (tmp_path / "d").stat().st_uid == 7


def test_where_things_go(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    top = str(tmp_path)
    assert place_of(f"{top}/there", "etc") == (f"{top}/there", "etc")
    assert place_of(f"{top}/new", "etc") == (top, "new")
    assert place_of(f"{top}/new", "") == (top, "new")
    assert place_of(f"{top}/there/", "") == (f"{top}/there/", "")
    assert place_of("new", "etc") == (".", "new")
    for dest in (f"{top}/new/", f"{top}/none/.."):
        with pytest.raises(UsageError):
            place_of(dest, "etc")
