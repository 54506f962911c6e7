"""What may follow where on a command line, for every shell. Pure. `cli` only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from firkin.cli.command import Command
from firkin.cli.commands import ALIASES, COMMANDS, find_command, group_of
from firkin.cli.options import Option

Commands = Mapping[str, tuple[str, Command]]
"""name → (its summary, the command)"""

Kind = Literal["images", "files", "both", "nothing"]

# Words in the usage of a command, and in the value of an option.
_IMAGES = {"IMAGE", "NAME", "SOURCE_IMAGE", "TARGET_IMAGE", "SRC", "SOURCE", "DST", "LIST", "MANIFEST", "REF",
           "REPOSITORY", "REFERENCE", "A", "B"}  # fmt: skip
_FILES = {"FILE", "DIR", "DIRECTORY", "CONTEXT", "DEST", "TAR", "LAYOUT", "URL"}
_VALUE_FILES = ("FILE", "PATH", "DIR")
BEFORE_WITH_VALUE = ("--config", "--root", "--context", "-c", "--host", "-H", "--log-level", "-l")
"""Options before the command that take a value."""


def shown(rows: tuple[Option, ...]) -> tuple[Option, ...]:
    """Return the options that have an effect."""
    return tuple(row for row in rows if row.dest)


def operands(command: Command) -> Kind:
    """Tell what the operands of a command are; PATH is one inside of an image if there is an image."""
    words = set(re.findall(r"[A-Z_]{2,}|\b[AB]\b", command.USAGE.replace("OPTIONS", "")))
    images = bool(words & _IMAGES)
    files = bool(words & _FILES) or ("PATH" in words and not images)
    return "both" if images and files else "images" if images else "files" if files else "nothing"


def fixed_words(command: Command) -> tuple[str, ...]:
    """Return the words of which the first operand is one: `bash|zsh|fish`."""
    found = re.match(r"(?:\[OPTIONS\] )?([a-z]+(?:\|[a-z]+)+)(?: |$)", command.USAGE)
    return tuple(found.group(1).split("|")) if found else ()


def value_kind(row: Option) -> Kind:
    """Tell what the value of an option is."""
    return "files" if any(word in row.metavar for word in _VALUE_FILES) else "nothing"


def spelled(name: str) -> tuple[str, ...]:
    """Return every spelling of a command: `images`, `image ls`, `image list`."""
    others = (spelling for spelling in ALIASES if not spelling.startswith("/"))
    return (name, *(words for words in others if (find_command(words.split()) or ("",))[0] == name))


def groups() -> dict[str, tuple[str, ...]]:
    """Return the words that may follow each group: `image` → build, history, …; "" → all commands and groups."""
    tree: dict[str, dict[str, None]] = {"": {}}
    for spelling in (*COMMANDS, *(words for words in ALIASES if " " in words)):
        before = ""
        for word in spelling.split():
            tree.setdefault(before, {})[word] = None
            before = f"{before} {word}".strip()
    return {group: tuple(words) for group, words in tree.items()}


def about(group: str, word: str) -> str:
    """Return the summary of a command in a group, "" for a group."""
    if not group:
        return COMMANDS[word][1] if word in COMMANDS else ""
    return group_of(group.split()).get(word, "")


def known_paths() -> tuple[str, ...]:
    """Return every beginning of a command line that is a group or a command."""
    paths = {f"{group} {word}".strip() for group, words in groups().items() for word in words}
    return tuple(sorted(paths | {words for name in COMMANDS for words in spelled(name)}))


def quoted(text: str) -> str:
    """Return a text as one word of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def ask(program: str) -> str:
    """Return the command that prints the names of images."""
    return f"{program} completion --names 2>/dev/null"
