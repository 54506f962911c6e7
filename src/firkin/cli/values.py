"""The grammars of single option values. Pure. Only `cli` may import it.

The spelling is that of `docker buildx build`; each function raises UsageError that names the option and the part.
Mirrors: buildx util/buildflags, docker/go-units, docker opts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from firkin.builder.request import CacheRef, SshAgent
from firkin.errors import UsageError
from firkin.oci.run_settings import ULIMITS, Ulimit
from firkin.registry.settings import Mirror
from firkin.text import LATEST_S, Pairs, parse_bool, parse_duration_s, parse_size, whole_number

_LARGEST = (1 << 63) - 1  # the maximum of an int64
Compression = Literal["gzip", "zstd", "none"]
ENTITLEMENTS = ("network.host", "security.insecure")


def csv_fields(option: str, text: str) -> tuple[str, ...]:
    """Split one line of comma-separated values; a field in double quotes may hold commas.

    Raises UsageError. Mirrors: encoding/csv.
    """
    fields = []
    rest = text
    while True:
        if rest.startswith('"'):
            field, rest = _quoted(option, text, rest[1:])
            if rest and not rest.startswith(","):
                raise UsageError(f"option `{option}`: `{text}`: text after a closing quote")
            fields.append(field)
            if not rest:
                return tuple(fields)
            rest = rest[1:]
        else:
            field, comma, rest = rest.partition(",")
            if '"' in field:
                hints = ("quotes go around a whole field: `\"name=a,b\"`",)
                raise UsageError(f"option `{option}`: `{text}`: a quote in a field without quotes", hints=hints)
            fields.append(field)
            if not comma:
                return tuple(fields)


def _quoted(option: str, text: str, rest: str) -> tuple[str, str]:
    field = ""
    while True:
        part, quote, rest = rest.partition('"')
        if not quote:
            raise UsageError(f"option `{option}`: `{text}`: a quote is not closed")
        field += part
        if not rest.startswith('"'):
            return field, rest
        field += '"'
        rest = rest[1:]


def csv_pairs(option: str, text: str) -> Pairs:
    """Split `key=value,...` into pairs with lower-case keys. Raises UsageError."""
    pairs = []
    for field in csv_fields(option, text):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"option `{option}`: `{field}` is not KEY=VALUE", hints=(f"it was given as `{text}`",))
        pairs.append((key.strip().lower(), value))
    return tuple(pairs)


def key_value(option: str, text: str) -> tuple[str, str]:
    """Split `KEY=VALUE`; a bare KEY has an empty value. Raises UsageError."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise UsageError(f"option `{option}`: `{text}` has no name before `=`")
    return key, value


def build_args(texts: tuple[str, ...], environ: Mapping[str, str]) -> Pairs:
    """Return build arguments; a bare name takes the environment's value, or is left out if unset. Raises UsageError."""
    chosen: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key.strip():
            raise UsageError(f"option `--build-arg`: `{text}` has no name before `=`")
        if equals:
            chosen[key] = value
        elif key in environ:
            chosen[key] = environ[key]
    return tuple(chosen.items())


def boolean(option: str, key: str, value: str) -> bool:
    """Read a field as Go's strconv.ParseBool does: `true`, `TRUE`, `True`, `t`, `T`, `1`, and the like for false.

    Raises UsageError.
    """
    try:
        return parse_bool(value)
    except ValueError:
        raise UsageError(f"option `{option}`: `{key}={value}` must be true or false") from None


def size_bytes(option: str, text: str) -> int:
    """Read a size like `64m`, `1g`, `1.5GiB` or a number of bytes. Raises UsageError."""
    try:
        return parse_size(text)
    except ValueError:
        hints = ("write e.g. `64m` or `1g`",)
        raise UsageError(f"option `{option}`: `{text}` is not a size", hints=hints) from None


def epoch(build_args: Pairs, text: str) -> tuple[int | None, Pairs]:
    """Read SOURCE_DATE_EPOCH from the build arguments, else from `text`. Return seconds, and the build arguments.

    A name (`context`, a stage or a named context) stays in the build arguments, and the seconds are None. Raises
    UsageError.
    """
    text = dict(build_args).get("SOURCE_DATE_EPOCH") or text
    if not text:
        return None, build_args
    seconds = whole_number(text, LATEST_S)
    if seconds is None:
        if not any(letter.isalpha() for letter in text):
            raise UsageError(
                f"SOURCE_DATE_EPOCH is `{text}`, not a number of seconds since 1970 (before the year 10000)",
                hints=("`context` is the time of the context's commit, the name of a stage that of its download",),
            )
        build_args = tuple((dict(build_args) | {"SOURCE_DATE_EPOCH": text}).items())
    return seconds, build_args


def duration_s(option: str, text: str) -> float:
    """Read a duration like `90s`, `30m`, `24h`, `7d` or `1h30m`. Raises UsageError."""
    seconds = parse_duration_s(text)
    if seconds is None:
        raise UsageError(f"option `{option}`: `{text}` is not a duration", hints=("write e.g. `30m`, `24h` or `7d`",))
    return seconds


