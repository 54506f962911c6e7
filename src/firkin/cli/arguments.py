"""Words of a command line → Arguments, by rows of options. Pure. Only `cli` may import it.

The spelling is that of Go's pflag, which docker uses: `--tag x`, `--tag=x`, `-t x`, `-tx`, `-t=x`, `-qt x`; flags
take `=true` or `=false`; options and operands may be mixed; `--` ends the options. No abbreviations.
"""

from __future__ import annotations

from firkin.cli.options import by_flag
from firkin.errors import UsageError
from firkin.text import whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firkin.cli.options import Option

OPTION = "option"
"""The code of errors about an option that is unknown or malformed, for which docker has an exit code of its own."""

_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


class Arguments:
    """The parsed words of a command line. `operands` are the words that belong to no option."""

    def __init__(self, values: Mapping[str, tuple[str, ...]], operands: tuple[str, ...]) -> None:
        self._values = values
        self.operands = operands

    def given(self, dest: str) -> bool:
        """Tell whether the option (or its environment variable) is set."""
        return dest in self._values

    def text(self, dest: str, default: str = "") -> str:
        """Return the last value given."""
        return self._values.get(dest, (default,))[-1]

    def flag(self, dest: str) -> bool:
        """Return whether the flag is on."""
        return self._values.get(dest, ("false",))[-1] == "true"

    def many(self, dest: str) -> tuple[str, ...]:
        """Return all values, in order."""
        return self._values.get(dest, ())

    def count(self, dest: str, default: int = 0) -> int:
        """Return the last number given."""
        return int(self._values[dest][-1]) if dest in self._values else default


def parse_arguments(
    words: Sequence[str], rows: tuple[Option, ...], environ: Mapping[str, str], *, interspersed: bool = True
) -> Arguments:
    """Sort words into options and operands; raises UsageError that names the nearest known option.

    Unless options and operands may be `interspersed`, the first operand ends the options.
    """
    known = by_flag(rows)
    values: dict[str, list[str]] = {}
    operands: list[str] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word == "--":
            operands += reversed(rest)
            break
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            _take(_find(known, name), name, value if equals else None, rest, values)
        elif word.startswith("-") and word != "-":
            _take_short(known, word, rest, values)
        else:
            operands.append(word)
            if not interspersed:
                operands += reversed(rest)
                break
    for row in rows:
        if row.dest and row.dest not in values:
            _from_environment(row, environ, values)
    return Arguments({dest: tuple(items) for dest, items in values.items()}, tuple(operands))


def _find(known: Mapping[str, Option], name: str) -> Option:
    row = known.get(name)
    if row is None:
        from firkin.cli.elsewhere_options import instead_of
        from firkin.text import nearest

        hint = instead_of(name, known)
        if hint is None:
            spelled = [flag for flag, row in known.items() if row.kind != "refused" and len(flag) > 2]
            meant = nearest(name, spelled, limit=1 if len(name) < 8 else 2) if len(name) > 2 else None
            hint = f"did you mean `{meant}`?" if meant else ""  # else the front names its help
        raise UsageError(f"unknown option `{name}`", code=OPTION, hints=(hint,) if hint else ())
    return row


def _take_short(known: Mapping[str, Option], word: str, rest: list[str], values: dict[str, list[str]]) -> None:
    position = 1
    while position < len(word):
        name = f"-{word[position]}"
        position += 1
        row = _find(known, name)
        tail = word[position:]
        if tail.startswith("="):
            _take(row, name, tail[1:], rest, values)
            return
        if row.wants_value and tail:
            _take(row, name, tail, rest, values)
            return
        _take(row, name, None, rest, values)


def _take(row: Option, name: str, value: str | None, rest: list[str], values: dict[str, list[str]]) -> None:
    if row.kind == "refused":
        raise UsageError(f"option `{name}` cannot work here", code=OPTION, hints=(row.help,))
    if value is None:
        if not row.wants_value:
            value = "true"
        elif rest:
            value = rest.pop()
        else:
            raise UsageError(f"option `{name}` needs a value: `{name} {row.metavar}`", code=OPTION)
    if row.kind == "ignored":
        return
    if row.kind == "off":
        if boolean_of(value) is not False:
            raise UsageError(f"option `{name}` cannot work here", code=OPTION, hints=(row.help,))
        return
    values.setdefault(row.dest, []).append(_checked(row, f"option `{name}`", value))


def _checked(row: Option, who: str, value: str) -> str:
    if row.kind == "flag":
        state = boolean_of(value)
        if state is None:
            raise UsageError(f"{who} is on or off: `{value}` is neither `true` nor `false`", code=OPTION)
        return "true" if state else "false"
    if row.kind == "count" and whole_number(value, 1 << 31) is None:
        raise UsageError(f"{who} needs a number, not `{value}`", code=OPTION)
    if row.kind == "choice" and value not in row.choices:
        raise UsageError(f"{who} cannot be `{value}`", code=OPTION, hints=(f"it is one of {', '.join(row.choices)}",))
    return value


def _from_environment(row: Option, environ: Mapping[str, str], values: dict[str, list[str]]) -> None:
    for variable in row.environ:
        value = environ.get(variable, "")
        if value:
            values[row.dest] = [_checked(row, f"environment variable `{variable}`", value)]
            return


def boolean_of(value: str) -> bool | None:
    """Return the truth value of a word, None if it is no boolean."""
    lowered = value.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
