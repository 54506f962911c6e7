"""Writes a template about data. Pure. Mirrors: text/template exec.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from firkin.templates.failure import TemplateError
from firkin.templates.functions import Call, call
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
from firkin.templates.values import (
    MOST_CHARACTERS,
    NO_LIST,
    NO_MAP,
    NO_POINTER,
    Record,
    is_list,
    is_true,
    shown,
    sorted_items,
    text_of,
    type_name,
)

MOST_STEPS = 500_000
"""How many nodes one execution may pass; a template that needs more does not end, or is no format."""
_DEEPEST_USE = 40
_SHOWN = 20  # characters of the template in a message
_NOTHING: Any = object()  # no value comes from the command before


class _Leave(Exception):
    """`break` or `continue` of the innermost range."""

    def __init__(self, node: Break | Continue) -> None:
        super().__init__()
        self.node = node


class Execution:
    """One template that is being written about one value."""

    def __init__(
        self,
        text: str,
        defined: Mapping[str, Body],
        functions: Mapping[str, tuple[int, int | None, Call]],
        data: object,
    ) -> None:
        self.written: list[str] = []
        self._text = text
        self._defined = defined
        self._functions = functions
        self._dot = data
        self._variables: list[tuple[str, Any]] = [("$", data)]
        self._name = ""
        self._steps = 0
        self._size = 0
        self._uses = 0

    def _error(self, node: Operand | Use, why: str) -> TemplateError:
        before = self._text[: node.at]
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n") - 1
        context = node.text if len(node.text) <= _SHOWN else f"{node.text[:_SHOWN]}..."
        return TemplateError(
            f'template parsing error: template: :{line}:{column}: executing "{self._name}" at <{context}>: {why}'
        )

    # Nodes

    def body(self, nodes: Body) -> None:
        """Write nodes. Raises TemplateError."""
        for node in nodes:
            self._step()
            if isinstance(node, Text):
                self._write(node.text)
            else:
                self._node(node)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TemplateError("template parsing error: the template takes too many steps")

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > MOST_CHARACTERS:
            raise TemplateError("template parsing error: the template writes too much")
        self.written.append(text)

    def _node(self, node: Node) -> None:
        if isinstance(node, Action):
            value = self._pipeline(node.pipeline)
            if not node.pipeline.variables:
                self._write(shown(value))
        elif isinstance(node, (If, With)):
            self._choice(node)
        elif isinstance(node, Range):
            self._range(node)
        elif isinstance(node, Use):
            self._use(node)
        elif isinstance(node, (Break, Continue)):
            raise _Leave(node)

    def _choice(self, node: If | With) -> None:
        mark, dot = len(self._variables), self._dot
        value = self._pipeline(node.pipeline)
        if not is_true(value):
            self.body(node.otherwise)
        else:
            if isinstance(node, With):
                self._dot = value
            self.body(node.then)
        self._dot = dot
        del self._variables[mark:]

    def _range(self, node: Range) -> None:
        mark, dot = len(self._variables), self._dot
        names = node.pipeline.variables
        value = self._commands(node.pipeline)
        if not node.pipeline.assigns:
            self._variables += [(name, value) for name in names]
        inner = len(self._variables)
        ran = False
        for key, element in self._elements(node.pipeline, value):
            ran = True
            self._step()
            # One variable is the element; two are its place and the element.
            for name, item in zip(names, (element,) if len(names) == 1 else (key, element)):
                self._set(name, item)
            self._dot = element
            try:
                self.body(node.then)
            except _Leave as leave:
                if isinstance(leave.node, Break):
                    break
            finally:
                del self._variables[inner:]
        self._dot = dot
        if not ran:
            self.body(node.otherwise)
        del self._variables[mark:]

    def _elements(self, node: Pipeline, value: Any) -> Iterator[tuple[object, object]]:
        if value is None or value is NO_LIST or value is NO_MAP:
            return iter(())
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        if isinstance(value, Mapping) and not isinstance(value, Record):
            return iter(sorted_items(value))
        if not is_list(value):
            raise self._error(node, f"range can't iterate over {text_of(value)}")
        return enumerate(value)

    def _use(self, node: Use) -> None:
        body = self._defined.get(node.name)
        if body is None:
            raise self._error(node, f'template "{node.name}" not defined')
        self._uses += 1
        if self._uses > _DEEPEST_USE:
            raise self._error(node, "exceeded maximum template depth")
        outside = self._dot, self._variables, self._name
        self._dot = self._pipeline(node.pipeline) if node.pipeline is not None else None
        self._variables = [("$", self._dot)]
        self._name = node.name
        self.body(body)
        self._dot, self._variables, self._name = outside
        self._uses -= 1

    # Variables

    def _set(self, name: str, value: object) -> None:
        for place in range(len(self._variables) - 1, -1, -1):
            if self._variables[place][0] == name:
                self._variables[place] = (name, value)
                return

    def _get(self, node: Variable) -> object:
        for name, value in reversed(self._variables):
            if name == node.name:
                return value
        raise self._error(node, f"undefined variable: {node.name}")

    # Pipelines

    def _pipeline(self, node: Pipeline) -> Any:
        value = self._commands(node)
        for name in node.variables:
            if node.assigns:
                self._set(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _commands(self, node: Pipeline) -> Any:
        value = _NOTHING
        for command in node.commands:
            self._step()
            value = self._command(command, value)
        return value

    def _command(self, operands: tuple[Operand, ...], final: Any) -> Any:
        first = operands[0]
        if isinstance(first, Function):
            return self._function(first, operands[1:], final)
        if isinstance(first, (Field, Chain, Variable)):
            return self._fields(first, operands[1:], final)
        if len(operands) > 1 or final is not _NOTHING:
            raise self._error(first, f"can't give argument to non-function {first.text}")
        if isinstance(first, Nil):
            raise self._error(first, "nil is not a command")
        return self._operand(first)

    def _operand(self, node: Operand) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Dot):
            return self._dot
        if isinstance(node, Nil):
            return None
        if isinstance(node, Pipeline):
            return self._pipeline(node)
        if isinstance(node, Function):
            return self._function(node, (), _NOTHING)
        return self._fields(node, (), _NOTHING)

    def _function(self, node: Function, operands: Sequence[Operand], final: Any) -> Any:
        if node.name in ("and", "or"):
            return self._logic(node, operands, final)
        arguments = self._arguments(operands, final)
        try:
            return call(node.name, arguments, self._functions)
        except ValueError as error:
            raise self._error(node, str(error)) from None

    def _arguments(self, operands: Sequence[Operand], final: Any) -> list[Any]:
        found = [self._operand(operand) for operand in operands]
        return found if final is _NOTHING else [*found, final]

    def _logic(self, node: Function, operands: Sequence[Operand], final: Any) -> Any:
        """Return the first value that decides, or the last one."""
        decides = node.name == "or"
        value = _NOTHING
        for operand in operands:
            value = self._operand(operand)
            if is_true(value) == decides:
                return value
        value = value if final is _NOTHING else final
        if value is _NOTHING:
            raise self._error(node, f"wrong number of args for {node.name}: want at least 1 got 0")
        return value

    # Fields

    def _fields(self, node: Field | Chain | Variable, operands: Sequence[Operand], final: Any) -> Any:
        if isinstance(node, Field):
            value = self._dot
        elif isinstance(node, Variable):
            value = self._get(node)
        else:
            value = self._operand(node.operand)
        for name in node.names[:-1]:
            value = self._called(node, name, self._field(node, value, name), [])
        if not node.names:
            if operands or final is not _NOTHING:
                raise self._error(node, f"can't give argument to non-function {node.text}")
            return value
        return self._called(
            node, node.names[-1], self._field(node, value, node.names[-1]), self._arguments(operands, final)
        )

    def _field(self, node: Operand, value: Any, name: str) -> Any:
        if value is None or value is NO_MAP:
            return None
        if value is NO_POINTER:
            raise self._error(node, f"nil pointer evaluating {name}")
        if not isinstance(value, Mapping):
            raise self._error(node, f"can't evaluate field {name} in type {type_name(value)}")
        if name in value:
            return value[name]
        if not isinstance(value, Record):
            return None
        similar = [key for key in value if key.lower() == name.lower()]
        if len(similar) != 1:
            raise self._error(node, f"can't evaluate field {name}: there is none of this name")
        return value[similar[0]]

    def _called(self, node: Operand, name: str, value: Any, arguments: list[Any]) -> Any:
        if not callable(value):
            if arguments:
                raise self._error(node, f"{name} is not a method but has arguments")
            return value
        try:
            return cast(Any, value(*arguments))
        except (TypeError, ValueError) as error:
            raise self._error(node, f"error calling {name}: {error}") from None
