"""Hints: what a user can do about an error, as values that every front puts into its own words. Pure. Any module may
import it.

A hint that reads the same in every front is a text. One that names an option, an argument or a command is a Hint: its
kind, and the values that its text names. The command line (`cli/hints.py`), the Kaniko executor
(`cli/kaniko/hints.py`) and the Python API (`api/hints.py`) each have a table with a text for every kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from firkin.text import Pairs, hide_passwords, valid_text

Kind = Literal[
    # the request
    "allow-host-network",
    "allow-insecure",
    "build-arg",
    "build-for-this-machine",
    "context-kind",
    "context-missing",
    "dockerfile",
    "dockerfile-in-context",
    "dockerfile-link",
    "git-host-secret",
    "git-secret",
    "output-mediatypes",
    "output-platforms",
    "output-split",
    "push-name",
    "secret",
    "ssh",
    "ssh-agent",
    "ssh-passphrase",
    "unpack-entries",
    "unpack-size",
    # a comparison with an image
    "epoch",
    "epoch-of-both",
    "rewrite-timestamp",
    # what the store holds
    "builds",
    "copy-gzip",
    "copy-platform",
    "images",
    "objects",
    "no-cache",
    "no-cache-or-pull",
    "no-cache-or-remove",
    "push-target",
    "replace",
    "tag",
    # the store's place and space
    "disk-full",
    "prune",
    "store-full",
    "store-full-step",
    "store-newer",
    "store-one-version",
    "store-other",
    "store-own",
    "store-overlay",
    "store-place",
    "store-shorter",
    "store-writable",
    # registries
    "insecure-registry",
    "login",
    "mirror",
    "mirror-hub",
    "tls-ca",
    "tls-ca-spoken",
    "tls-cert",
    # this machine
    "executor-image",
    "host-ids",
    "host-lacks",
    "host-sandboxes",
    "host-ways",
    "isolation-chroot",
    "isolation-inplace",
    "root-mount",
    # the end of a warning
    "host-more-ids",
    "isolation-for-credentials",
    # containers
    "limits-warn",
    "service-by-hand",
    "service-session",
    "container-damaged",
    "container-network",
    "container-gpus",
    "container-quota",
    # firkin itself
    "bug",
    # what an error is about: put before the message
    "option-build-context",
    "option-platform",
    "option-ssh",
    "option-verify",
]
Texts = Mapping[Kind, str]
"""The words of a front: a text for each kind, with `{name}` for a value of the hint (`{{` is a brace)."""


class Hint(msgspec.Struct, frozen=True):
    """A hint that each front words differently; `values` are the names in its text."""

    kind: Kind
    values: Pairs = ()

    @classmethod
    def of(cls, kind: Kind, **values: str) -> Hint:
        """Return the hint of a kind. Its values may come from outside: passwords in them are hidden."""
        return cls(kind, tuple((name, hide_passwords(valid_text(value))) for name, value in values.items()))


AnyHint = str | Hint


def hint_text(hint: AnyHint, texts: Texts) -> str:
    """Return a hint in the words of a front."""
    return hint if isinstance(hint, str) else texts[hint.kind].format_map(dict(hint.values))


def hint_texts(hints: tuple[AnyHint, ...], texts: Texts) -> tuple[str, ...]:
    """Return hints in the words of a front."""
    return tuple(hint_text(hint, texts) for hint in hints)
