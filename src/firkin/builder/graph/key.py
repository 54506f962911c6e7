"""Cache keys: an ordered list of named parts, hashed with their lengths. Pure.

Contract: docs/dev/cache-key.md. A key covers the op as resolved, the identities of the input
snapshots and the digests of the files read from the other inputs; never proxies, secrets, times,
titles. Changing what a part means needs a new KEY_VERSION.
"""

from __future__ import annotations

from typing import NewType, assert_never

import msgspec

from firkin.builder.graph.ops import (
    BindMount,
    CacheMount,
    Context,
    Copy,
    Git,
    Http,
    MakeDir,
    Op,
    Pull,
    Run,
    Scratch,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from firkin.oci.digest import chain_ids, framed_hash
from firkin.oci.platform import Platform

KEY_VERSION = "2"

CacheKey = NewType("CacheKey", str)
"""64 hex digits."""

Part = tuple[str, str]
"""(name, value): values are texts so that a miss can be explained by comparing two lists."""

_json = msgspec.json.Encoder()


def key_of(parts: tuple[Part, ...]) -> CacheKey:
    """Hash the ordered parts."""
    return CacheKey(
        framed_hash(
            piece.encode("utf-8", "surrogateescape") for pair in (("version", KEY_VERSION), *parts) for piece in pair
        )
    )


def root_identity(op: Scratch | Pull) -> str:
    """Return the snapshot identity of a root that no step made: its chain id, or "scratch"."""
    if isinstance(op, Scratch) or not op.layers:
        return "scratch"
    return chain_ids(layer.diff_id for layer in op.layers)[-1]


READS = ("files", "mounted files")
"""Names of the parts that identify the files that a step reads besides its root."""


def reads_of(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """Return the identities of the files that a step reads."""
    return tuple(value for name, value in parts if name in READS)


def with_reads(parts: tuple[Part, ...], reads: tuple[str, ...]) -> tuple[Part, ...]:
    """Return the parts with `reads` as the identities of files read; raises ValueError for a wrong number of them."""
    if len(reads) != len(reads_of(parts)):
        raise ValueError(f"{len(reads)} identities of what is read, not {len(reads_of(parts))}")
    rest = iter(reads)
    return tuple((name, next(rest) if name in READS else value) for name, value in parts)


def op_parts(op: Op, platform: Platform | None) -> tuple[Part, ...]:
    """Return the parts that come from the op itself; `platform` is that of the step's stage."""
    head: tuple[Part, ...] = (("platform", str(platform or "")),)
    match op:
        case Scratch() | Pull():
            return (("root", root_identity(op)),)
        case Context():
            return (("context", op.name),)
        case Http():
            return (("http", op.url), ("filename", op.filename), ("checksum", op.checksum))
        case Git():
            return (("git", _text(op)),)
        case Run():
            return (("op", "run"), *head, *_run_parts(op))
        case Copy():
            return (("op", "copy"), *_copy_parts(op))
        case MakeDir():
            return (("op", "mkdir"), ("path", op.path), ("user", op.user))
        case _:
            assert_never(op)


def _run_parts(op: Run) -> tuple[Part, ...]:
    return (
        ("command", _text(op.argv)),
        *(("environment", variable) for variable in op.env),
        ("workdir", op.cwd),
        ("user", op.user),
        *(("mount", _mount(mount)) for mount in op.mounts),
        *(("file", _text(file)) for file in op.files),
        ("network", op.network),
        ("insecure", str(op.insecure)),
        ("hostname", op.hostname),
    )


def _copy_parts(op: Copy) -> tuple[Part, ...]:
    return (
        ("sources", _text(op.sources)),
        ("destination", op.dest),
        ("chown", op.chown),
        ("chmod", op.chmod),
        ("keep_owner", str(op.keep_owner)),
        ("unpack", op.unpack),
        ("link", str(op.link)),
        ("parents", str(op.parents)),
        *(("exclude", pattern) for pattern in op.exclude),
    )


def _text(value: object) -> str:
    try:
        return _json.encode(value).decode()
    except UnicodeEncodeError:  # a name that is not UTF-8 (surrogates)
        return repr(value)


def _mount(mount: BindMount | CacheMount | TmpfsMount | SecretMount | SshMount) -> str:
    """Return a mount as written; the digests of files mounted are parts of their own."""
    return _text(mount)
