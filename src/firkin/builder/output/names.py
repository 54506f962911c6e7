"""The names that an image gets. Pure."""

from __future__ import annotations

from firkin.errors import UsageError
from firkin.oci.reference import Reference, parse_reference


def parse_names(tags: tuple[str, ...]) -> tuple[Reference, ...]:
    """Parse -t values, each name once; raises UsageError."""
    names = []
    for tag in tags:
        try:
            names.append(parse_reference(tag))
        except ValueError as error:
            raise UsageError(
                f"invalid tag `{tag}`: {error}", code="tag", hints=("names are lower case: `registry/app:1.0`",)
            ) from error
    return tuple(dict.fromkeys(names))
