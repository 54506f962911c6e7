"""Parses the words of an executor's command line into Values, as Go's pflag does. Pure. Only `cli` may import it.

`--x=v`, `--x v`; booleans are `--x` or `--x=true|false|1|0|t|f`, never `--x v`; `-dv`, `-d=v`, `-d v`; short booleans
may be bundled; `--` ends the flags. Words that belong to no flag are returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firkin.builder.dockerfile.gotext import parse_duration
from firkin.cli.kaniko.flags import Flag, takes_value
from firkin.errors import UsageError
from firkin.text import parse_bool, parse_integer


class Values:
    """The parsed words of a command line. Flags that were not given have their defaults; `words` belong to no flag."""

    def __init__(self, rows: tuple[Flag, ...]) -> None:
        self._defaults = {row.name: row.default for row in rows}
        self._given: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.deprecated: list[Flag] = []
        self.ignored: list[Flag] = []

    def __contains__(self, name: str) -> bool:
        return name in self._defaults

    def given(self, name: str) -> bool:
        """Tell whether the flag was given, or its environment variable is set."""
        return name in self._given

    def text(self, name: str) -> str:
        """Return the last value, or the default."""
        return self._given[name][-1] if name in self._given else self._defaults[name]

    def flag(self, name: str) -> bool:
        """Return whether a boolean is on."""
        return _is_true(self.text(name))

    def number(self, name: str) -> int:
        """Return an int."""
        return parse_integer(self.text(name))

    def seconds(self, name: str) -> float:
        """Return a duration in seconds."""
        return duration_s(self.text(name))

    def many(self, name: str) -> tuple[str, ...]:
        """Return all values in their order, none if the flag was not given."""
        return tuple(self._given.get(name, ()))

    def pairs(self, name: str) -> dict[str, str]:
        """Return `key=value`s; the last value of a key counts."""
        return dict(_pair(name, text) for text in self.many(name))

    def lists(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return all pairs of `a=b;c=d`s, in their order."""
        return tuple(_pair(name, part) for text in self.many(name) for part in text.split(";") if part)

    def take(self, row: Flag, value: str, who: str) -> None:
        """Add a value; raises UsageError if the flag does not accept it."""
        value = value.lower() if row.case == "any" else value
        _check(row, value, who)
        self._given.setdefault(row.dest, []).append(value)


def parse_words(words: Sequence[str], rows: tuple[Flag, ...], environ: Mapping[str, str]) -> Values:
    """Sort words into flags and others; raises UsageError that names the nearest flag."""
    values = Values(rows)
    long, short = {row.name: row for row in rows}, {row.short: row for row in rows if row.short}
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word == "--":
            values.words += reversed(rest)
            break
        if word.startswith("--"):
            _take_long(values, long, word[2:], rest)
        elif word.startswith("-") and word != "-":
            _take_short(values, short, word, rest)
        else:
            values.words.append(word)
    for row in rows:
        if row.environ in environ:
            _from_environment(values, row, environ[row.environ])
    return values


def _take_long(values: Values, rows: Mapping[str, Flag], text: str, rest: list[str]) -> None:
    name, equals, value = text.partition("=")
    row = rows.get(name)
    if row is None:
        from firkin.text import nearest

        meant = nearest(name, list(rows))
        hint = f"did you mean `--{meant}`?" if meant else "`--explain-flags` lists the flags"
        raise UsageError(f"unknown flag: --{name}", hints=(hint,))
    if not equals and takes_value(row):
        if not rest:
            raise UsageError(f"flag needs an argument: --{name}")
        value = rest.pop()
    _give(values, row, value if equals or takes_value(row) else "true", f"--{name}")


def _take_short(values: Values, rows: Mapping[str, Flag], word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        row = rows.get(letter)
        if row is None:
            hint = f"long flags have two dashes: `-{word}`" if len(word) > 2 else "`--explain-flags` lists the flags"
            raise UsageError(f"unknown shorthand flag: `{letter}` in {word}", hints=(hint,))
        if letters.startswith("="):
            _give(values, row, letters[1:], f"-{letter}")
            return
        if not takes_value(row):
            _give(values, row, "true", f"-{letter}")
            continue
        if not letters and not rest:
            raise UsageError(f"flag needs an argument: `{letter}` in {word}")
        _give(values, row, letters or rest.pop(), f"-{letter}")
        return


def _give(values: Values, row: Flag, value: str, who: str) -> None:
    if row.state == "refused":
        if row.kind != "bool" or _is_true(value):
            raise UsageError(f"flag `{who}` cannot work here", hints=(row.here.replace("`", ""),))
        return
    if row.state == "deprecated" and row not in values.deprecated:
        values.deprecated.append(row)
    if row.state == "no-op" and row not in values.ignored:
        values.ignored.append(row)
    values.take(row, value, f"flag `{who}`")


def _from_environment(values: Values, row: Flag, value: str) -> None:
    """Apply a flag's environment variable: its value is added to flags with many values, and wins for booleans."""
    who = f"environment variable {row.environ}"
    if row.kind == "bool":
        if value:
            values.take(row, "true" if row.name == "debug" and not is_boolean(value) else value, who)
    elif row.kind in ("many", "lists"):
        if value:
            values.take(row, value, who)
    elif value and not values.given(row.dest):
        values.take(row, value, who)


def _check(row: Flag, value: str, who: str) -> None:
    match row.kind:
        case "bool":
            if not is_boolean(value):
                raise UsageError(f"invalid argument `{value}` for {who}: it is true or false")
        case "int":
            try:
                parse_integer(value)
            except ValueError:
                raise UsageError(f"invalid argument `{value}` for {who}: it is a number") from None
        case "duration":
            try:
                duration_s(value)
            except ValueError as error:
                raise UsageError(f"invalid argument `{value}` for {who}: {error}",
                                 hints=("write e.g. `6h` or `1h30m`",)) from None  # fmt: skip
        case "pairs":
            _pair(row.name, value)
        case "lists":
            for part in filter(None, value.split(";")):
                _pair(row.name, part)
        case _:
            if row.choices and value not in row.choices.split("|"):
                raise UsageError(f"invalid argument `{value}` for {who}",
                                 hints=(f"it is one of {row.choices.replace('|', ', ')}",))  # fmt: skip


def _pair(name: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"invalid argument `{text}` for flag `--{name}`: it is no key=value")
    return key, value


def duration_s(text: str) -> float:
    """Read a duration in Go's spelling (`336h`, `1h30m`, `1.5s`), in seconds; raises ValueError."""
    return parse_duration(text) / 1_000_000_000


def is_boolean(text: str) -> bool:
    """Return whether strconv.ParseBool accepts a text."""
    try:
        parse_bool(text)
    except ValueError:
        return False
    return True


def _is_true(text: str) -> bool:
    return is_boolean(text) and parse_bool(text)