def ulimit(text: str) -> Ulimit:
    """Read `nofile=1024` or `nofile=1024:2048`. Raises UsageError. Mirrors: go-units ParseUlimit."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise UsageError(f"option `--ulimit`: `{text}` is not NAME=SOFT[:HARD]")
    if name not in ULIMITS:
        raise UsageError(f"option `--ulimit`: unknown limit `{name}`", hints=(f"one of {', '.join(sorted(ULIMITS))}",))
    soft, colon, hard = limits.partition(":")
    numbers = []
    for part in (soft, hard if colon else soft):
        number = -1 if part == "-1" else whole_number(part.removeprefix("+"), _LARGEST)
        if number is None:
            raise UsageError(f"option `--ulimit`: `{part}` in `{text}` is no number (-1: unlimited)")
        numbers.append(number)
    low, high = numbers
    if high != -1 and (low > high or low == -1):
        raise UsageError(f"option `--ulimit`: `{text}`: the soft limit is above the hard one")
    return Ulimit(name, low, high)


def add_host(text: str) -> tuple[str, str]:
    """Read `name:address` or `name=address`; the address may be IPv6, bare or in brackets. Raises UsageError."""
    equals, colon = text.find("="), text.find(":")
    cut = equals if equals > 0 and (colon < 0 or equals < colon) else colon
    name, address = (text[:cut], text[cut + 1 :]) if cut > 0 else (text, "")
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if address == "host-gateway":
        raise UsageError(
            "option `--add-host`: there is no `host-gateway` without a bridge network",
            hints=("steps share the machine's network by default: use `127.0.0.1`",),
        )
    if not name or not _is_address(address):
        raise UsageError(f"option `--add-host`: `{text}` is not NAME:ADDRESS", hints=("e.g. `db.local:10.0.0.7`",))
    return name, address


def _is_address(text: str) -> bool:
    parts = text.split(".")
    if len(parts) == 4 and all(whole_number(part, 255) is not None for part in parts):
        return True
    head, _, _ = text.partition("%")
    return head.count(":") >= 2 and set(head.lower()) <= frozenset("0123456789abcdef:.")


def network(text: str) -> Literal["default", "host", "none"]:
    """Read `--network`. Raises UsageError."""
    if text in ("", "default", "bridge"):
        return "default"
    if text == "host":
        return "host"
    if text == "none":
        return "none"
    raise UsageError(
        f"option `--network` cannot be `{text}`", hints=("without a daemon there are: default, host, none",)
    )


def split_list(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Join repeated options whose values may be lists with commas (`--platform a,b`)."""
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def entitlements(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Read `--allow`. Raises UsageError. Mirrors: buildkit util/entitlements."""
    allowed = split_list(texts)
    for name in allowed:
        if name not in ENTITLEMENTS:
            raise UsageError(f"option `--allow`: unknown entitlement `{name}`",
                             hints=(f"there are: {', '.join(ENTITLEMENTS)}",))  # fmt: skip
    return allowed


def annotation(text: str) -> tuple[str, str]:
    """Read `[manifest:]KEY=VALUE`; only the manifest can be annotated. Raises UsageError."""
    key, value = key_value("--annotation", text)
    head, colon, tail = key.partition(":")
    places = {place.partition("[")[0] for place in head.split(",")}
    if colon and places <= {"manifest", "manifest-descriptor", "index", "index-descriptor"}:
        if places != {"manifest"} or "[" in head:
            raise UsageError(f"option `--annotation`: `{head}:` is not supported, only `manifest:`")
        key = tail
    return key, value


def compression(option: str, text: str) -> Compression:
    """Read `compression=`. Raises UsageError."""
    if text == "uncompressed":
        return "none"
    if text in ("gzip", "zstd"):
        return cast(Compression, text)
    raise UsageError(f"option `{option}`: `compression={text}` must be gzip, zstd or uncompressed")


def cache_ref(option: str, text: str) -> CacheRef:
    """Read `--cache-from` or `--cache-to`; a bare reference is type=registry.

    Raises UsageError. Mirrors: buildx buildflags.ParseCacheEntry; `ttl-seconds`, `mounts` and `max-mount-size` are
    firkin's own.
    """
    if "=" not in text:
        return CacheRef("registry", text)
    values = dict(csv_pairs(option, text))
    kind = values.pop("type", "registry" if "ref" in values else "")
    if kind not in ("registry", "local", "inline"):
        hint = "caches are kept in the store, and with type=registry, type=local or type=inline elsewhere"
        raise UsageError(f"option `{option}`: unknown type `{kind}`" if kind else f"option `{option}` has no `type=`",
                         hints=(hint,))  # fmt: skip
    place = {"registry": "ref", "inline": ""}.get(kind, "src" if option == "--cache-from" else "dest")
    ref = values.pop(place, "") if place else ""
    if place and not ref:
        raise UsageError(f"option `{option}`: type={kind} needs `{place}=`")
    mode = values.pop("mode", "min")
    if mode not in ("min", "max"):
        raise UsageError(f"option `{option}`: `mode={mode}` must be min or max")
    ttl = values.pop("ttl-seconds", "0")
    ttl_s = whole_number(ttl, _LARGEST)
    if ttl_s is None:
        raise UsageError(f"option `{option}`: `ttl-seconds={ttl}` is no number")
    result = CacheRef(
        cast('Literal["registry", "local", "inline"]', kind),
        ref,
        mode=cast('Literal["min", "max"]', mode),
        ttl_s=ttl_s,
        ignore_error=boolean(option, "ignore-error", values.pop("ignore-error", "false")),
        compression=compression(option, values.pop("compression", "gzip")),
        mounts=boolean(option, "mounts", values.pop("mounts", "false")),
        max_mount_bytes=size_bytes(option, values.pop("max-mount-size", "2g")),
    )
    known = {"oci-mediatypes", "image-manifest", "compression-level", "force-compression", "registry.insecure",
             "digest", "tag"}  # fmt: skip
    unknown = sorted(values.keys() - known)
    if unknown:
        raise UsageError(f"option `{option}`: unknown field `{unknown[0]}`")
    return result


class SecretSpec:
    """The source of a secret: a file or an environment variable."""

    def __init__(self, id: str, path: str, variable: str) -> None:
        self.id, self.path, self.variable = id, path, variable


def secret(text: str, environ: Mapping[str, str]) -> SecretSpec:
    """Read `--secret id=...`.

    Raises UsageError. Mirrors: buildx buildflags.ParseSecretSpecs, secretsprovider.NewStore.
    """
    values = {{"source": "src"}.get(key, key): value for key, value in csv_pairs("--secret", text)}
    unknown = [key for key in values if key not in ("id", "src", "env", "type")]
    if unknown:
        raise UsageError(f"option `--secret`: unknown field `{unknown[0]}`", hints=("known are id, src, env, type",))
    id = values.get("id", "")
    if not id:
        raise UsageError(f"option `--secret`: `{text}` has no `id=`", hints=("e.g. `--secret id=token,src=token.txt`",))
    kind = values.get("type", "")
    if kind not in ("", "file", "env"):
        raise UsageError(f"option `--secret`: unsupported type `{kind}`", hints=("it is file or env",))
    path, variable = _secret_source(id, kind, values.get("src", ""), values.get("env", ""), environ)
    return SecretSpec(id, path, variable)


def _secret_source(
    id: str, kind: str, path: str, variable: str, environ: Mapping[str, str]
) -> tuple[str, str]:
    """Return the file or the variable of a secret; if neither is given, its id names one."""
    if kind == "env" and not variable:
        path, variable = "", path
    if path and variable:
        raise UsageError(f"option `--secret`: `{id}` cannot come from a file and from the environment")
    if path or variable:
        return path, variable
    by_name = kind == "env" or (kind == "" and id in environ)
    return ("", id) if by_name else (id, "")


def ssh(text: str, environ: Mapping[str, str]) -> SshAgent:
    """Read `--ssh default|ID[=PATH[,PATH]]`; without a path it is the agent of SSH_AUTH_SOCK. Raises UsageError."""
    name, _, paths = text.partition("=")
    if not name:
        raise UsageError("option `--ssh` is empty", hints=("e.g. `--ssh default`",))
    chosen = tuple(part for part in paths.split(",") if part)
    if not chosen:
        socket = environ.get("SSH_AUTH_SOCK", "")
        if not socket:
            raise UsageError(
                f"option `--ssh {name}`: no SSH agent is running (SSH_AUTH_SOCK is not set)",
                hints=(f"start one with `eval $(ssh-agent)`, or name a key: `--ssh {name}=$HOME/.ssh/id_ed25519`",),
            )
        chosen = (socket,)
    return SshAgent(name, chosen)


def mirror(text: str) -> Mirror:
    """Read `REGISTRY=[http[s]://]host[:port][/prefix]`; without REGISTRY it is docker.io's. Raises UsageError."""
    registry, equals, location = text.partition("=")
    if not equals:
        registry, location = "docker.io", text
    if not registry or not location:
        raise UsageError(f"option `--registry-mirror`: `{text}` is not REGISTRY=URL",
                         hints=("e.g. `docker.io=http://127.0.0.1:5000`",))  # fmt: skip
    return Mirror(registry, location.rstrip("/"))


def host_file(text: str) -> tuple[str, str]:
    """Read `[HOST=]FILE`; without HOST the file is for all hosts (`*`)."""
    host, equals, path = text.partition("=")
    return (host, path) if equals else ("*", text)


def client_cert(text: str) -> tuple[str, str, str]:
    """Read `HOST=CERT,KEY`. Raises UsageError."""
    host, _, files = text.partition("=")
    cert, comma, key = files.partition(",")
    if not (host and cert and comma and key):
        raise UsageError(f"option `--tls-cert`: `{text}` is not HOST=CERT,KEY")
    return host, cert, key
