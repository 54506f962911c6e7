"""What docker's config.json says of lists, pruning and containers. Does I/O. `cli` only.

Credentials are read by `registry`. Mirrors: docker/cli cli/config/configfile, and PruneFilters of cli/command.
"""

from __future__ import annotations

from firkin.ambient import absolute
from firkin.errors import UsageError
from firkin.linux.files import read_named
from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from firkin.ambient import Ambient

_MOST_BYTES = 4 << 20
_FORMAT = "Format"


class DockerConfig(NamedTuple):
    """The keys that are used here; `formats` has them without the `Format` at their ends (`images`, `ps`).

    `proxies` (`httpProxy`, …) become variables of new containers, `detach_keys` ("": docker's) detach from them.
    """

    formats: dict[str, str]
    prune_filters: tuple[str, ...] = ()
    proxies: Mapping[str, str] = {}
    detach_keys: str = ""

    def format(self, kind: str, given: str, *, quiet: bool = False) -> str:
        """Return the format of a list: what `--format` says, or with `-q` nothing, else the file's."""
        return given or ("" if quiet else self.formats.get(kind, ""))

    def prune_words(self, given: Iterable[str]) -> tuple[str, ...]:
        """Return the filters of a prune. A label that the command line has on the other side (`label!`) is left out."""
        words = tuple(given)
        return (*words, *(word for word in self.prune_filters if _opposite(word) not in words))


def _opposite(word: str) -> str:
    """Return `label!=x` for `label=x` and the other way round, "" for other filters."""
    key, _, value = word.partition("=")
    other = {"label": "label!", "label!": "label"}.get(key, "")
    return f"{other}={value}" if other else ""


def read_docker_config(ambient: Ambient) -> DockerConfig:
    """Read `config.json` in DOCKER_CONFIG or `~/.docker`, if there is one. Raises UsageError."""
    folder = ambient.environ.get("DOCKER_CONFIG") or f"{ambient.home.rstrip('/')}/.docker"
    path = f"{absolute(ambient.cwd, folder).rstrip('/')}/config.json"
    try:
        raw = read_named(path, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return DockerConfig({})  # with HOME=/root and another uid, as in a pod, the file belongs to somebody else
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or '').lower()}", code="config") from error
    return parse_docker_config(raw, path)


def parse_docker_config(raw: bytes, path: str) -> DockerConfig:
    """Return what the bytes of a config.json say; `path` is for messages. Raises UsageError."""
    import msgspec

    try:
        document: Any = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}", code="config") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no JSON object", code="config")
    texts = {key: value for key, value in document.items() if isinstance(value, str) and value}
    formats = {key.removesuffix(_FORMAT): value for key, value in texts.items() if key.endswith(_FORMAT)}
    filters = _filters(document.get("pruneFilters") or [], path)
    return DockerConfig(formats, filters, _proxies(document.get("proxies")), texts.get("detachKeys", ""))


def _filters(document: object, path: str) -> tuple[str, ...]:
    if not isinstance(document, list) or not all(isinstance(word, str) for word in document):
        raise UsageError(f"{path}: `pruneFilters` must be a list of texts", code="config")
    return tuple(document)


def _proxies(document: object) -> Mapping[str, str]:
    """Return the proxies for containers of every daemon: there is no daemon's address to look up."""
    default = document.get("default") if isinstance(document, dict) else None
    if not isinstance(default, dict):
        return {}
    return {key: value for key, value in default.items() if isinstance(key, str) and isinstance(value, str)}
