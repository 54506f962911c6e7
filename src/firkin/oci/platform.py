"""Platforms: `os/arch[/variant]`, normalised and matched as containerd does. Pure.

Mirrors: containerd/platforms (Parse, Normalize, Only).
"""

from __future__ import annotations

import msgspec

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "i386": "386", "i686": "386", "aarch64": "arm64",
    "armhf": "arm", "armel": "arm", "mips64el": "mips64le", "mipsel": "mipsle", "powerpc64le": "ppc64le",
}  # fmt: skip
_KNOWN = frozenset(
    "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x wasm".split()
)
_SYSTEMS = frozenset("linux windows darwin freebsd netbsd openbsd wasip1 plan9 solaris dragonfly".split())
# Variants of an architecture: each also runs those after it.
_FALLBACKS = {"arm": ("v8", "v7", "v6", "v5"), "amd64": ("v4", "v3", "v2", "")}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Platform(msgspec.Struct, frozen=True):
    """The platform of an image or a host; `variant` is empty if the architecture has none.

    `os_features` choose nothing here: they are kept, so that an index that is written again has them.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalize(os: str, architecture: str, variant: str = "", os_version: str = "") -> Platform:
    """Return the canonical spelling: `aarch64` → `arm64`, `arm64/v8` → `arm64`, `arm` → `arm/v7`."""
    architecture = architecture.lower()
    variant = variant.lower()
    if architecture == "armhf":
        variant = ""
    elif architecture == "armel":
        variant = "v6"
    elif architecture in ("i386", "i686"):
        variant = ""
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if architecture == "arm64" and variant in ("8", "v8"):
        variant = ""
    elif architecture == "amd64" and variant == "v1":
        variant = ""
    elif architecture == "arm":
        variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return Platform(os.lower(), architecture, variant, os_version)


def parse_platform(text: str, host: Platform) -> Platform:
    """Parse `os[/arch[/variant]]`, or an architecture alone (its os is the host's).

    Raises ValueError that names the wrong part.
    """
    os_part, _, version = text.partition("(") if "(" in text else (text, "", "")
    del os_part
    if version:
        head, _, tail = text.partition(")")
        os_name, _, os_version = head.partition("(")
        text = os_name + tail
    else:
        os_version = ""
    parts = text.split("/")
    if not all(part and _NAME.issuperset(part) for part in parts) or len(parts) > 3:
        raise ValueError(f"`{text}` is not a platform (want `os/arch[/variant]`, e.g. `linux/amd64`)")
    if len(parts) > 1:
        return normalize(parts[0], parts[1], parts[2] if len(parts) == 3 else "", os_version)
    word = parts[0].lower()
    if word in _SYSTEMS:
        variant = host.variant if host.architecture == "arm" else ""
        return normalize(word, host.architecture, variant)
    if _ARCHITECTURES.get(word, word) in _KNOWN:
        return normalize(host.os, word)
    raise ValueError(f"`{text}`: unknown operating system or architecture")


def host_platform(system: str, machine: str) -> Platform:
    """Translate `uname -s` and `uname -m`."""
    variant = {"armv5l": "v5", "armv6l": "v6", "armv7l": "v7", "armv8l": "v8"}.get(machine, "")
    return normalize(system, "arm" if variant else machine, variant)


def match_rank(wanted: Platform, offered: Platform) -> int | None:
    """Return how well `offered` runs on `wanted` (0 is exact, higher is worse), or None if it does not.

    An arm or amd64 variant also runs lower ones. Other architectures never run on `wanted`. Within one architecture
    this is the choice of containerd's `Only`.
    """
    offered = normalize(offered.os, offered.architecture, offered.variant, offered.os_version)
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return None
    if wanted.variant == offered.variant:
        return 0
    order = _FALLBACKS.get(wanted.architecture, ())
    if not order:
        plain = (offered.variant,) if wanted.architecture == "arm64" else (wanted.variant, offered.variant)
        return 1 if "" in plain else None
    if wanted.variant not in order or offered.variant not in order:
        return None
    distance = order.index(offered.variant) - order.index(wanted.variant)
    return distance if distance >= 0 else None
