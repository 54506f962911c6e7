"""`firkin completion`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation, load_command
from firkin.cli.commands import COMMANDS
from firkin.cli.completions import SHELLS
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.errors import UsageError

USAGE = "bash|zsh|fish"
ABOUT = (
    "Print a completion script for a shell, e.g. "
    "`firkin completion bash > ~/.local/share/bash-completion/completions/firkin`. Put that for zsh into a directory "
    "of `$fpath` as `_firkin`, that for fish into `~/.config/fish/completions/firkin.fish`."
)
OPTIONS = tuple(row for row in COMMON if row.dest in ("help", "debug"))


def run(invocation: Invocation) -> int:
    """Print the script for the shell that was named. Raises UsageError."""
    operands = invocation.arguments.operands
    if len(operands) != 1 or operands[0] not in SHELLS:
        raise UsageError("`firkin completion` needs the name of a shell", hints=(f"it is one of {', '.join(SHELLS)}",))
    commands = {name: (summary, load_command(module)) for name, (module, summary) in COMMANDS.items()}
    write_out(SHELLS[operands[0]](commands))
    return 0
