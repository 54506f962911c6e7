"""Commands and options of other tools against firkin's: the lists, the table of reasons, and the page made of them.

`python -m support.parity > ../docs/coming-from-docker.md` in tests/ writes the page.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

from firkin.cli.command import load_command
from firkin.cli.commands import COMMANDS, find_command
from firkin.cli.options import by_flag
from support.places import REPOSITORY

REASONS: dict[str, Any] = tomllib.loads((REPOSITORY / "docs/dev/parity.toml").read_text())
TOOLS = tuple(name for name in REASONS if name != "intro")


def listed(tool: str) -> dict[str, tuple[str, ...]]:
    """Return the commands of a tool with their options, from the list that is kept here."""
    lines = (REPOSITORY / f"tests/conformance/options/{tool}.txt").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith("#"))
    return {command: tuple(options.split()) for command, _, options in pairs}


def asked(words: list[str], depth: int = 2) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the commands of an installed tool with their options, from its `--help`."""
    text = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=60).stdout
    heading, options, below = "", [], []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            heading = line.strip().rstrip(":")
        option = re.match(r" {2,6}(?:(-\w), )?(--[\w.-]+)", line)
        command = re.match(r"  ([a-z][\w-]*)\*? {2,}\S", line)
        if option and heading in ("Options", "Flags"):
            options += [flag for flag in option.groups() if flag and flag not in ("--help", "-h")]
        elif command and heading.endswith("Commands"):
            below.append(command.group(1))
    if below and depth:
        for word in below:
            yield from asked([*words, word], depth - 1)
    elif len(words) > 1:
        yield " ".join(words[1:]), tuple(options)


def entry_of(tool: str, command: str) -> dict[str, str]:
    """Return what the table says of a command; a first word that is absent stands for its group."""
    table = REASONS[tool]["commands"]
    group = table.get(command.partition(" ")[0], {})
    return table.get(command) or (group if "absent" in group else {})


def here_as(words: list[str]) -> str:
    """Return the command that all these words mean here, "" if there is none; an alias may imply options."""
    found = find_command(words)
    return "" if found is None or any(not word.startswith("-") for word in found[1]) else found[0]


def unexplained(tool: str, command: str, options: tuple[str, ...]) -> list[str]:
    """Return what the tool has, firkin has not, and nobody has given a reason for."""
    entry = entry_of(tool, command)
    if "absent" in entry:
        return []
    name = here_as(entry.get("here", command).split())
    if not name:
        return [command]
    known = by_flag(load_command(COMMANDS[name][0]).OPTIONS)
    reasons = REASONS[tool]["options"]
    if f"{command} *" in reasons:
        return []
    return [f"{command} {option}" for option in options if option not in known and f"{command} {option}" not in reasons]


def page() -> str:
    """Return docs/coming-from-docker.md."""
    lines = [REASONS["intro"].strip(), ""]
    for tool in TOOLS:
        lines += [f"## {REASONS[tool]['title']} {REASONS[tool]['version']}", "", "| there | here | |", "| --- | --- | --- |"]
        lines += list(_rows(tool))
        lines.append("")
        reasons = REASONS[tool]["options"]
        if reasons:
            lines += ["Options that a command here does not have:", "", "| there | instead |", "| --- | --- |"]
            lines += [f"| `{option.replace(' *', ' …')}` | {_cell(why)} |" for option, why in reasons.items()]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _rows(tool: str) -> Iterator[str]:
    prefix, gone = REASONS[tool]["prefix"], {}
    for command in listed(tool):
        entry = entry_of(tool, command)
        if "absent" in entry:
            word = command if command in REASONS[tool]["commands"] else command.partition(" ")[0]
            gone.setdefault(entry["absent"], {})[word] = None
            continue
        here = entry.get("here", command)
        yield f"| `{prefix} {command}` | `firkin {here}` | {_cell(entry.get('note', ''))} |"
    for why, words in gone.items():
        yield f"| {', '.join(f'`{word}`' for word in words)} | – | {_cell(why)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
