"""Makes the tree of a template. Pure. Mirrors: text/template/parse parse.go."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from firkin.templates import constants
from firkin.templates.failure import TemplateError, broken
from firkin.templates.lex import Token, bad_number, tokens_of
from firkin.templates.nodes import (
    Action,
    Body,
    Break,
    Chain,
    Continue,
    Dot,
    Field,
    Function,
    If,
    Literal,
    Nil,
    Node,
    Operand,
    Pipeline,
    Range,
    Text,
    Use,
    Variable,
    With,
)

MOST_NESTED = 60
"""How deep blocks and parentheses may be nested; each level takes some frames of Python's stack."""

_KEYWORDS = frozenset("block break continue define else end if nil range template with".split())
_OPERANDS = frozenset((".", "field", "variable", "word", "number", "char", "string", "("))
_ENDS = ("end", "else")


def parse(text: str, functions: Collection[str]) -> tuple[Body, dict[str, Body]]:
    """Return the tree of a template and the templates that it defines. Raises TemplateError."""
    parser = _Parser(text, functions)
    return parser.whole(), parser.defined


class _Parser:
    """One template while it is read."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        self.text = text
        self.functions = functions
        self.defined: dict[str, Body] = {}
        self._tokens: Iterator[Token] = tokens_of(text)
        self._ahead: list[Token] = []
        self._variables = ["$"]
        self._depth = 0
        self._ranges = 0
        self._last = 0  # where the token that was taken last ends

    # Tokens

    def _peek(self, offset: int = 0) -> Token:
        while len(self._ahead) <= offset:
            self._ahead.append(next(self._tokens))
        return self._ahead[offset]

    def _next(self) -> Token:
        token = self._peek()
        del self._ahead[0]
        self._last = token.at + len(token.text)
        return token

    def _skip_space(self) -> Token:
        """Return the next token that is no space, without taking it."""
        while self._peek().kind == "space":
            self._next()
        return self._peek()

    def _error(self, at: int, why: str) -> TemplateError:
        return broken(self.text, at, why)

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        shown = "EOF" if token.kind == "end" else f"<{token.text}>" if token.text in _KEYWORDS else f'"{token.text}"'
        return self._error(token.at, f"unexpected {shown} in {context}")

    def _take(self, kind: str, context: str) -> Token:
        token = self._skip_space()
        if token.kind != kind:
            raise self._unexpected(token, context)
        return self._next()

    # Blocks

    def whole(self) -> Body:
        """Return the tree of the template itself."""
        body, word = self._body(top=True)
        if word.kind != "end":
            raise self._error(word.at, f"unexpected {{{{{word.text}}}}}")
        return body

    def _body(self, *, top: bool = False) -> tuple[Body, Token]:
        """Return nodes up to `{{end}}`, `{{else` or the end, and the token that ended them."""
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "end":
                return tuple(nodes), token
            if token.kind == "text":
                nodes.append(Text(token.text))
                continue
            word = self._skip_space()
            name = word.text if word.kind == "word" else ""
            if name in _ENDS:
                return tuple(nodes), self._next()
            if name == "define" and top:
                self._define()
                continue
            nodes.append(self._action(name, word))

    def _action(self, name: str, word: Token) -> Node:
        if name in ("if", "with", "range"):
            return self._control(name)
        if name in ("break", "continue"):
            self._next()
            self._take("}}", f"{{{{{name}}}}}")
            if not self._ranges:
                raise self._error(word.at, f"{{{{{name}}}}} outside {{{{range}}}}")
            return Break(word.at) if name == "break" else Continue(word.at)
        if name == "template":
            return self._use()
        if name == "block":
            return self._block()
        return Action(self._pipeline("command", "}}"))

    def _enter(self, at: int) -> None:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise self._error(at, "nested too deep")

    def _control(self, name: str) -> Node:
        at = self._next().at
        self._enter(at)
        mark = len(self._variables)
        pipeline = self._pipeline(name, "}}")
        self._ranges += name == "range"
        then, word = self._body()
        self._ranges -= name == "range"
        otherwise: Body = ()
        if word.text == "else":
            otherwise, word = self._else(name, word)
        if word.kind == "end":
            raise self._error(word.at, "unexpected EOF")
        if word.text == "end":
            self._take("}}", "end")
        del self._variables[mark:]
        self._depth -= 1
        kinds: dict[str, type[If | With | Range]] = {"if": If, "with": With, "range": Range}
        return kinds[name](pipeline, then, otherwise)

    def _else(self, name: str, word: Token) -> tuple[Body, Token]:
        """Return what stands after `{{else`, and the word after that. `{{else if}}` shares its `{{end}}`."""
        after = self._skip_space()
        if after.kind == "word" and after.text == name and name != "range":
            nested = self._control(name)
            # The inner block took the one `{{end}}` that both have.
            return (nested,), Token("closed", "", after.at)
        self._take("}}", "else")
        body, end = self._body()
        if end.text == "else":
            raise self._error(end.at, "expected end; found {{else}}")
        return body, end

    def _define(self) -> None:
        at = self._next().at
        name = self._name(self._take("string", "define clause"))
        self._take("}}", "define clause")
        self._add(at, name)

    def _add(self, at: int, name: str) -> None:
        self._enter(at)
        outside, self._variables = self._variables, ["$"]
        ranges, self._ranges = self._ranges, 0
        body, word = self._body()
        self._variables, self._ranges = outside, ranges
        if word.text != "end":
            raise self._unexpected(word, "define clause")
        self._take("}}", "end")
        self._depth -= 1
        self.defined[name] = body

    def _use(self) -> Node:
        at = self._next().at
        name = self._name(self._take("string", "template clause"))
        pipeline = None
        if self._skip_space().kind == "}}":
            self._next()
        else:
            pipeline = self._pipeline("template clause", "}}")
        return Use(at, self.text[at : self._last].removesuffix("}}"), name, pipeline)

    def _block(self) -> Node:
        at = self._next().at
        name = self._name(self._take("string", "block clause"))
        pipeline = self._pipeline("block clause", "}}")
        self._add(at, name)
        return Use(at, f'template "{name}"', name, pipeline)

    def _name(self, token: Token) -> str:
        try:
            return constants.unquote(token.text)
        except ValueError as error:
            raise self._error(token.at, str(error)) from None

    # Pipelines

    def _pipeline(self, context: str, closing: str) -> Pipeline:
        """Return the pipeline up to its closing token, which is taken."""
        first = self._skip_space()
        variables, assigns = self._declared(context)
        commands: list[tuple[Operand, ...]] = []
        while True:
            token = self._skip_space()
            if token.kind == closing:
                if not commands:
                    raise self._error(token.at, f"missing value for {context}")
                text = self.text[first.at : self._last].rstrip()
                self._next()
                break
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            commands.append(self._command())
            if len(commands) > 1 and isinstance(commands[-1][0], (Literal, Nil, Dot)):
                raise self._error(token.at, f"non executable command in pipeline stage {len(commands)}")
        if not assigns:
            self._variables += variables
        return Pipeline(first.at, text, variables, assigns, tuple(commands))

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        """Return the variables that a pipeline sets, and whether they exist already."""
        found: list[str] = []
        while self._skip_space().kind == "variable":
            variable = self._peek()
            offset = 1 + (self._peek(1).kind == "space")
            after = self._peek(offset)
            if after.kind not in (":=", "=", ",") or (after.kind == "," and context != "range"):
                if found:
                    raise self._unexpected(after, "range")
                break
            del self._ahead[: offset + 1]
            self._last = after.at + len(after.text)
            found.append(variable.text)
            if after.kind == ",":
                if len(found) > 1:
                    raise self._error(after.at, "too many declarations in range")
                continue
            if after.kind == "=":
                self._known(variable.at, *found)
            return tuple(found), after.kind == "="
        if found:
            raise self._unexpected(self._peek(), "range")
        return (), False

    def _known(self, at: int, *names: str) -> None:
        for name in names:
            if name not in self._variables:
                raise self._error(at, f'undefined variable "{name}"')

    def _command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        start = self._skip_space()
        while True:
            self._skip_space()
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            token = self._peek()
            if token.kind == "space":
                continue
            text = self.text[start.at : token.at].rstrip()
            if token.kind == "|":
                self._next()
            elif token.kind not in ("}}", ")"):
                raise self._unexpected(token, "operand")
            if not operands:
                raise self._error(start.at, "empty command")
            if isinstance(operands[0], Function):
                operands[0] = operands[0]._replace(text=text)
            return tuple(operands)

    def _operand(self) -> Operand | None:
        start = self._peek()
        if start.kind not in _OPERANDS:
            return None
        term = self._term(self._next())
        names = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        if not names:
            return term
        text = self.text[start.at : self._last]
        if isinstance(term, (Field, Variable)):
            return term._replace(text=text, names=(*term.names, *names))
        if isinstance(term, (Literal, Nil, Dot)):
            raise self._error(start.at, f'unexpected . after term "{term.text}"')
        return Chain(start.at, text, term, tuple(names))

    def _term(self, token: Token) -> Operand:
        kind, text, at = token
        if kind == ".":
            return Dot(at, text)
        if kind == "field":
            return Field(at, text, (text[1:],))
        if kind == "variable":
            self._known(at, text)
            return Variable(at, text, text, ())
        if kind == "(":
            self._enter(at)
            pipeline = self._pipeline("parenthesized pipeline", ")")
            self._depth -= 1
            return pipeline
        if kind == "word":
            return self._worded(token)
        return self._constant(token)

    def _worded(self, token: Token) -> Operand:
        if token.text in ("true", "false"):
            return Literal(token.at, token.text, token.text == "true")
        if token.text == "nil":
            return Nil(token.at, token.text)
        if token.text in _KEYWORDS:
            raise self._unexpected(token, "command")
        if token.text not in self.functions:
            raise self._error(token.at, f'function "{token.text}" not defined')
        return Function(token.at, token.text, token.text)

    def _constant(self, token: Token) -> Operand:
        try:
            if token.kind == "number":
                return Literal(token.at, token.text, constants.number(token.text))
            if token.kind == "char":
                return Literal(token.at, token.text, constants.character(token.text))
            return Literal(token.at, token.text, constants.unquote(token.text))
        except ValueError as error:
            if token.kind == "number":
                raise bad_number(self.text, token.at, token.text) from None
            raise self._error(token.at, str(error)) from None
