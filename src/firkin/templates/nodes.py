"""The tree of a template. Pure. Mirrors: text/template/parse node.go.

`at` is where a node begins in the template's text, `text` what it says there.
"""

from __future__ import annotations

from firkin.tuples import NamedTuple


class Literal(NamedTuple):
    """A string, a number, true or false."""

    at: int
    text: str
    value: str | int | float | bool


class Nil(NamedTuple):
    """The word `nil`."""

    at: int
    text: str


class Dot(NamedTuple):
    """What the template is about at this place: `.`"""

    at: int
    text: str


class Field(NamedTuple):
    """Fields of dot: `.Config.Labels`."""

    at: int
    text: str
    names: tuple[str, ...]


class Variable(NamedTuple):
    """A variable, with fields: `$image.Id`."""

    at: int
    text: str
    name: str
    names: tuple[str, ...]


class Chain(NamedTuple):
    """Fields of what parentheses give: `(index .List 0).Name`."""

    at: int
    text: str
    operand: Operand
    names: tuple[str, ...]


class Function(NamedTuple):
    """The name of a function; `text` has its operands, if the function begins a command."""

    at: int
    text: str
    name: str


class Pipeline(NamedTuple):
    """Commands, each taking the value of the one before it, and the variables that get the last value."""

    at: int
    text: str
    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[tuple[Operand, ...], ...]


Operand = Literal | Nil | Dot | Field | Variable | Chain | Function | Pipeline


class Text(NamedTuple):
    """What is written as it stands."""

    text: str


class Action(NamedTuple):
    """A pipeline whose value is written, unless it sets variables."""

    pipeline: Pipeline


class If(NamedTuple):
    """`{{if PIPELINE}} then {{else}} otherwise {{end}}`."""

    pipeline: Pipeline
    then: Body
    otherwise: Body


class With(NamedTuple):
    """As If; dot is the value."""

    pipeline: Pipeline
    then: Body
    otherwise: Body


class Range(NamedTuple):
    """As With, once for each element."""

    pipeline: Pipeline
    then: Body
    otherwise: Body


class Use(NamedTuple):
    """Another template, with its dot."""

    at: int
    text: str
    name: str
    pipeline: Pipeline | None


class Break(NamedTuple):
    """The end of the innermost range."""

    at: int


class Continue(NamedTuple):
    """The next element of the innermost range."""

    at: int


Node = Text | Action | If | With | Range | Use | Break | Continue
Body = tuple[Node, ...]
