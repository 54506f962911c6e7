"""EXPOSE: ports that the container listens on. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import plain_list
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.builder.dockerfile.words import split_whitespace
from firkin.errors import DockerfileError
from firkin.text import whole_number

_HEX = frozenset("0123456789abcdefABCDEF")


class Expose(Instruction, frozen=True):
    """EXPOSE: port specifications, unexpanded."""

    ports: tuple[str, ...]


def parse(raw: RawInstruction) -> Expose:
    """Parse `EXPOSE PORT[-PORT][/PROTOCOL]...`; raises DockerfileError."""
    ports = split_whitespace(raw.rest)
    if not ports:
        raise DockerfileError("EXPOSE requires at least one argument", span=raw.span)
    parse_flags(raw)
    return Expose(raw, tuple(sorted(ports)))


def lower(node: Expose, state: StageState, context: LowerContext) -> None:
    """Add the ports; a range becomes one entry for each port. Raises DockerfileError."""
    found: list[str] = []
    for text in node.ports:
        try:
            expanded = context.lexer.expand_words(text, state.env)
        except ValueError as error:
            raise DockerfileError(str(error), span=node.span) from None
        for word in expanded.words:
            try:
                found += ports_of(word)
            except ValueError as error:
                hints = ("a port is a number up to 65535, or a range: `80`, `53/udp`, `8000-8010`",)
                raise DockerfileError(str(error), hints=hints, span=node.span) from None
            _warn(word, node, context)
        state.warn_unmatched(expanded.unmatched, node.span, context)
    state.ports.update(dict.fromkeys(found))
    state.record(f"EXPOSE {plain_list(found)}")


def _warn(text: str, node: Expose, context: LowerContext) -> None:
    mapping, _, container = text.rpartition(":")
    protocol = container.partition("/")[2]
    if protocol != protocol.lower():
        message = f"Defined protocol '{text}' in EXPOSE instruction should be lowercase"
        context.warn("ExposeProtoCasing", message, node.span)
    if mapping.strip(":"):
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
        context.warn("ExposeInvalidFormat", message, node.span)


def ports_of(text: str) -> list[str]:
    """Return `port/protocol` for `[[ip:]host:]port[-port][/protocol]`; raises ValueError.

    Mirrors: parsePortSpec.
    """
    *mapping, container = text.rsplit(":", 2)
    container, _, protocol = container.partition("/")
    protocol = protocol.lower()
    if not container:
        raise ValueError(f"no port specified: {text}<empty>")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    if len(mapping) == 2 and mapping[0] and not _is_address(mapping[0]):
        raise ValueError(f"invalid IP address: {mapping[0]}")
    first, last = _port_range(container, "containerPort")
    if mapping and mapping[-1]:
        host_first, host_last = _port_range(mapping[-1], "hostPort")
        if last - first != host_last - host_first and last != first:
            raise ValueError(
                f"invalid ranges specified for container and host Ports: {container} and {mapping[-1]}"
            )
    return [f"{port}/{protocol or 'tcp'}" for port in range(first, last + 1)]


def _port_range(text: str, what: str) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        first, last = int(parts[0]), int(parts[-1])
        if first <= last <= 0xFFFF:
            return first, last
    raise ValueError(f"invalid {what}: {text}")


def _is_address(text: str) -> bool:
    text = text.removeprefix("[").removesuffix("]")
    return _is_ipv6(text) if ":" in text else _is_ipv4(text)


def _is_ipv6(text: str) -> bool:
    pieces = text.split(":")
    if "." in pieces[-1]:
        if not _is_address(pieces.pop()):
            return False
        pieces += ["0", "0"]
    shortened = text.count("::")
    return (
        len(pieces) <= 8
        and (shortened == 1 or (shortened == 0 and len(pieces) == 8))
        and all(len(piece) <= 4 and _HEX.issuperset(piece) for piece in pieces)
    )


def _is_ipv4(text: str) -> bool:
    octets = text.split(".")
    return len(octets) == 4 and all(
        whole_number(octet, 255) is not None and (octet == "0" or octet[0] != "0") for octet in octets
    )
