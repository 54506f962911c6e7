"""config.toml: the settings in the machine's and the user's files. Does I/O. `api` and `cli` may import it.

Files are read in order, and later ones win key by key. An unknown key is an error that names its place. `tomllib`
is loaded only where a file exists. docs/config.md describes the keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from firkin.errors import ContainerError, UsageError
from firkin.hints import Hint
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.source import Source, Span
from firkin.store.rules import GcRules, HistoryRules
from firkin.text import parse_duration_s, parse_size

if TYPE_CHECKING:
    from firkin.containers.documents.config import LogConfig
    from firkin.containers.documents.merge import Defaults


class Settings(NamedTuple):
    """The settings in the files. With `root` "" the store stays in its default place.

    `containers` are what containers have of which their requests say nothing, None where no file says anything.
    """

    root: str = ""
    isolation: str = ""
    progress: str = ""
    unpack: UnpackLimits = UNPACK_LIMITS
    registry: RegistrySettings = RegistrySettings()
    gc: GcRules = GcRules()
    history: HistoryRules = HistoryRules()
    containers: Defaults | None = None


class _Place(NamedTuple):
    """The place of a value: its file, the file's text, the path of keys."""

    file: str
    text: str
    keys: tuple[str, ...]

    def below(self, key: str) -> _Place:
        return self._replace(keys=(*self.keys, key))

    def error(self, message: str, *hints: str | Hint) -> UsageError:
        name = ".".join(self.keys)
        return UsageError(f"{self.file}: `{name}` {message}", code="config", hints=hints, span=self._span())

    def _span(self) -> Span | None:
        last = self.keys[-1]
        for number, line in enumerate(self.text.split("\n"), 1):
            stripped = line.strip().strip("[]")
            name = stripped.partition("=")[0].strip()
            if last in (name.strip("\"'"), name.rpartition(".")[2].strip("\"'")):
                return Source(self.file, self.text).span(number)
        return None

    def path(self, value: str) -> str:
        """Return the path; a relative one starts at the file's directory."""
        return value if value.startswith("/") else os.path.join(os.path.dirname(self.file), value)


Reader = Callable[[Settings, object, _Place], Settings]


def read_settings(files: tuple[str, ...], required: str, base: RegistrySettings) -> Settings:
    """Read the files that exist, then `required` if not empty; raises UsageError.

    `base` holds the registry settings of the environment; the files add to it.
    """
    settings = Settings(registry=base)
    for file in files:
        try:
            settings = _read(settings, file)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # with HOME=/root and another uid, as in a pod, the file belongs to somebody else
        except OSError as error:
            raise UsageError(f"cannot read {file}: {(error.strerror or '').lower()}", code="config") from error
    if required:
        try:
            settings = _read(settings, os.path.abspath(required))
        except OSError as error:
            raise UsageError(f"cannot read {required}: {(error.strerror or '').lower()}", code="config") from error
    return settings


def _read(settings: Settings, file: str) -> Settings:
    from firkin.linux.files import read_named

    data = read_named(file)
    import tomllib  # few machines have such a file

    try:
        text = data.decode()
        table = tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{file}: its values are nested too deep", code="config") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number with thousands of digits
        raise UsageError(f"{file}: {error}", code="config") from error
    return _apply(settings, table, _Place(file, text, ()), _TOP)


def _apply(settings: Settings, table: Mapping[str, object], place: _Place, readers: Mapping[str, Reader]) -> Settings:
    for key, value in table.items():
        reader = readers.get(key)
        here = place.below(key)
        if reader is None:
            from firkin.text import nearest

            meant = nearest(key, readers)
            hint = f"did you mean `{meant}`?" if meant else f"known here are {', '.join(sorted(readers))}"
            raise here.error("is not a known key", hint)
        settings = reader(settings, value, here)
    return settings


def _text(value: object, place: _Place) -> str:
    if not isinstance(value, str) or not value:
        raise place.error("must be a text")
    return value


def _texts(value: object, place: _Place) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise place.error("must be a list of texts")
    return tuple(value)


def _table(value: object, place: _Place) -> dict[str, object]:
    if not isinstance(value, dict):
        raise place.error("must be a table")
    return value


