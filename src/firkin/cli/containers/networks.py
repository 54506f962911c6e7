"""`--network`, `--publish`, `--add-host` and their like. Pure. `cli.containers` only.

Mirrors: docker/cli opts/network.go, opts/hosts.go, and docker/go-connections nat.ParsePortSpec.
"""

from __future__ import annotations

from firkin.cli.arguments import Arguments
from firkin.cli.containers.values import invalid, wrong
from firkin.containers.documents.config import PortBinding
from firkin.errors import UsageError
from firkin.text import whole_number
from firkin.tuples import NamedTuple

_LARGEST_PORT = 65535
_PREDEFINED = ("", "default", "bridge", "host", "none")


class Ports(NamedTuple):
    """Exposed ports, and where ports are published."""

    exposed: dict[str, dict[str, str]]
    bindings: dict[str, tuple[PortBinding, ...] | None]


def ports(publish: tuple[str, ...], expose: tuple[str, ...]) -> Ports:
    """Read `--publish` and `--expose`. Raises UsageError."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: dict[str, tuple[PortBinding, ...] | None] = {}
    for text in publish:
        for port, binding in _published(_short_form(text)):
            exposed[port] = {}
            bindings[port] = (*(bindings.get(port) or ()), binding)
    for text in expose:
        if ":" in text:
            raise wrong(f"invalid port format for --expose: {text}")
        numbers, protocol = _split_protocol(text)
        try:
            first, last = _range(numbers)
        except ValueError as error:
            raise wrong(f"invalid range format for --expose: {text}, error: {error}") from None
        exposed.update({f"{number}/{protocol}": {} for number in range(first, last + 1)})
    return Ports(exposed, bindings)


def _short_form(text: str) -> str:
    """Return `published=8080,target=80` as `8080:80/tcp`."""
    if "=" not in text:
        return text
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals:
            raise wrong(f"invalid publish opts format (should be name=value but got '{field}')")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _split_protocol(text: str) -> tuple[str, str]:
    numbers, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise wrong(f"invalid proto: {text.partition('/')[2]}")
    return numbers, protocol


def _range(text: str) -> tuple[int, int]:
    """Return both ends of `80` or `80-90`. Raises ValueError. Mirrors: nat.ParsePortRange."""
    if not text:
        raise ValueError("empty string specified for ports.")
    first, dash, last = text.partition("-")
    start = whole_number(first, _LARGEST_PORT)
    end = whole_number(last, _LARGEST_PORT) if dash else start
    for number, word in ((start, first), (end, last)):
        if number is None:
            raise ValueError(f'strconv.ParseUint: parsing "{word}": invalid syntax')
    assert start is not None and end is not None
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _published(text: str) -> list[tuple[str, PortBinding]]:
    *address, host, target = (*([""] if ":" not in text else []), *text.split(":"))
    numbers, protocol = _split_protocol(target)
    if not numbers:
        raise wrong(f"no port specified: {text}<empty>")
    ip = _checked_ip(":".join(address))
    first, last = _named_range("containerPort", numbers)
    if not host:
        return [(f"{port}/{protocol}", PortBinding(ip)) for port in range(first, last + 1)]
    start, end = _named_range("hostPort", host)
    if first == last:  # one port of a range
        return [(f"{first}/{protocol}", PortBinding(ip, f"{start}-{end}" if start != end else str(start)))]
    if end - start != last - first:
        raise wrong(f"invalid ranges specified for container and host Ports: {numbers} and {host}")
    step = start - first
    return [(f"{port}/{protocol}", PortBinding(ip, str(port + step))) for port in range(first, last + 1)]


def _named_range(name: str, text: str) -> tuple[int, int]:
    try:
        return _range(text)
    except ValueError:
        raise wrong(f"invalid {name}: {text}") from None


def _checked_ip(text: str) -> str:
    ip = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ip and not is_address(ip):
        raise wrong(f"invalid IP address: {text}")
    return ip


def is_address(text: str) -> bool:
    """Say whether a text is an IPv4 or IPv6 address."""
    parts = text.split(".")
    if len(parts) == 4 and ":" not in text:
        return all(whole_number(part, 255) is not None and (part == "0" or part[0] != "0") for part in parts)
    return _is_ipv6(text)


def _is_ipv6(text: str) -> bool:
    left, gap, right = text.partition("::")
    if "::" in right or ":" not in text:
        return False
    groups = [*(left.split(":") if left else ()), *(right.split(":") if right else ())]
    if groups and "." in groups[-1] and is_address(groups[-1]):
        groups[-1:] = ["0", "0"]
    good = all(len(group) <= 4 and _is_hexadecimal(group) for group in groups)
    return good and (len(groups) < 8 if gap else len(groups) == 8)


def network(arguments: Arguments) -> str:
    """Return the network mode. Addresses and names on networks of users are refused. Raises UsageError."""
    texts = arguments.many("network")
    found = [_network(text) for text in texts]
    names = [name for name, _ in found]
    mode = names[0] if names else "default"
    _check_names(names)
    given = {key for _, keys in found for key in keys}
    given |= {dest for dest in ("network_alias", "ip", "ip6", "link_local_ip") if arguments.given(dest)}
    if not _is_user_defined(mode):
        if given & {"alias", "network_alias"}:
            raise wrong("network-scoped aliases are only supported for user-defined networks")
        if given:
            raise wrong("user specified IP address is supported on user defined networks only")
    return mode


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise wrong(f'network "{name}" is specified multiple times')
    if len({_is_user_defined(name) for name in names}) > 1:
        raise wrong("conflicting options: cannot attach both user-defined and non-user-defined network-modes")


def _is_user_defined(mode: str) -> bool:
    return mode not in _PREDEFINED and not mode.startswith("container:")


_NETWORK_KEYS = ("name", "alias", "ip", "ip6", "mac-address", "link-local-ip", "driver-opt", "gw-priority")


def _network(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a network, and the keys that are given for it: `name=net,alias=db`."""
    key, equals, _ = text.partition("=")
    if not equals or not key.replace("-", "").isalnum():
        return text, ()
    from firkin.cli.values import csv_fields

    name, keys = "", []
    try:
        fields = csv_fields("--network", text)
    except UsageError as error:
        raise invalid("--network", text, error.message) from None
    for field in fields:
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals or not key:
            raise invalid("--network", text, f"invalid field {field}")
        if key not in _NETWORK_KEYS:
            raise invalid("--network", text, f"invalid field key {key}")
        if key == "name":
            name = value
        else:
            keys.append(key)
    if not name:
        raise invalid("--network", text, "network name/id is not specified")
    return name, tuple(keys)


