"""`firkin manifest-digest`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.errors import UsageError
from firkin.oci import codec
from firkin.oci.digest import digest_of

USAGE = "FILE"
ABOUT = "Print the digest of a manifest in a file (`-`: standard input)."
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Print the digest. Raises UsageError."""
    operands = invocation.arguments.operands
    if len(operands) != 1:
        raise UsageError("`firkin manifest-digest` needs one file")
    try:
        place: str | int = 0 if operands[0] == "-" else absolute(invocation.ambient.cwd, operands[0])
        with open(place, "rb", closefd=place != 0) as file:
            data = file.read(codec.MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {operands[0]}: {(error.strerror or '').lower()}") from error
    if len(data) > codec.MAX_DOCUMENT_BYTES:
        raise UsageError(f"{operands[0]} has more than {codec.MAX_DOCUMENT_BYTES} bytes; a manifest has less")
    write_out(f"{digest_of(data)}\n")
    return 0
