"""Help texts and the reference page, made from the rows of options. Pure. `cli` only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from firkin.cli.command import Command, load_command
from firkin.cli.commands import COMMANDS, spellings
from firkin.cli.completions.words import shown
from firkin.cli.options import Option


def spelling(row: Option) -> str:
    """Return the spelling of an option, short form first: `-t, --tag NAME[:TAG]`."""
    flags = ", ".join(sorted(row.flags, key=len))
    return f"{flags} {row.metavar}".rstrip()


def help_of(row: Option) -> str:
    """Return the help of an option, with the environment variables that can replace it."""
    names = " or ".join(row.environ)
    return f"{row.help} [{names}]" if names else row.help


def command_help(name: str, command: Command, program: str = "firkin") -> str:
    """Return the text of `firkin NAME --help`, in docker's form."""
    lines = [f"Usage:  {program} {name} {command.USAGE}".rstrip(), "", *textwrap.wrap(command.ABOUT, 100), ""]
    others = spellings(name)
    if others:
        lines += ["Aliases:", *textwrap.wrap(", ".join(f"{program} {words}" for words in (name, *others)), 98,
                                             initial_indent="  ", subsequent_indent="  "), ""]  # fmt: skip
    lines.append("Options:")
    for row in shown(command.OPTIONS):
        head = f"  {spelling(row)}"
        body = textwrap.wrap(help_of(row).replace("`", ""), 68)
        if len(head) > 30:
            lines.append(head)
            head = ""
        for text in body:
            lines.append(f"{head:<32}{text}")
            head = ""
    return "\n".join(lines) + "\n"


def reference_page(commands: Mapping[str, Command]) -> str:
    """Return docs/cli.md."""
    lines = [
        "# Commands and options",
        "",
        "<!-- Made from src/firkin/cli/options.py by `python -m firkin.cli.reference`; a test compares them. -->",
        "",
        "Options are spelt as in `docker buildx build`: `--tag x`, `--tag=x`, `-t x`, `-tx`; `--` ends them.",
        "Variables in brackets stand in for an option that is not given. `firkin buildx build`, `image ls`,",
        "`image rm`, `builder prune`, `system prune` and their like are read as the commands here that do the same.",
        "",
    ]
    for name, command in commands.items():
        lines += [f"## firkin {name}", "", command.ABOUT, "", f"    firkin {name} {command.USAGE}".rstrip(), ""]
        lines += ["| option | meaning |", "| --- | --- |"]
        for row in shown(command.OPTIONS):
            lines.append(f"| `{_cell(spelling(row))}` | {_cell(help_of(row))} |")
        lines.append("")
        odd = [row for row in command.OPTIONS if not row.dest]
        if odd:
            lines += ["Known from elsewhere, and what they do here:", "", "| option | here |", "| --- | --- |"]
            for row in odd:
                state = {"refused": "refused", "off": "only `=false`", "ignored": "ignored"}[row.kind]
                lines.append(f"| `{_cell(spelling(row))}` | {state}: {_cell(row.help)} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Print docs/cli.md."""
    import sys

    sys.stdout.write(reference_page({name: load_command(module) for name, (module, _) in COMMANDS.items()}))


if __name__ == "__main__":
    main()
