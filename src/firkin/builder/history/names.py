"""The names of records in a store, and new ids of builds; writer and reader share them. Does I/O."""

from __future__ import annotations

import os

RUNNING, NEW = ".running", ".new"
"""Endings of the file of a build that runs, and of a file that is being written."""
ID_LENGTH = 25
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_DIGITS = frozenset(_ALPHABET)


def directory_of(store_root: str) -> str:
    """Return the directory of a store's records."""
    return f"{store_root}/builds"


def lists_of(store_root: str) -> str:
    """Return the directory of the lists of files that records name."""
    return f"{store_root}/builds/lists"


def new_id() -> str:
    """Return the id of a new build, in BuildKit's form. Mirrors: moby/buildkit identity.NewID."""
    number = int.from_bytes(os.urandom(17), "big")
    digits = ""
    while len(digits) < ID_LENGTH:
        number, digit = divmod(number, 36)
        digits += _ALPHABET[digit]
    return digits


def is_id(text: str) -> bool:
    """Say whether a text has the form of a build's id."""
    return len(text) == ID_LENGTH and _DIGITS.issuperset(text)
