"""Variables and labels of a command line, with their files and docker's proxies. Does I/O. `cli.containers` only.

Mirrors: docker/cli opts.ReadKVEnvStrings, pkg/kvfile, and ParseProxyConfig of cli/config/configfile.
"""

from __future__ import annotations

from firkin.ambient import absolute
from firkin.cli.containers.values import invalid, wrong
from firkin.linux.files import read_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from firkin.ambient import Ambient
    from firkin.cli.arguments import Arguments
    from firkin.errors import UsageError

_MOST_BYTES = 4 << 20
_BLANKS = " \t"
_PROXIES = {
    "HTTP_PROXY": "httpProxy",
    "HTTPS_PROXY": "httpsProxy",
    "NO_PROXY": "noProxy",
    "FTP_PROXY": "ftpProxy",
    "ALL_PROXY": "allProxy",
}


def environment_of(arguments: Arguments, ambient: Ambient, *, proxies: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of files, then those of options; `proxies` are added where nothing has their names.

    A bare NAME takes its value from the environment. Without one it stays, and removes the image's; in a file it is
    left out. Raises UsageError.
    """
    files = (absolute(ambient.cwd, file) for file in arguments.many("env_file"))
    entries = [entry for path in files for entry in _lines_of(path, ambient.environ)]
    entries += (_variable(text, ambient.environ) for text in arguments.many("env"))
    named = {entry.partition("=")[0] for entry in entries}
    for name, key in _PROXIES.items():
        value = proxies.get(key, "")
        entries += [f"{spelt}={value}" for spelt in (name, name.lower()) if value and spelt not in named]
    return tuple(entries)


def _variable(text: str, environ: Mapping[str, str]) -> str:
    name, equals, _ = text.partition("=")
    if not name:
        raise invalid("--env", text, f"invalid environment variable: {text}")
    return text if equals or name not in environ else f"{name}={environ[name]}"


def labels_of(arguments: Arguments, ambient: Ambient) -> dict[str, str]:
    """Return the labels of files and options; the later one wins. Raises UsageError."""
    files = (absolute(ambient.cwd, file) for file in arguments.many("label_file"))
    entries = [entry for path in files for entry in _lines_of(path, None)]
    for text in arguments.many("label"):
        if not text.partition("=")[0]:
            raise invalid("--label", text, f"invalid label '{text}': empty name")
        entries.append(text)
    return {key: value for key, _, value in (entry.partition("=") for entry in entries)}


def _lines_of(path: str, environ: Mapping[str, str] | None) -> list[str]:
    """Return the entries of a file of `KEY=VALUE` lines. A bare KEY takes the environment's value, if there is one."""
    try:
        raw = read_named(path, _MOST_BYTES)
    except OSError as error:
        raise wrong(f"open {path}: {(error.strerror or '').lower()}") from error
    entries = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise wrong(f"invalid utf8 bytes at line {number}: {path}") from None
        entry = _entry(text.lstrip(_BLANKS), path, environ)
        if entry is not None:
            entries.append(entry)
    return entries


def _entry(line: str, path: str, environ: Mapping[str, str] | None) -> str | None:
    if not line or line.startswith("#"):
        return None
    name, equals, value = line.partition("=")
    if not name:
        raise _poor(path, f"no variable name on line '{line}'")
    if any(char.isspace() for char in name):
        raise _poor(path, f"variable '{name}' contains whitespaces")
    if equals:
        return f"{name}={value}"
    if environ is None:
        return name
    return f"{name}={environ[name]}" if name in environ else None


def _poor(path: str, why: str) -> UsageError:
    return wrong(f"poorly formatted environment: {why}", f"it is in {path}")
