"""Templates: a text is parsed once and executed about each value. Pure. The way in for other rooms."""

from __future__ import annotations

from firkin.templates.execute import Execution
from firkin.templates.failure import TemplateError
from firkin.templates.functions import FUNCTIONS, HEADER_FUNCTIONS
from firkin.templates.nodes import Body
from firkin.templates.parse import parse
from firkin.templates.values import json_text
from firkin.tuples import NamedTuple

LONGEST = 1 << 20
"""Characters that a template may have."""
_NAMES = frozenset(FUNCTIONS) | {"and", "or"}


class Template(NamedTuple):
    """A template that was read."""

    text: str
    body: Body
    defined: dict[str, Body]

    def execute(self, data: object, *, header: bool = False, indent: int = 0) -> str:
        """Return the template written about a value (`values`); with `header` about the headers of a table.

        `indent` is what the function `json` indents by, as in buildx. Raises TemplateError.
        """
        functions = HEADER_FUNCTIONS if header else FUNCTIONS
        if indent:
            functions = {**functions, "json": (1, 1, lambda value: json_text(value, indent=indent))}
        execution = Execution(self.text, self.defined, functions, data)
        try:
            execution.body(self.body)
        except RecursionError:
            raise TemplateError("template parsing error: the template or its data is nested too deep") from None
        return "".join(execution.written)


def parse_template(text: str) -> Template:
    """Read a template. Raises TemplateError."""
    if len(text) > LONGEST:
        raise TemplateError("template parsing error: the template is too long")
    try:
        body, defined = parse(text, _NAMES)
    except RecursionError:
        raise TemplateError("template parsing error: the template is nested too deep") from None
    return Template(text, body, defined)
