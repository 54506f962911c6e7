"""Names of images as users type them. Pure."""

from __future__ import annotations

from firkin.errors import UsageError
from firkin.oci.digest import whole_digest
from firkin.oci.reference import DOCKER_HUB, Reference, parse_reference

NONE = "<none>"


def read_reference(text: str, default_tag: str = "latest") -> Reference:
    """Parse the name of an image in a registry, or a new name, as the user typed it; raises UsageError."""
    if whole_digest(text) is not None or text.startswith("sha256:"):
        raise UsageError(f"`{text}` is a digest, not a name", hints=("a registry needs a name as well: `NAME@DIGEST`",))
    try:
        return parse_reference(text, default_tag)
    except ValueError as error:
        raise UsageError(str(error)) from None


def read_tag(text: str) -> Reference:
    """Parse a name that is to point to an image; raises UsageError, also for a name with a digest."""
    if text.startswith("sha256:"):
        raise UsageError("refusing to create an ambiguous tag using digest algorithm as name")
    reference = read_reference(text)
    if reference.digest is not None:
        raise UsageError(
            "refusing to create a tag with a digest reference",
            hints=(f"`{reference.familiar}` has a digest; a tag is a name without one",),
        )
    return reference


def familiar(name: str) -> str:
    """Return the short spelling of a canonical name; names that others wrote stay as they are."""
    repository = repository_of(name)
    short = _short(repository)
    if short:
        return short + name[len(repository) :]
    try:
        return parse_reference(name).familiar
    except ValueError:
        return name


def repository_and_tag(name: str) -> tuple[str, str]:
    """Return the two parts of a name of the store in their short spelling; `<none>` stands for a missing one."""
    if not name:
        return NONE, NONE
    repository = repository_of(name)
    short = _short(repository)
    if not short:
        try:
            canonical = str(parse_reference(name))
        except ValueError:
            return name, ""
        return repository_and_tag(canonical)
    return short, name[len(repository) :].partition("@")[0].removeprefix(":") or NONE


def _short(repository: str) -> str:
    """Return the short spelling of a canonical repository, "" if it begins with no host.

    A list of a thousand images has no time to parse all names, which were checked when they were given.
    """
    host, slash, path = repository.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return ""
    if host != DOCKER_HUB:
        return repository
    first, slash, rest = path.partition("/")
    return rest if first == "library" and slash and "/" not in rest else path


def repository_of(name: str) -> str:
    """Return a canonical name without its tag or digest."""
    head = name.partition("@")[0]
    colon = head.rfind(":")
    return head[:colon] if colon > head.rfind("/") else head
