"""`firkin version`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.version import version_document
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from firkin.cli.command import Invocation

USAGE = "[OPTIONS]"
ABOUT = (
    "Show the versions of client and server, which are both firkin. `Version` is that of the docker whose commands "
    "firkin follows, for jobs that ask for it; firkin's own stands in the headings and as `.Client.FirkinVersion`."
)
OPTIONS = (
    Option(("--format", "-f"), "format", "text", "print `json`, or a template of docker's fields", "FORMAT"),
    *COMMON,
)
_WIDTH = 19


def run(invocation: Invocation) -> int:
    """Print the versions. Raises TemplateError."""
    document = version_document()
    format = invocation.arguments.text("format")
    if format:
        from firkin.cli.templated import print_document

        print_document(format, document)
    else:
        write_out(_text(document))
    return 0


def _text(document: Mapping[str, Any]) -> str:
    client, server = document["Client"], document["Server"]
    details = server["Components"][0]["Details"]
    lines = [
        f"Client: {client['Platform']['Name']}",
        *_lines(1, (
            ("Version", client["Version"]),
            ("API version", client["ApiVersion"]),
            ("Python version", client["PythonVersion"]),
            ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
            ("Context", client["Context"]),
        )),
        "",
        f"Server: {server['Platform']['Name']}",
        " Engine:",
        *_lines(2, (
            ("Version", server["Version"]),
            ("API version", f"{details['ApiVersion']} (minimum version {details['MinAPIVersion']})"),
            ("Python version", server["PythonVersion"]),
            ("OS/Arch", f"{server['Os']}/{server['Arch']}"),
            ("Experimental", details["Experimental"]),
        )),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _lines(indent: int, pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{' ' * indent + name + ':':<{_WIDTH}} {value}" for name, value in pairs]