def _number(value: object, place: _Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise place.error("must be a number, 0 or more")
    return value


def _size(value: object, place: _Place) -> int:
    """Read a number of bytes, or a text like `64m` or `128g`."""
    if not isinstance(value, str):
        return _number(value, place)
    try:
        return parse_size(value)
    except ValueError:
        raise place.error("must be a size", "write e.g. `\"64m\"` or `\"128g\"`, or a number of bytes") from None


def _switch(value: object, place: _Place) -> bool:
    if not isinstance(value, bool):
        raise place.error("must be true or false")
    return value


def _change(settings: Settings, **fields: object) -> Settings:
    return settings._replace(registry=msgspec.structs.replace(settings.registry, **fields))


def _root(settings: Settings, value: object, place: _Place) -> Settings:
    return settings._replace(root=place.path(_text(value, place)))


def _isolation(settings: Settings, value: object, place: _Place) -> Settings:
    if value not in ("auto", "namespaces", "chroot", "inplace"):
        raise place.error("must be auto, namespaces, chroot or inplace")
    return settings._replace(isolation=str(value))


def _progress(settings: Settings, value: object, place: _Place) -> Settings:
    if value not in ("auto", "plain", "tty", "json", "rawjson", "quiet", "none"):
        raise place.error("must be auto, plain, tty, json, rawjson, quiet or none")
    return settings._replace(progress=str(value))


def _mirrors(settings: Settings, value: object, place: _Place) -> Settings:
    table = _table(value, place)
    new = tuple(
        Mirror(registry, location.rstrip("/"))
        for registry, locations in table.items()
        for location in _texts(locations, place.below(registry))
    )
    kept = tuple(mirror for mirror in settings.registry.mirrors if mirror.registry not in table)
    return _change(settings, mirrors=kept + new)


def _ca(settings: Settings, value: object, place: _Place) -> Settings:
    new = tuple(
        (host, place.path(file))
        for host, files in _table(value, place).items()
        for file in _texts(files, place.below(host))
    )
    return _change(settings, ca_files=settings.registry.ca_files + new)


def _client_cert(settings: Settings, value: object, place: _Place) -> Settings:
    new = []
    for host, pair in _table(value, place).items():
        here = place.below(host)
        table = _table(pair, here)
        if set(table) != {"cert", "key"}:
            raise here.error("must have `cert` and `key` and nothing else")
        new.append((host, *(place.path(_text(table[name], here.below(name))) for name in ("cert", "key"))))
    return _change(settings, client_certs=settings.registry.client_certs + tuple(new))


def _insecure(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, insecure=settings.registry.insecure + _texts(value, place))


def _skip_tls_verify(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, skip_tls_verify=settings.registry.skip_tls_verify + _texts(value, place))


def _auth_files(settings: Settings, value: object, place: _Place) -> Settings:
    new = tuple(place.path(file) for file in _texts(value, place))
    return _change(settings, auth_files=new + settings.registry.auth_files)


def _mirror_fallback(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, mirror_fallback=_switch(value, place))


def _retries(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, retries=_number(value, place))


def _timeout(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, timeout_s=float(_number(value, place)))


def _parallel(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, parallel=max(1, _number(value, place)))


def _base_max_age(settings: Settings, value: object, place: _Place) -> Settings:
    return _change(settings, base_max_age_s=float(_number(value, place)))


def _unpack(settings: Settings, value: object, place: _Place) -> Settings:
    return _apply(settings, _table(value, place), place, _UNPACK)


def _max_size(settings: Settings, value: object, place: _Place) -> Settings:
    limits = msgspec.structs.replace(settings.unpack, size_bytes=_size(value, place))
    return settings._replace(unpack=limits)


def _max_entries(settings: Settings, value: object, place: _Place) -> Settings:
    return settings._replace(unpack=msgspec.structs.replace(settings.unpack, entries=_number(value, place)))


def _max_used_space(settings: Settings, value: object, place: _Place) -> Settings:
    return settings._replace(gc=msgspec.structs.replace(settings.gc, max_used_bytes=_size(value, place)))


def _keep_age(settings: Settings, value: object, place: _Place) -> Settings:
    seconds = parse_duration_s(value) if isinstance(value, str) else float(_number(value, place))
    if seconds is None:
        raise place.error("must be a time", "write e.g. `72h` or `14d`, or a number of seconds")
    return settings._replace(gc=msgspec.structs.replace(settings.gc, keep_age_s=seconds))


def _gc(settings: Settings, value: object, place: _Place) -> Settings:
    return _apply(settings, _table(value, place), place, _GC)


def _keep_builds(settings: Settings, value: object, place: _Place) -> Settings:
    count = _number(value, place)
    if count > 100_000:
        raise place.error("must be a number up to 100000")
    return settings._replace(history=msgspec.structs.replace(settings.history, keep_builds=count))


def _history_size(settings: Settings, value: object, place: _Place) -> Settings:
    return settings._replace(history=msgspec.structs.replace(settings.history, max_bytes=_size(value, place)))


def _history(settings: Settings, value: object, place: _Place) -> Settings:
    return _apply(settings, _table(value, place), place, _HISTORY)


def _containers(settings: Settings, value: object, place: _Place) -> Settings:
    # `log-driver` comes first, wherever it stands: the options are checked as its own.
    return _apply(settings, dict(sorted(_table(value, place).items())), place, _CONTAINERS)


def _log_driver(settings: Settings, value: object, place: _Place) -> Settings:
    from firkin.containers.documents.config import LogConfig
    from firkin.containers.documents.merge import Defaults

    driver, before = _text(value, place), (settings.containers or Defaults()).log
    return _with_log(settings, before if driver == before.type else LogConfig(driver), place)


def _log_options(settings: Settings, value: object, place: _Place) -> Settings:
    from firkin.containers.documents.config import LogConfig
    from firkin.containers.documents.merge import Defaults

    before = (settings.containers or Defaults()).log
    new = {name: _option(option, place.below(name)) for name, option in _table(value, place).items()}
    return _with_log(settings, LogConfig(before.type, {**before.config, **new}), place)


def _with_log(settings: Settings, log: LogConfig, place: _Place) -> Settings:
    from firkin.containers.documents.log_options import check_log_config
    from firkin.containers.documents.merge import Defaults

    try:
        check_log_config(log)
    except ContainerError as error:
        raise place.error(f"cannot be had: {error.message}", *error.hints) from None
    return settings._replace(containers=msgspec.structs.replace(settings.containers or Defaults(), log=log))


def _option(value: object, place: _Place) -> str:
    """Read an option of a driver, whose values are texts; numbers and booleans are taken as such."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else _text(value, place)


def _registry(settings: Settings, value: object, place: _Place) -> Settings:
    return _apply(settings, _table(value, place), place, _REGISTRY)


_REGISTRY: Mapping[str, Reader] = {
    "mirrors": _mirrors,
    "mirror-fallback": _mirror_fallback,
    "insecure": _insecure,
    "skip-tls-verify": _skip_tls_verify,
    "ca": _ca,
    "client-cert": _client_cert,
    "auth-files": _auth_files,
    "retries": _retries,
    "timeout": _timeout,
    "parallel": _parallel,
    "base-max-age": _base_max_age,
}
_UNPACK: Mapping[str, Reader] = {"max-size": _max_size, "max-entries": _max_entries}
_GC: Mapping[str, Reader] = {
    "max-used-space": _max_used_space,
    "keep-age": _keep_age,
}
_CONTAINERS: Mapping[str, Reader] = {"log-driver": _log_driver, "log-opts": _log_options}
_HISTORY: Mapping[str, Reader] = {"keep-builds": _keep_builds, "max-size": _history_size}
_TOP: Mapping[str, Reader] = {
    "containers": _containers,
    "gc": _gc,
    "history": _history,
    "root": _root,
    "isolation": _isolation,
    "progress": _progress,
    "registry": _registry,
    "unpack": _unpack,
}
_TABLES: Mapping[str, Mapping[str, Reader]] = {
    "containers": _CONTAINERS, "gc": _GC, "history": _HISTORY, "registry": _REGISTRY, "unpack": _UNPACK,
}  # fmt: skip
KEYS = tuple(
    sorted(
        [key for key in _TOP if key not in _TABLES]
        + [f"{table}.{key}" for table, readers in _TABLES.items() for key in readers]
    )
)
