"""What a record does not keep: values of secrets and of build arguments. Pure.

Secrets are replaced by `***`, build arguments by their names, in titles, messages and the log; credentials in URLs
are hidden as everywhere (`text.hide_passwords`). Records keep keyed hashes of arguments and variables, so that two
builds can be compared; the key never leaves the store. A program that prints a secret in another form (base64, one
character a line) is beyond this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from firkin.builder.graph.key import Part
from firkin.text import Pairs, hide_passwords, valid_text

HIDDEN = b"***"
_SHORTEST, _LONG = 4, 8
_SECRET_WORDS = frozenset(
    "apikey auth cred credential credentials key pass passwd password pin pwd secret token".split()
)
_SHOWN = frozenset(
    "op platform command workdir user network destination chown chmod keep_owner unpack link parents exclude path "
    "insecure hostname made".split()
)
_IDENTITIES = frozenset(("root", "files", "mounted files", "times", "landing"))
_LONGEST = 600
HASH = "\0"
"""Between the shown text of a value and the hash of the whole; no value has this character."""


class Redactor:
    """Replaces what must not be kept. `secrets` are values, `args` names with values."""

    def __init__(self, secrets: Iterable[bytes], args: Pairs, proxies: Pairs = ()) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in args:
            if _is_telling(name, value):
                _add(found, _bytes(value), b"${%s}" % _bytes(name))
        for _, value in proxies:
            if "@" in value:
                _add(found, _bytes(value), HIDDEN)
        for secret in secrets:
            for piece in (secret, secret.strip(), *secret.splitlines()):
                if len(piece.strip()) >= _SHORTEST:
                    _add(found, piece, HIDDEN)
        self._pairs = tuple(sorted(found.items(), key=lambda pair: -len(pair[0])))

    def data(self, data: bytes) -> bytes:
        """Return output of a step without them."""
        for value, instead in self._pairs:
            if value in data:
                data = data.replace(value, instead)
        return data

    def text(self, text: str) -> str:
        """Return a title or message without them, as valid UTF-8."""
        if self._pairs:
            text = self.data(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        return valid_text(hide_passwords(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _add(found: dict[bytes, bytes], value: bytes, instead: bytes) -> None:
    found.setdefault(value, instead)
    quoted = msgspec.json.encode(value.decode("utf-8", "replace"))[1:-1]  # commands and mounts are shown as JSON
    found.setdefault(quoted, instead)


def _is_telling(name: str, value: str) -> bool:
    """Say whether a value may be a secret: not a short word or version number under a harmless name."""
    if len(value) < _SHORTEST:
        return False
    if len(value) >= _LONG or _SECRET_WORDS & set(name.lower().replace("-", "_").split("_")):
        return True
    plain = value.replace(".", "").replace("-", "")
    return not (plain.isdigit() or (plain.isalpha() and (plain.islower() or plain.isupper())))


def keyed_hash(key: bytes, value: str) -> str:
    """Return 32 hex digits that tell values apart and do not tell the value to others."""
    return hashlib.blake2b(value.encode("utf-8", "surrogateescape"), key=key, digest_size=16).hexdigest()


def kept_parts(parts: tuple[Part, ...], key: bytes, redactor: Redactor) -> tuple[Part, ...]:
    """Return the parts of a cache key as records keep them: equal exactly where the parts are equal.

    Identities stay, variables are `NAME=` and a hash, texts that explanations show are cut and followed by HASH and
    a hash where anything was left out, and everything else is a hash.
    """
    return tuple((name, _kept(name, value, key, redactor)) for name, value in parts)


def _kept(name: str, value: str, key: bytes, redactor: Redactor) -> str:
    if name in _IDENTITIES:
        return value
    if name == "environment":
        variable, _, held = value.partition("=")
        return f"{valid_text(variable)}={keyed_hash(key, held)}"
    if name not in _SHOWN:
        return keyed_hash(key, value)
    shown = redactor.text(value)[:_LONGEST]
    return value if shown == value else shown + HASH + keyed_hash(key, value)
