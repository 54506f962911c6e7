"""`firkin completion`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import sys

from firkin.about.as_docker import program_name
from firkin.cli.command import Invocation, load_command
from firkin.cli.commands import COMMANDS
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.errors import UsageError

USAGE = "[OPTIONS] bash|zsh|fish"
ABOUT = (
    "Print a completion script for a shell, e.g. "
    "`firkin completion bash > ~/.local/share/bash-completion/completions/firkin`. Put that for zsh into a directory "
    "of `$fpath` as `_firkin`, that for fish into `~/.config/fish/completions/firkin.fish`. Called by the name "
    "`docker`, it prints the script for that name."
)
OPTIONS = (
    Option(("--names",), "names", "flag", "print the names of images, which the scripts ask for", takes_value=False),
    Option(("--no-descriptions",), "", "ignored", "a shell shows them or not", takes_value=False),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Print the script for the shell that was named. Raises UsageError."""
    operands = invocation.arguments.operands
    if invocation.arguments.flag("names"):
        from firkin.store.names import names_in

        names = names_in(settings_of(*invocation).root)
        write_out("".join(f"{name}\n" for name in names))
        return 0
    from firkin.cli.completions import SHELLS

    if len(operands) != 1 or operands[0] not in SHELLS:
        raise UsageError("`firkin completion` needs the name of a shell", hints=(f"it is one of {', '.join(SHELLS)}",))
    commands = {name: (summary, load_command(module)) for name, (module, summary) in COMMANDS.items()}
    write_out(SHELLS[operands[0]](commands, program_name(sys.argv[0])))
    return 0
