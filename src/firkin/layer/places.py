"""Finds the paths at which members of an archive land: links that it made before are followed. Pure.

Unpacking and indexing share it, so that a tree and the index of the same layer agree.
"""

from __future__ import annotations

_MAX_LINKS = 40


class Places:
    """The links that an archive has made so far. Paths are clean: relative, without empty, `.` or `..` parts."""

    def __init__(self) -> None:
        self._links: dict[str, str] = {}
        self._plain = {""}  # directories that no link leads to

    def put(self, path: str, target: str | None, *, is_folder: bool) -> None:
        """Note that a link with the text `target`, or anything else (None), is now at a path."""
        if is_folder:
            self._links.pop(path, None)
            return
        if path in self._plain:  # what was beneath is gone
            self._plain = {""}
            beneath = path + "/"
            self._links = {known: text for known, text in self._links.items() if not known.startswith(beneath)}
        if target is not None:
            self._links[path] = target
        else:
            self._links.pop(path, None)

    def of(self, path: str) -> str:
        """Return the path at which the member of that name lands. Raises ValueError for links without end."""
        folder, _, name = path.rpartition("/")
        if folder in self._plain:
            return path
        folder = self._resolve(folder, path)
        return f"{folder}/{name}" if folder else name

    def _resolve(self, folder: str, shown: str) -> str:
        todo = folder.split("/")[::-1]
        at = ""
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = f"{at}/{part}" if at else part
            target = self._links.get(step)
            if target is None:
                self._plain.add(step)
                at = step
                continue
            links += 1
            if links > _MAX_LINKS:
                raise ValueError(f"{shown!r} leads through too many symbolic links")
            if target.startswith("/"):
                at = ""
            todo += target.split("/")[::-1]
        return at
