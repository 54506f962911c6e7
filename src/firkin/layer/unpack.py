"""A layer's tar to a tree beneath a root. I; `layer.blob`, `rootfs` and `solve` use it.

Two forms of a tree:
  diff  as overlayfs wants a lower directory: a removal is a character device 0:0, an opaque directory
        has the xattr `user.overlay.opaque`. The directory must be fresh.
  flat  removals remove; the directory holds the layers below, merged.
Nothing is ever written through a link that leads out: each parent is checked once, component by
component, and remembered; links in the way are resolved with the root as their "/" and `..` stays there.
Spec: image-spec layer.md; Linux Documentation/filesystems/overlayfs.rst. Mirrors: containerd archive.Apply.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from firkin.layer.attributes import (
    OPAQUE_XATTR,
    is_whiteout,
    make_special,
    make_whiteout,
    remove_tree,
    set_owner,
    set_xattr,
)
from firkin.layer.change import OPAQUE_NAME, WHITEOUT_PREFIX, Change, Entry, Opaque, Put, Remove
from firkin.layer.tar import Member, TarReader, clean_name

Form = Literal["diff", "flat"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000
_MAX_LINKS = 40

_IMPLIED = Entry("dir", 0o755)
_FOUND = Entry("dir", 0o755, size=-1)


class Unpacked(msgspec.Struct, frozen=True):
    """What came of a layer.

    `implied` are directories that the layer needs and does not name, and that hide none below (the caller may
    give them the attributes they have there). `skipped` are (path, why) of what this machine did not let us make.
    `root` is the root's own entry, if the layer has one.
    """

    entries: int
    implied: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    root: Entry | None = None


def unpack_layer(
    chunks: Iterable[bytes],
    root: str,
    *,
    form: Form = "diff",
    chown: bool = True,
    strict: bool = False,
    observe: Callable[[Change], None] | None = None,
) -> Unpacked:
    """Unpack a tar (not compressed) beneath `root`, with owners, modes, times, xattrs, links and devices.

    With `chown` False owners stay the caller's, and what only root may do is skipped: the metadata is
    what `observe` sees, every member as a Change in the order of the tar. `strict` refuses names that
    climb above the root instead of stopping them there. The stream is read to its end. Raises
    ValueError for a damaged or impossible archive, HostError for an owner that this user namespace
    does not map, OSError.
    """
    reader = TarReader(chunks)
    unpacker = _Unpacker(root, form, chown, strict, observe)
    while (member := reader.next_member()) is not None:
        unpacker.add(member, reader)
    reader.drain()
    return unpacker.end()


class _Unpacker:
    """The tree being made. `_folders` are directories known to be real, with what to set on them at the end."""

    def __init__(
        self, root: str, form: Form, chown: bool, strict: bool, observe: Callable[[Change], None] | None
    ) -> None:
        self._root = root
        self._prefix = root + "/"
        self._flat = form == "flat"
        self._chown = chown
        self._strict = strict
        self._observe = observe
        self._folders: dict[str, Entry] = {"": _FOUND}
        self._aliases: dict[str, str] = {}
        self._opaque: set[str] = set()
        self._seen: set[str] = set()
        self._skipped: list[tuple[str, str]] = []
        self._entries = 0
        # Files are made with our own ids, unless the file system says otherwise (bsdgroups, setgid).
        self._own = (-1, -1) if self._flat else self._probe()

    def _probe(self) -> tuple[int, int]:
        name = self._prefix + ".wh..probe"
        os.close(os.open(name, _CREATE, 0o600))
        status = os.lstat(name)
        os.unlink(name)
        return status.st_uid, status.st_gid

    def add(self, member: Member, reader: TarReader) -> None:
        """Make one member."""
        self._entries += 1
        name = clean_name(member.name, strict=self._strict)
        entry = member.entry
        kind = entry.kind
        folder, _, base = name.rpartition("/")
        if folder not in self._folders:
            folder = self._resolve(folder, member.name)
            name = f"{folder}/{base}" if folder else base
        if not base:
            if kind != "dir":
                raise ValueError(f"the member {member.name!r} would replace the root")
            self._folders[""] = entry
            self._tell(Put("", entry))
            return
        if base.startswith(WHITEOUT_PREFIX):
            self._whiteout(folder, base)
            return
        full = self._prefix + name
        if self._flat:
            self._seen.add(name)
        if member.is_link:
            self._link(name, full, member)
        elif kind == "file":
            self._file(name, full, member, reader)
        elif kind == "dir":
            self._folder(name, full, entry)
            self._tell(Put(name, entry))
        elif kind == "symlink":
            try:
                os.symlink(entry.target, full)
            except FileExistsError:
                self._clear(name, full)
                os.symlink(entry.target, full)
            if self._chown and (entry.uid, entry.gid) != self._own:
                set_owner(full, entry, name)
            os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
            self._tell(Put(name, entry))
        else:
            self._special(name, full, entry)
            self._tell(Put(name, entry))

    def end(self) -> Unpacked:
        """Set what is set on directories last: making files in them changes their times."""
        implied = []
        root: Entry | None = None
        for name in reversed(self._folders):
            entry = self._folders[name]
            if entry is _FOUND:
                continue
            full = self._prefix + name if name else self._root
            if not name:
                root = entry
            if entry is _IMPLIED:
                if not self._hides(name):
                    implied.append(name)
            elif self._chown and (entry.uid, entry.gid) != self._own:
                set_owner(full, entry, name)
            os.chmod(full, entry.mode)
            if entry.xattrs:
                self._set_attributes(name, full, entry)
            os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns))
        implied.reverse()
        return Unpacked(self._entries, tuple(implied), tuple(self._skipped), root)

    def _tell(self, change: Change) -> None:
        if self._observe is not None:
            self._observe(change)

    # --- kinds ---

    def _file(self, name: str, full: str, member: Member, reader: TarReader) -> None:
        entry = member.entry
        try:
            fd = os.open(full, _CREATE, 0o600)
        except FileExistsError:
            self._clear(name, full)
            fd = os.open(full, _CREATE, 0o600)
        try:
            if member.sparse is not None:
                _write_sparse(fd, member, reader)
            elif entry.size:
                left = entry.size
                while left:
                    piece = reader.read()
                    left -= len(piece)
                    done = os.write(fd, piece)
                    while done < len(piece):
                        done += os.write(fd, piece[done:])
            if self._chown and (entry.uid, entry.gid) != self._own:
                set_owner(fd, entry, name)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_attributes(name, fd, entry)
            mtime_ns = entry.mtime_ns
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)
        if self._observe is not None:
            self._observe(Put(name, entry, full))

    def _folder(self, name: str, full: str, entry: Entry) -> None:
        if name not in self._folders:
            try:
                os.mkdir(full, 0o755)
            except FileExistsError:
                mode = os.lstat(full).st_mode & _S_IFMT
                if mode != _S_IFDIR:
                    was_whiteout = not self._flat and is_whiteout(full)
                    self._clear(name, full)
                    os.mkdir(full, 0o755)
                    if was_whiteout:
                        # Removed and made anew: nothing of the old one may shine through.
                        self._set_opaque(name)
        self._folders[name] = entry

    def _link(self, name: str, full: str, member: Member) -> None:
        target = clean_name(member.link)
        folder, _, base = target.rpartition("/")
        if folder not in self._folders:
            folder = self._resolve(folder, member.link, make=False)
            target = f"{folder}/{base}" if folder else base
        source = self._prefix + target
        try:
            status = os.lstat(source)
            # As root, the links to a directory and to itself are the kernel's to refuse, but too late.
            if not base or status.st_mode & _S_IFMT == _S_IFDIR or target == name:
                raise ValueError(f"`{name}` cannot be a hard link to `{member.link}`")
            if not self._flat and is_whiteout(source):
                raise FileNotFoundError
            try:
                os.link(source, full, follow_symlinks=False)
            except FileExistsError:
                self._clear(name, full)
                os.link(source, full, follow_symlinks=False)
        except FileNotFoundError:
            raise ValueError(f"`{name}` is a hard link to `{member.link}`, which is not there") from None
        if self._observe is not None:
            entry = member.entry
            if status.st_mode & _S_IFMT == _S_IFLNK:
                entry = msgspec.structs.replace(entry, kind="symlink", target=os.readlink(source))
            else:
                entry = msgspec.structs.replace(entry, size=status.st_size)
            self._observe(Put(name, entry, None, target))

    def _special(self, name: str, full: str, entry: Entry) -> None:
        if entry.kind != "fifo" and not self._chown:
            why = "devices need root"
        else:
            try:
                why = make_special(full, entry)
            except FileExistsError:
                self._clear(name, full)
                why = make_special(full, entry)
        if why:
            self._skipped.append((name, why))
            return
        if self._chown:
            set_owner(full, entry, name)
        os.chmod(full, entry.mode)
        os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns))

    # --- removals ---

    def _whiteout(self, folder: str, base: str) -> None:
        if base == OPAQUE_NAME:
            if self._flat:
                self._purge(folder)
            else:
                self._set_opaque(folder)
            self._tell(Opaque(folder))
            return
        if base.startswith(WHITEOUT_PREFIX * 2):
            return  # what aufs kept for itself
        base = base[len(WHITEOUT_PREFIX) :]
        if base in ("", ".", ".."):
            raise ValueError(f"a removal of {base!r} in `{folder}` means nothing")
        name = f"{folder}/{base}" if folder else base
        full = self._prefix + name
        # The order in the archive says nothing: what the same layer puts there stays.
        if self._flat:
            if name not in self._seen:
                self._clear(name, full)
            elif name in self._folders:
                self._purge(name)
        else:
            try:
                make_whiteout(full)
            except FileExistsError:
                if os.lstat(full).st_mode & _S_IFMT == _S_IFDIR:
                    self._set_opaque(name)
                return
        self._tell(Remove(name))

    def _hides(self, name: str) -> bool:
        """Say whether the layer hides what lower ones have at a path."""
        while self._opaque and name not in self._opaque:
            if not name:
                return False
            name = name.rpartition("/")[0]
        return bool(self._opaque)

    def _set_opaque(self, name: str) -> None:
        self._opaque.add(name)
        os.setxattr(self._prefix + name if name else self._root, OPAQUE_XATTR, b"y")

    def _purge(self, folder: str) -> None:
        """Remove what lower layers put into a directory, at any depth."""
        with os.scandir(self._prefix + folder) as found:
            items = list(found)
        for item in items:
            name = f"{folder}/{item.name}" if folder else item.name
            if name not in self._seen and name not in self._folders:
                self._clear(name, item.path)
            elif item.is_dir(follow_symlinks=False):
                self._purge(name)

    def _clear(self, name: str, full: str) -> None:
        """Remove whatever is at a path, and what was remembered of it."""
        remove_tree(full)
        self._aliases.clear()
        if name in self._folders:
            beneath = name + "/"
            for known in [known for known in self._folders if known == name or known.startswith(beneath)]:
                del self._folders[known]
                self._opaque.discard(known)

    # --- parents ---

    def _resolve(self, folder: str, shown: str, *, make: bool = True) -> str:
        """Return where a parent really is beneath the root, making what is missing; links stay inside."""
        if (known := self._aliases.get(folder)) is not None:
            return known
        parts = folder.split("/")
        parts.reverse()
        current = ""
        links = 0
        while parts:
            part = parts.pop()
            if not part or part == ".":
                continue
            if part == "..":
                current = current.rpartition("/")[0]
                continue
            name = f"{current}/{part}" if current else part
            if name in self._folders:
                current = name
                continue
            full = self._prefix + name
            try:
                mode = os.lstat(full).st_mode & _S_IFMT
            except FileNotFoundError:
                if not make:
                    raise ValueError(f"`{shown}` is not there to be linked to") from None
                self._make_implied(name, full)
            else:
                if mode == _S_IFLNK:
                    links += 1
                    target = os.readlink(full)
                    if links > _MAX_LINKS:
                        raise ValueError(f"{shown!r} leads through too many symbolic links")
                    if target.startswith("/"):
                        current = ""
                    parts.extend(reversed(target.split("/")))
                    continue
                if mode == _S_IFDIR:
                    self._folders[name] = _FOUND
                elif make and not self._flat and is_whiteout(full):
                    self._clear(name, full)
                    self._make_implied(name, full)
                    self._set_opaque(name)
                else:
                    raise ValueError(f"{shown!r} lies beneath `{name}`, which is no directory")
            current = name
        if current != folder:
            self._aliases[folder] = current
        return current

    def _make_implied(self, name: str, full: str) -> None:
        os.mkdir(full, 0o755)
        self._folders[name] = _IMPLIED
        if self._flat:
            self._seen.add(name)

    def _set_attributes(self, name: str, target: str | int, entry: Entry) -> None:
        """Set the extended attributes of a file or directory, after its owner: chown takes capabilities away."""
        for attribute, value in entry.xattrs:
            if why := set_xattr(target, attribute, value, escape=not self._flat):
                self._skipped.append((name, why))


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
