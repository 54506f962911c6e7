"""Options: one row each. The parser, the reference pages, completion and the parity test come from these rows. Pure.

Only `cli` may import this module. The environment variables in `environ` replace an option that was not given; the
first one that is set counts. `values` and `requests` define what an option's value means.
"""

from __future__ import annotations

from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    # flag: true or false · text: last one wins · many: repeatable · count: a number · choice: one of `choices`
    # refused: other tools have it, it cannot work here (`help` says what to do) · off: may only be switched off
    # ignored: has no meaning here and does no harm
    Kind = Literal["flag", "text", "many", "count", "choice", "refused", "off", "ignored"]


class Option(NamedTuple):
    """One option. `flags` are its spellings, the canonical one first; `dest` is its name in Arguments."""

    flags: tuple[str, ...]
    dest: str
    kind: Kind
    help: str
    metavar: str = ""
    environ: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    takes_value: bool = True

    @property
    def wants_value(self) -> bool:
        """Whether the next word belongs to the option (`--tag app:1`)."""
        spoken = self.kind in ("refused", "ignored")
        return self.takes_value if spoken else self.kind != "flag"


# Whole rows, as defaults take longer to fill in than all the rest.
def flag(flags: str, dest: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    """Return the row of an option that is on or off."""
    return Option(tuple(flags.split()), dest, "flag", help, "", environ, (), False)


def text(flags: str, dest: str, metavar: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    """Return the row of an option whose last value counts."""
    return Option(tuple(flags.split()), dest, "text", help, metavar, environ, (), True)


def many(flags: str, dest: str, metavar: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    """Return the row of an option that can be repeated."""
    return Option(tuple(flags.split()), dest, "many", help, metavar, environ, (), True)


def count(flags: str, dest: str, metavar: str, help: str) -> Option:
    """Return the row of an option with a number."""
    return Option(tuple(flags.split()), dest, "count", help, metavar, (), (), True)


def choice(flags: str, dest: str, choices: str, help: str, environ: tuple[str, ...] = ()) -> Option:
    """Return the row of an option with one of the values of `choices` (`a|b`)."""
    words = tuple(choices.split("|"))
    return Option(tuple(flags.split()), dest, "choice", help, choices, environ, words, True)


def refused(flags: str, hint: str, *, takes_value: bool = True) -> Option:
    """Return the row of an option that cannot work here; `hint` says what to do."""
    return Option(tuple(flags.split()), "", "refused", hint, "", (), (), takes_value)


def ignored(flags: str, help: str, *, takes_value: bool = True) -> Option:
    """Return the row of an option that has no meaning here and does no harm."""
    return Option(tuple(flags.split()), "", "ignored", help, "", (), (), takes_value)


COMMON = (
    text("--root", "root", "DIR", "keep images and cache in DIR", ("FIRKIN_ROOT",)),
    text("--config", "config", "FILE", "read FILE after the usual config.toml files", ("FIRKIN_CONFIG",)),
    flag("--debug -D", "debug", "show tracebacks and what else helps to find a fault", ("FIRKIN_DEBUG",)),
    flag("--help -h", "help", "show this help"),
)

REGISTRY = (
    many("--registry-mirror", "registry_mirror", "REGISTRY=URL",
          "ask URL for the images of REGISTRY first, e.g. `docker.io=http://127.0.0.1:5000`"),
    flag("--no-mirror-fallback", "no_mirror_fallback", "do not ask the registry itself when its mirrors fail"),
    many("--insecure-registry", "insecure_registry", "HOST[:PORT]", "speak plain HTTP with this registry"),
    many("--tls-skip-verify", "tls_skip_verify", "HOST[:PORT]", "accept any certificate of this registry (`*`: all)"),
    many("--tls-ca", "tls_ca", "[HOST=]FILE", "trust the certificates of FILE as well (for HOST only)"),
    many("--tls-cert", "tls_cert", "HOST=CERT,KEY", "present a client certificate to HOST"),
    many("--auth-file", "auth_file", "FILE", "look for credentials in FILE (a docker config.json) first"),
    count("--registry-retries", "registry_retries", "N", "try a request again, up to N times, when it may work later"),
    count("--registry-parallel", "registry_parallel", "N", "move up to N layers at a time"),
)  # fmt: skip

PROGRESS = (
    choice("--progress", "progress", "auto|plain|tty|json|rawjson|quiet|none",
            "how to show what is done (auto: tty on a terminal, else plain)", ("FIRKIN_PROGRESS", "BUILDKIT_PROGRESS")),
    flag("--quiet -q", "quiet", "print errors and the result only (of a build: the image id)"),
)  # fmt: skip

def by_flag(rows: tuple[Option, ...]) -> Mapping[str, Option]:
    """Return the rows by every spelling; two rows that share a spelling are an error in the tables."""
    return {flag: row for row in rows for flag in row.flags}
