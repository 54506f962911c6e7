"""Which logs there are, and their options. Pure.

`local` differs from `json-file` in its place and its limits only, so that one reader reads both. Mirrors: moby
daemon/logger/jsonfilelog, local and loggerutils.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.errors import ContainerError

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from typing import Any

    from firkin.containers.documents.config import Config, LogConfig
    from firkin.containers.documents.record import Record

DEFAULT_DRIVER = "json-file"
_WAYS_OUT = "there are `json-file`, `local` and `none`; a collector can read the files of `json-file`"
_LIMITS = ("max-size", "max-file", "compress")
_ATTRIBUTES = ("labels", "labels-regex", "env", "env-regex", "tag")
_COMMON = ("mode", "max-buffer-size")
_KNOWN = {
    "json-file": (*_LIMITS, *_ATTRIBUTES, *_COMMON),
    "local": (*_LIMITS, *_COMMON),
    "none": (),
}
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE = r"(\d+(?:\.\d+)?) ?([kmgtpKMGTP]?)(?:[iI]?[bB])?"
_BUFFER_BYTES = 1 << 20
_LOCAL_BYTES, _LOCAL_FILES = 20 << 20, 5
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def log_path(directory: str, id: str, driver: str) -> str:
    """Return the path of a container's log, "" if it has none; inspect shows that of json-file only."""
    if driver == "none":
        return ""
    return f"{directory}/log/container.log" if driver == "local" else f"{directory}/log/{id}-json.log"


def check_log_config(config: LogConfig) -> None:
    """Refuse a driver or an option that there is none of. Raises ContainerError (`invalid`)."""
    driver = config.type or DEFAULT_DRIVER
    if driver not in _KNOWN:
        raise _invalid(f"logger: no log driver named '{driver}' is registered", hints=(_WAYS_OUT,))
    for name in config.config:
        if name not in _KNOWN[driver]:
            raise _invalid(f"unknown log opt '{name}' for {driver} log driver")
    _limits(driver, config.config)
    mode = config.config.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise _invalid(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in config.config:
        if mode != "non-blocking":
            raise _invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        _size("max-buffer-size", config.config["max-buffer-size"])
    for name in ("labels-regex", "env-regex"):
        if config.config.get(name):
            _pattern(name, config.config[name])


def log_plan(record: Record, directory: str) -> dict[str, Any]:
    """Return `log` of the launch document, for options that `check_log_config` has passed."""
    wanted = record.host_config.log_config
    driver = wanted.type or DEFAULT_DRIVER
    most_bytes, most_files, compress = _limits(driver, wanted.config)
    buffered = wanted.config.get("mode") == "non-blocking"
    return {
        "type": driver,
        "path": log_path(directory, record.id, driver),
        "max_size": most_bytes,
        "max_file": most_files,
        "compress": compress,
        "attrs": _attributes(record, wanted.config),
        "buffer": _size("max-buffer-size", wanted.config.get("max-buffer-size", str(_BUFFER_BYTES))) if buffered else 0,
    }


def _limits(driver: str, options: Mapping[str, str]) -> tuple[int, int, bool]:
    """Return the largest size of a file (0: any), how many files, and whether old ones are compressed."""
    local = driver == "local"
    most_bytes, most_files, compress = (_LOCAL_BYTES, _LOCAL_FILES, True) if local else (0, 1, False)
    if "max-size" in options:
        most_bytes = 0 if options["max-size"] == "-1" and not local else _size("max-size", options["max-size"])
    if "max-file" in options:
        most_files = _count(options["max-file"])
    if "compress" in options:
        compress = _flag(options["compress"])
    if not local and compress and (most_files == 1 or most_bytes == 0):
        raise _invalid("compress cannot be true when max-file is less than 2 or max-size is not set")
    return most_bytes, most_files, compress and most_files > 1


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise _invalid(f"max-file cannot be less than 1: {text}")
    return int(text)


def _flag(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise _invalid(f"invalid value for compress: {text}")
    return text in _TRUE


def _size(name: str, text: str) -> int:
    """Return a size in bytes from text such as `10m`. Mirrors: go-units RAMInBytes."""
    import re

    match = re.fullmatch(_SIZE, text.strip())
    size = int(float(match[1]) * (1 << _UNITS[match[2].lower()])) if match else 0
    if size <= 0:
        raise _invalid(f"invalid value for {name}: {text}")
    return size


def _attributes(record: Record, options: Mapping[str, str]) -> dict[str, str]:
    """Return what goes into every line. Mirrors: moby logger.Info.ExtraAttributes."""
    config = record.config
    found = _chosen(config.labels or {}, options.get("labels", ""), options.get("labels-regex", ""))
    found |= _chosen(_environment(config), options.get("env", ""), options.get("env-regex", ""))
    if options.get("tag"):
        found["tag"] = _tag(record, options["tag"])
    return found


def _environment(config: Config) -> dict[str, str]:
    entries = (entry.partition("=") for entry in config.env or ())
    return {name: value for name, equals, value in entries if equals}


def _chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    wanted = names.split(",")
    matches = _pattern("regex", pattern) if pattern else None
    return {name: value for name, value in values.items() if name in wanted or (matches and matches.search(name))}


def _pattern(name: str, text: str) -> re.Pattern[str]:
    import re

    try:
        return re.compile(text)
    except re.error as error:
        raise _invalid(f"invalid value for {name}: {error}") from error


def _tag(record: Record, template: str) -> str:
    """Return a tag; of the template language, the fields that docker's documentation lists."""
    fields = {
        "ID": record.id[:12], "FullID": record.id, "Name": record.name, "ImageID": record.image.partition(":")[2][:12],
        "ImageFullID": record.image, "ImageName": record.config.image, "DaemonName": "docker",
    }  # fmt: skip
    import re

    return re.sub(r"{{\s*\.(\w+)\s*}}", lambda match: fields.get(match[1], match[0]), template)


def _invalid(message: str, hints: tuple[str, ...] = ()) -> ContainerError:
    return ContainerError(message, kind="invalid", code="log-options", hints=hints)
