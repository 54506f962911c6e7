"""Unpacks a layer's tar to an overlay diff tree beneath a fresh root. Does I/O.

A removal is a character device 0:0, an opaque directory has the xattr `user.overlay.opaque`. Every file is made
relative to a descriptor of its directory (`linux.folders`), so nothing is ever written through a link; links that
the archive itself made on the way to a member are resolved with the root as their "/", and `..` stays there.
Spec: image-spec layer.md; Linux Documentation/filesystems/overlayfs.rst. Mirrors: containerd archive.Apply.
`layer.blob` and `layer.confined` use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec

from firkin.layer.attributes import (
    OPAQUE_XATTR,
    is_whiteout,
    make_special,
    make_whiteout,
    set_owner,
    set_xattr,
    unmakable,
)
from firkin.layer.change import OPAQUE_NAME, WHITEOUT_PREFIX, Change, Entry, Opaque, Put, Remove
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.places import Places
from firkin.layer.tar import Member, TarReader, clean_name
from firkin.linux.folders import Folders, remove_tree
from firkin.linux.sparse import SPARSE_FROM

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000

_IMPLIED = Entry("dir", 0o755)
_FOUND = Entry("dir", 0o755, size=-1)


class Unpacked(msgspec.Struct, frozen=True):
    """The result of unpacking a layer.

    `implied` are directories that the layer needs and does not name, and that hide none below (the caller may give
    them the attributes they have there). `skipped` has (path, why) of files that this machine did not let us make.
    `root` is the root's own entry, if the layer has one. `size_bytes` is that of its files (Entry.unpacked_bytes).
    """

    entries: int
    implied: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    root: Entry | None = None
    size_bytes: int = 0


def unpack_layer(
    chunks: Iterable[bytes],
    root: str,
    *,
    chown: bool = True,
    strict: bool = False,
    observe: Callable[[Change], None] | None = None,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> Unpacked:
    """Unpack a tar (not compressed) beneath `root`, which is empty: owners, modes, times, xattrs, links, devices.

    With `chown` False files belong to the caller, and what only root may do is skipped; `observe` gets the
    metadata, every member as a Change in the order of the tar. `strict` refuses names that climb above the
    root instead of stopping them there. The stream is read to its end. Raises ValueError for a damaged or
    impossible archive and one beyond the limits, HostError for an owner that this user namespace does not map,
    OSError for faults of the machine.
    """
    reader = TarReader(chunks, limits)
    with Folders(root) as folders:
        unpacker = _Unpacker(folders, chown, strict, observe)
        while (member := reader.next_member()) is not None:
            try:
                unpacker.add(member, reader)
            except OSError as error:
                raise unmakable(member.name, error) or error from None
        reader.drain()
        return msgspec.structs.replace(unpacker.end(), size_bytes=reader.unpacked_bytes)


class _Unpacker:
    """The tree being made. `_known` has its directories, with the attributes to set on them at the end."""

    def __init__(self, folders: Folders, chown: bool, strict: bool, observe: Callable[[Change], None] | None) -> None:
        self._folders = folders
        self._chown = chown
        self._strict = strict
        self._observe = observe
        self._known: dict[str, Entry] = {"": _FOUND}
        self._places = Places()
        self._opaque: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._entries = 0
        # Files are made with our own ids, unless the file system says otherwise (bsdgroups, setgid).
        self._own = self._probe()

    def _probe(self) -> tuple[int, int]:
        at, name = self._folders.open(""), ".wh..probe"
        os.close(os.open(name, _CREATE, 0o600, dir_fd=at))
        status = os.lstat(name, dir_fd=at)
        os.unlink(name, dir_fd=at)
        return status.st_uid, status.st_gid

    def add(self, member: Member, reader: TarReader) -> None:
        """Make one member."""
        self._entries += 1
        path = clean_name(member.name, strict=self._strict)
        entry = member.entry
        kind = entry.kind
        folder, _, base = path.rpartition("/")
        if folder not in self._known:
            path = self._places.of(path)
            folder, _, base = path.rpartition("/")
            if folder not in self._known:
                self._make_implied(folder, member.name)
        if not base:
            if kind != "dir":
                raise ValueError(f"the member {member.name!r} would replace the root")
            self._known[""] = entry
            self._tell(Put("", entry))
            return
        if base.startswith(WHITEOUT_PREFIX):
            self._whiteout(folder, base)
            return
        at = self._folders.open(folder)
        if member.is_link:
            self._link(path, at, base, member)
        elif kind == "file":
            self._file(path, at, base, member, reader)
        elif kind == "dir":
            self._folder(path, at, base, entry)
            self._tell(Put(path, entry))
        elif kind == "symlink":
            self._symlink(path, at, base, entry)
            self._tell(Put(path, entry))
        else:
            self._special(path, at, base, entry)
            self._tell(Put(path, entry))

    def end(self) -> Unpacked:
        """Set the attributes of directories last, because making files in them changes their times."""
        implied = []
        root: Entry | None = None
        for path in reversed(self._known):
            entry = self._known[path]
            if entry is _FOUND:
                continue
            if not path:
                root = entry
            fd = self._folders.readable(path)
            try:
                if entry is _IMPLIED:
                    if not self._hides(path):
                        implied.append(path)
                elif self._chown and (entry.uid, entry.gid) != self._own:
                    set_owner(fd, entry, path)
                os.fchmod(fd, entry.mode)
                if entry.xattrs:
                    self._set_attributes(path, fd, entry)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)
        implied.reverse()
        return Unpacked(self._entries, tuple(implied), tuple(self._skipped), root)

    def _tell(self, change: Change) -> None:
        if self._observe is not None:
            self._observe(change)

    # --- kinds ---

    def _file(self, path: str, at: int, base: str, member: Member, reader: TarReader) -> None:
        entry = member.entry
        try:
            fd = os.open(base, _CREATE, 0o600, dir_fd=at)
        except FileExistsError:
            self._clear(path, at, base)
            fd = os.open(base, _CREATE, 0o600, dir_fd=at)
        try:
            write_content(fd, member, reader)
            if self._chown and (entry.uid, entry.gid) != self._own:
                set_owner(fd, entry, path)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_attributes(path, fd, entry)
            mtime_ns = entry.mtime_ns
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)
        if self._observe is not None:
            self._observe(Put(path, entry))

    def _folder(self, path: str, at: int, base: str, entry: Entry) -> None:
        if path not in self._known:
            try:
                os.mkdir(base, 0o755, dir_fd=at)
            except FileExistsError:
                was_whiteout = is_whiteout(at, base)
                self._clear(path, at, base)
                os.mkdir(base, 0o755, dir_fd=at)
                if was_whiteout:
                    # Removed and made anew: nothing of the lower directory may show through.
                    self._set_opaque(path)
        self._known[path] = entry

    def _symlink(self, path: str, at: int, base: str, entry: Entry) -> None:
        try:
            os.symlink(entry.target, base, dir_fd=at)
        except FileExistsError:
            self._clear(path, at, base)
            os.symlink(entry.target, base, dir_fd=at)
        self._places.put(path, entry.target, is_folder=False)
        if self._chown and (entry.uid, entry.gid) != self._own:
            set_owner(base, entry, path, dir_fd=at)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    def _link(self, path: str, at: int, base: str, member: Member) -> None:
        target = self._places.of(clean_name(member.link))
        folder, _, name = target.rpartition("/")
        if folder not in self._known:
            raise ValueError(f"`{member.link}` is not there to be linked to")
        try:
            source = self._folders.open(folder)
            # The kernel refuses links to a directory or to the member itself even for root, but too late.
            if not name or target in self._known or target == path:
                raise ValueError(f"`{path}` cannot be a hard link to `{member.link}`")
            status = os.lstat(name, dir_fd=source)
            if is_whiteout(source, name):
                raise FileNotFoundError
            try:
                os.link(name, base, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
            except FileExistsError:
                self._clear(path, at, base)
                source, at = self._folders.open(folder), self._folders.open(path.rpartition("/")[0])
                os.link(name, base, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            raise ValueError(f"`{path}` is a hard link to `{member.link}`, which is not there") from None
        text = os.readlink(base, dir_fd=at) if status.st_mode & _S_IFMT == _S_IFLNK else None
        self._places.put(path, text, is_folder=False)
        if self._observe is not None:
            if text is not None:
                entry = msgspec.structs.replace(member.entry, kind="symlink", target=text)
            else:
                entry = msgspec.structs.replace(member.entry, size=status.st_size)
            self._observe(Put(path, entry, None, target))

    def _special(self, path: str, at: int, base: str, entry: Entry) -> None:
        if entry.kind != "fifo" and not self._chown:
            why = "devices need root"
        else:
            try:
                why = make_special(at, base, entry)
            except FileExistsError:
                self._clear(path, at, base)
                why = make_special(at, base, entry)
        if why:
            self._skipped.append((path, why))
            return
        if self._chown:
            set_owner(base, entry, path, dir_fd=at)
        os.chmod(base, entry.mode, dir_fd=at)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    # --- removals ---

    def _whiteout(self, folder: str, base: str) -> None:
        if base == OPAQUE_NAME:
            self._set_opaque(folder)
            self._tell(Opaque(folder))
            return
        if base.startswith(WHITEOUT_PREFIX * 2):
            return  # internal files of aufs
        base = base[len(WHITEOUT_PREFIX) :]
        if base in ("", ".", ".."):
            raise ValueError(f"a removal of {base!r} in `{folder}` means nothing")
        path = f"{folder}/{base}" if folder else base
        try:
            make_whiteout(self._folders.open(folder), base)
        except FileExistsError:
            # The order in the archive has no meaning: a file that the same layer puts there stays.
            if path in self._known:
                self._set_opaque(path)
            return
        self._tell(Remove(path))

    def _hides(self, path: str) -> bool:
        """Say whether the layer hides what lower ones have at a path."""
        while self._opaque and path not in self._opaque:
            if not path:
                return False
            path = path.rpartition("/")[0]
        return bool(self._opaque)

    def _set_opaque(self, path: str) -> None:
        self._opaque.add(path)
        fd = self._folders.readable(path)
        try:
            os.setxattr(fd, OPAQUE_XATTR, b"y")
        finally:
            os.close(fd)

    def _clear(self, path: str, at: int, base: str) -> None:
        """Remove whatever is at a path, and what was remembered of it."""
        remove_tree(base, dir_fd=at)
        self._places.put(path, None, is_folder=False)
        if path in self._known:
            beneath = path + "/"
            for known in [known for known in self._known if known == path or known.startswith(beneath)]:
                del self._known[known]
                self._opaque.discard(known)
            self._folders.forget(path)

    # --- parents ---

    def _make_implied(self, folder: str, shown: str) -> None:
        """Make a parent directory that the archive has not named so far, and those above it."""
        missing = []
        while folder not in self._known:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for path in reversed(missing):
            at, base = self._folders.split(path)
            try:
                os.mkdir(base, 0o755, dir_fd=at)
            except FileExistsError:
                if not is_whiteout(at, base):
                    raise ValueError(f"{shown!r} lies beneath `{path}`, which is no directory") from None
                self._clear(path, at, base)
                os.mkdir(base, 0o755, dir_fd=at)
                self._set_opaque(path)
            self._known[path] = _IMPLIED

    def _set_attributes(self, path: str, fd: int, entry: Entry) -> None:
        """Set the extended attributes of a file or directory, after its owner: chown removes capabilities."""
        for attribute, value in entry.xattrs:
            if why := set_xattr(fd, attribute, value, path, escape=True):
                self._skipped.append((path, why))


def write_content(fd: int, member: Member, reader: TarReader) -> None:
    """Write the content of a regular file that the reader stands at to an empty file. Raises ValueError, OSError."""
    if member.sparse is not None:
        _write_sparse(fd, member, reader)
    elif member.entry.size:
        _write(fd, member.entry.size, reader)


def _write(fd: int, left: int, reader: TarReader) -> None:
    """Write a file's content; long runs of zeros become holes."""
    size = left
    hole = False
    while left:
        piece = reader.read()
        left -= len(piece)
        hole = not piece[0] and not piece[-1] and len(piece) >= SPARSE_FROM and piece.tobytes() == bytes(len(piece))
        if hole:
            os.lseek(fd, len(piece), os.SEEK_CUR)
            continue
        done = os.write(fd, piece)
        while done < len(piece):
            done += os.write(fd, piece[done:])
    if hole:
        os.ftruncate(fd, size)


def _write_sparse(fd: int, member: Member, reader: TarReader) -> None:
    piece = memoryview(b"")
    for offset, length in member.sparse or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            if not piece:
                piece = reader.read()
            done = os.write(fd, piece[:length])
            piece = piece[done:]
            length -= done
    os.ftruncate(fd, member.entry.size)
