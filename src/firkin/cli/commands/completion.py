"""`firkin completion`. I; only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.main import COMMANDS
from firkin.cli.options import COMMON
from firkin.cli.reference import bash_completion
from firkin.cli.run import Invocation, load_command, write_out
from firkin.errors import UsageError

USAGE = "bash"
ABOUT = (
    "Print a completion script; e.g. "
    "`firkin completion bash > ~/.local/share/bash-completion/completions/firkin`."
)
OPTIONS = tuple(row for row in COMMON if row.dest in ("help", "debug"))


def run(invocation: Invocation) -> int:
    """Print the script for the shell that was named."""
    if invocation.arguments.operands != ("bash",):
        raise UsageError(
            "`firkin completion` needs a shell",
            hints=("there is one for `bash`; zsh reads it after `autoload -U bashcompinit && bashcompinit`",),
        )
    write_out(bash_completion({name: load_command(module) for name, (module, _) in COMMANDS.items()}))
    return 0
