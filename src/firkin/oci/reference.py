"""Image references, familiar (`busybox`) and canonical (`docker.io/library/busybox:latest`). Pure.

Spec: distribution reference grammar; mirrors distribution/reference (ParseDockerRef, FamiliarString).
"""

from __future__ import annotations

import msgspec

from firkin.oci.digest import Digest, parse_digest

DOCKER_HUB = "docker.io"
DIGEST_NAME = "sha256"
"""No repository may have this name: `sha256:...` is a digest (docker: "refusing to create an ambiguous tag")."""
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
_MAX_NAME = 255


class Reference(msgspec.Struct, frozen=True):
    """A name for an image. `tag` and `digest` may both be set; then the digest decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        text = f"{self.registry}/{self.repository}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    @property
    def name(self) -> str:
        """`registry/repository`, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short spelling that people use: `busybox:latest`, `owner/app@sha256:…`."""
        text = str(self)
        if self.registry == DOCKER_HUB:
            text = text[len(DOCKER_HUB) + 1 :]
            text = text.removeprefix("library/") if text.count("/") == 1 else text
        return text

    def pinned(self, digest: Digest) -> Reference:
        """Return the name of a digest in this repository: `NAME@DIGEST`, without a tag."""
        return Reference(self.registry, self.repository, "", digest)

    @property
    def identifier(self) -> str:
        """The part that a request to a registry names: the digest if there is one, else the tag."""
        return self.digest or self.tag


def parse_reference(text: str, default_tag: str = "latest") -> Reference:
    """Parse a familiar or canonical reference; without tag and digest it gets `default_tag`.

    Raises ValueError that says what is wrong, e.g. upper-case letters in the repository.
    """
    rest, at, digest_text = text.partition("@")
    digest = _parse_digest(text, digest_text) if at else None
    name, tag = _split_tag(text, rest)
    registry, repository = _split_registry(name)
    _check_repository(text, repository)
    _check_registry(text, registry)
    if len(registry) + 1 + len(repository) > _MAX_NAME:
        raise ValueError(f"invalid reference format: `{text[:60]}…`: the name has over {_MAX_NAME} characters")
    if registry == DOCKER_HUB and len(name) == 64 and set(name) <= frozenset("0123456789abcdef"):
        raise ValueError(f"invalid reference format: `{text}`: 64 hex digits are no name")
    if not tag and digest is None:
        tag = default_tag
    return Reference(registry, repository, tag, digest)


def _parse_digest(text: str, digest: str) -> Digest:
    try:
        return parse_digest(digest)
    except ValueError as error:
        raise ValueError(f"invalid reference format: `{text}`: {error}") from None


def _split_tag(text: str, rest: str) -> tuple[str, str]:
    colon = rest.rfind(":")
    if colon <= rest.rfind("/"):
        return rest, ""
    tag = rest[colon + 1 :]
    if not is_tag(tag):
        raise ValueError(f"invalid reference format: `{text}`: `{tag}` is not a tag")
    return rest[:colon], tag


def is_tag(text: str) -> bool:
    """Say whether a text can be a tag."""
    return 0 < len(text) <= 128 and _TAG.issuperset(text) and text[0] not in ".-"


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first.lower() != first
    )
    registry, repository = (first, rest) if is_host else (DOCKER_HUB, name)
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _check_repository(text: str, repository: str) -> None:
    for part in repository.split("/"):
        if not _is_component(part):
            why = "must be lowercase" if part.lower() != part else f"`{part}` is not a path component"
            raise ValueError(f"invalid reference format: `{text}`: repository name {why}")


def _is_component(part: str) -> bool:
    # [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
    if not part or part[0] not in _LOWER or part[-1] not in _LOWER:
        return False
    separator = ""
    for char in part:
        if char in _LOWER:
            if separator and separator not in (".", "_", "__") and set(separator) != {"-"}:
                return False
            separator = ""
        elif char in "._-":
            separator += char
        else:
            return False
    return True


def _check_registry(text: str, registry: str) -> None:
    is_host, port = (_split_address if registry.startswith("[") else _split_host)(registry)
    if not is_host:
        raise ValueError(f"invalid reference format: `{text}`: `{registry}` is not a host")
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"invalid reference format: `{text}`: `{port}` is not a port")


def _split_address(registry: str) -> tuple[bool, str]:
    """Say whether `[address]:port` has an IPv6 address; return the port."""
    host, bracket, port = registry[1:].partition("]")
    return bool(bracket) and set(host) <= frozenset("0123456789abcdefABCDEF:"), port.removeprefix(":")


def _split_host(registry: str) -> tuple[bool, str]:
    """Say whether `host:port` has the name of a host; return the port."""
    host, colon, port = registry.partition(":")
    labels = host.split(".")
    is_host = _HOST.issuperset(host) and all(label and label[0] != "-" and label[-1] != "-" for label in labels)
    return is_host and not (colon and not port), port
