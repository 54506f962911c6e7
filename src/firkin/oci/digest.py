"""Digests, and hashing of framed parts. Pure.

Spec: image-spec descriptor.md, Digests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from hashlib import _Hash

Digest = NewType("Digest", str)
"""`algorithm:hex`, e.g. `sha256:` and 64 hex digits. Only the functions below make it."""

DiffID = NewType("DiffID", str)
"""Digest of a layer's uncompressed tar."""

ChainID = NewType("ChainID", str)
"""Digest of a stack of layers. Spec: image-spec config.md, Layer ChainID."""

_SMALL = 1 << 16
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


def parse_digest(text: str) -> Digest:
    """Check `algorithm:hex`; raises ValueError for an unknown algorithm or wrong length."""
    algorithm, colon, value = text.partition(":")
    if not colon or _LENGTHS.get(algorithm) != len(value) or not _HEX.issuperset(value):
        raise ValueError(f"`{text[:100]}` is not a digest (want `sha256:` and 64 hex digits)")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of the bytes."""
    if len(data) <= _SMALL:
        return Digest("sha256:" + _small_hasher(data).hexdigest())
    import hashlib

    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def _small_hasher(data: bytes) -> _Hash:
    """Return a hasher of few bytes. The interpreter's own sha256 is slower, but loads in a tenth of OpenSSL's 4 ms."""
    if "hashlib" not in sys.modules:
        try:
            if sys.version_info >= (3, 12):
                from _sha2 import sha256 as own
            else:
                from _sha256 import sha256 as own
            small: _Hash = own(data)
            return small
        except ImportError:
            pass  # an interpreter may be built without
    import hashlib

    return hashlib.sha256(data)


def has_digest(data: bytes, digest: Digest) -> bool:
    """Say whether the bytes have a digest."""
    algorithm = digest.partition(":")[0]
    if algorithm == "sha256":
        return digest_of(data) == digest
    hasher = new_hasher(algorithm)
    hasher.update(data)
    return finish(hasher) == digest


def new_hasher(algorithm: str = "sha256") -> _Hash:
    """Return a running hasher; `finish` turns it into a Digest."""
    import hashlib

    return hashlib.new(algorithm, usedforsecurity=False)


def finish(hasher: _Hash) -> Digest:
    """Return the digest of the bytes that the hasher has seen."""
    return Digest(f"{hasher.name}:{hasher.hexdigest()}")


def chain_ids(diff_ids: Iterable[str]) -> tuple[ChainID, ...]:
    """Return the chain id after each layer, bottom first."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        joined = f"{chain[-1]} {diff_id}".encode() if chain else b""
        chain.append(ChainID(digest_of(joined)) if chain else ChainID(diff_id))
    return tuple(chain)


def framed_hash(parts: Iterable[bytes]) -> str:
    """Return sha256 hex over length-framed parts: no two part lists share one input."""
    hasher = _small_hasher(b"")
    for part in parts:
        hasher.update(b"%d:" % len(part))
        hasher.update(part)
    return hasher.hexdigest()


def whole_digest(text: str) -> Digest | None:
    """Parse a complete digest, with `sha256:` or without; return None if the text is not one."""
    try:
        return parse_digest(f"sha256:{text}" if len(text) == 64 and _HEX.issuperset(text) else text)
    except ValueError:
        return None
