"""Hints as users of the command line read them."""

from firkin.cli.hints import COMMAND_LINE
from firkin.errors import FirkinError
from firkin.hints import hint_texts


def hints_of(error: FirkinError) -> tuple[str, ...]:
    """Return the hints of an error in the words of the command line."""
    return hint_texts(error.hints, COMMAND_LINE)