def hosts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return `NAME:ADDRESS` for each; it may be spelt with `=`, and IPv6 addresses with brackets. Raises UsageError."""
    result = []
    for text in texts:
        equals, colon = text.find("="), text.find(":")
        cut = equals if equals > 0 and (colon < 0 or equals < colon) else colon
        name, address = (text[:cut], text[cut + 1 :]) if cut > 0 else (text, "")
        if not name or not address:
            raise invalid("--add-host", text, f'bad format for add-host: "{text}"')
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if address != "host-gateway" and not is_address(address):
            raise invalid("--add-host", text, f'invalid IP address in add-host: "{address}"')
        result.append(f"{name}:{address}")
    return tuple(result)


def servers(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses of name servers. Raises UsageError."""
    for text in texts:
        if not is_address(text.strip()):
            raise invalid("--dns", text, f"IP address is not correctly formatted: {text}")
    return tuple(text.strip() for text in texts)


def search_domains(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return domains; `.` alone means none. Raises UsageError. Mirrors: docker/cli opts.ValidateDNSSearch."""
    for text in texts:
        labels = text.strip().strip(".").split(".")
        plain = all(label and len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels)
        if text.strip() != "." and not plain:
            raise invalid("--dns-search", text, f"invalid domain: {text}")
    return tuple(text.strip() for text in texts)


def links(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return links as they are. Raises UsageError."""
    for text in texts:
        parts = text.split(":")
        if not all(parts) or len(parts) > 2:
            raise invalid("--link", text, f"bad format for links: {text}")
    return texts


def mac_address(text: str) -> str:
    """Return a hardware address. Raises UsageError."""
    parts = text.replace("-", ":").split(":")
    good = len(parts) in (6, 8, 20) and all(len(part) == 2 and _is_hexadecimal(part) for part in parts)
    if text and not good:
        raise wrong(f"{text} is not a valid mac address")
    return text


def _is_hexadecimal(text: str) -> bool:
    return text != "" and frozenset("0123456789abcdefABCDEF").issuperset(text)
