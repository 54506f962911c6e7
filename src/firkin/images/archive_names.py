"""The names of an image archive: files, and the links in it that lead from name to name. Pure.

Names are only compared, never used as paths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from firkin.layer.tar import Member, clean_name

MOST_FILES = 100_000
"""Entries of one archive: a thousand images with a hundred layers each."""

_MOST_LINKS = 40

T = TypeVar("T")


class ArchiveNames(Generic[T]):
    """What a name of an archive means; `same` says whether two files have the same content."""

    def __init__(self, same: Callable[[T, T], bool]) -> None:
        self._same = same
        self._files: dict[str, T] = {}
        self._links: dict[str, str] = {}

    def add(self, member: Member, take: Callable[[str], T]) -> None:
        """Note a member; for a file `take` is called with its name, for what the name is to mean.

        Raises ValueError for names and links that lead out of the archive, and for a name with two contents.
        """
        name = clean_name(member.name, strict=True)
        if member.is_link:
            self._link(name, clean_name(member.link, strict=True))
        elif member.entry.kind == "symlink":
            target = member.entry.target
            place = target if target.startswith("/") else f"{name.rpartition('/')[0]}/{target}"
            self._link(name, clean_name(place, strict=True))
        elif member.entry.kind == "file":
            if member.sparse is not None:
                raise ValueError(f"`{name}` is a sparse file, which no image archive has")
            file = take(name)
            self._once(name, name not in self._links and self._same(self._files.get(name, file), file))
            self._files[name] = file

    def _link(self, name: str, target: str) -> None:
        self._once(name, name not in self._files and self._links.get(name, target) == target)
        self._links[name] = target

    def _once(self, name: str, same: bool) -> None:
        # Readers differ in which one they take.
        if not same:
            raise ValueError(f"`{name}` is in the archive twice, with different contents")

    def find(self, name: str) -> T | None:
        """Return what a name means, links followed; None if there is nothing. Raises ValueError."""
        name = clean_name(name, strict=True)
        for _ in range(_MOST_LINKS):
            file = self._files.get(name)
            if file is not None:
                return file
            followed = self._followed(name)
            if followed is None:
                return None
            name = followed
        raise ValueError(f"`{name}` is a link that leads in a circle")

    def _followed(self, name: str) -> str | None:
        """Return the name that a link means: the name's own, or that of a directory above it."""
        head, tail = name, ""
        while head:
            if head in self._links:
                return f"{self._links[head]}{tail}"
            head, slash, last = head.rpartition("/")
            tail = f"{slash}{last}{tail}"
        return None
