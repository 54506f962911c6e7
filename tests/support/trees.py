"""Trees written as lines, for tests of code that reads a View.

    dir  /etc 0755 0:0
    file /etc/passwd 0644 0:0 @5 root:x:0:0::/root:/bin/sh
    link /l -> /etc
    fifo /p
    hard /other = /etc/passwd

Mode, owner and time (`@` seconds) may be left out; the remaining text of a file's line is its content.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.builder.context.views import MemoryView
from firkin.layer.change import Change, Content, Entry, Opaque, Put, Remove


def tree(*lines: str) -> MemoryView:
    """Return the view that the lines describe."""
    entries: dict[str, Entry] = {}
    contents: dict[str, Content] = {}
    inodes = 0
    for line in "\n".join(lines).splitlines():
        words = line.split()
        if not words:
            continue
        kind, path, *rest = words
        path = path.strip("/")
        entry = Entry(kind="file")
        match kind:
            case "link":
                entries[path] = Entry(kind="symlink", mode=0o777, target=rest[-1])
                continue
            case "hard":
                first = rest[-1].strip("/")
                if entries[first].inode is None:
                    inodes += 1
                    entries[first] = msgspec.structs.replace(entries[first], inode=(1, inodes))
                entries[path] = entries[first]
                contents[path] = contents[first]
                continue
            case "dir":
                entry = Entry(kind="dir", mode=0o755)
            case "fifo":
                entry = Entry(kind="fifo")
        while rest:
            word = rest[0]
            if len(word) == 4 and word.isdigit():
                entry = msgspec.structs.replace(entry, mode=int(word, 8))
            elif word[0] == "@":
                entry = msgspec.structs.replace(entry, mtime_ns=int(word[1:]) * 10**9)
            elif ":" in word and word.replace(":", "").isdigit():
                uid, _, gid = word.partition(":")
                entry = msgspec.structs.replace(entry, uid=int(uid), gid=int(gid))
            else:
                break
            rest.pop(0)
        if kind == "file":
            data = " ".join(rest).replace("\\n", "\n").encode()
            contents[path] = data
            entry = msgspec.structs.replace(entry, size=len(data))
        entries[path] = entry
    return MemoryView(entries, contents)


def lines(changes: Iterable[Change], *, times: bool = False) -> list[str]:
    """Return changes in the same form, in their order."""
    found = []
    for change in changes:
        match change:
            case Put():
                found.append(_line(change, times))
            case Remove():
                found.append(f"gone /{change.path}")
            case Opaque():
                found.append(f"opaque /{change.path}")
    return found


def _line(put: Put, times: bool) -> str:
    entry = put.entry
    if entry.kind == "symlink":
        owner = f" {entry.uid}:{entry.gid}" if entry.uid or entry.gid else ""
        return f"link /{put.path} -> {entry.target}{owner}"
    words = [entry.kind, f"/{put.path}", f"{entry.mode:04o}", f"{entry.uid}:{entry.gid}"]
    if times:
        words.append(f"@{entry.mtime_ns // 10**9}")
    if put.link:
        words.append(f"= /{put.link}")
    elif entry.kind == "file" and isinstance(put.content, bytes):
        words.append(put.content.decode())
    return " ".join(words).rstrip()
