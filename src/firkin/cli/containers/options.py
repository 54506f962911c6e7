"""Options of `start`, `attach` and `exec`, and those that others share: one row each. Pure. Only `cli` may import it.

Mirrors: docker/cli cli/command/container (start.go, attach.go, exec.go).
"""

from __future__ import annotations

from firkin.cli.options import COMMON as _COMMON
from firkin.cli.options import flag, many, refused, text

# `-h` is the host name's short form here.
COMMON = tuple(row._replace(flags=("--help",)) if row.dest == "help" else row for row in _COMMON)
KEYS = text("--detach-keys", "detach_keys", "KEYS",
            "what detaches from a terminal, e.g. `ctrl-a,d` (default: `ctrl-p,ctrl-q`)")
PROXY = flag("--sig-proxy", "sig_proxy", "pass signals on to the process (default: true)")

PROCESS = (
    many("--env -e", "env", "NAME[=VALUE]", "set a variable; without VALUE, from the environment"),
    many("--env-file", "env_file", "FILE", "set the variables of FILE, one NAME=VALUE a line"),
    flag("--interactive -i", "interactive", "keep standard input open"),
    flag("--tty -t", "tty", "give it a terminal"),
    text("--user -u", "user", "USER[:GROUP]", "run as this user, by name or number"),
    text("--workdir -w", "workdir", "DIR", "start in DIR of the container; it is made if it is absent"),
    flag("--privileged", "privileged", "give all rights that this user has to give"),
)  # fmt: skip

START = (
    flag("--attach -a", "attach", "show its output and pass signals on"),
    flag("--interactive -i", "interactive", "pass standard input on"),
    KEYS,
    refused("--checkpoint", "containers cannot be frozen into files"),
    refused("--checkpoint-dir", "containers cannot be frozen into files"),
    *_COMMON,
)
ATTACH = (flag("--no-stdin", "no_stdin", "do not pass standard input on"), KEYS, PROXY, *_COMMON)
EXEC = (flag("--detach -d", "detach", "run it in the background"), KEYS, *PROCESS, *_COMMON)
