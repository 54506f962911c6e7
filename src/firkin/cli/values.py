"""The grammars of single option values. Pure; only `cli` may import it.

Spelling as `docker buildx build`; every function raises UsageError that names the option and the part.
Mirrors: buildx util/buildflags, docker/go-units, docker opts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, get_args

import msgspec

from firkin.builder.request import CacheRef, Output, OutputType, SshAgent
from firkin.errors import UsageError
from firkin.oci.run import ULIMITS, Ulimit
from firkin.registry.settings import Mirror
from firkin.text import LATEST_S, Pairs, parse_bool, parse_duration_s, parse_size, whole_number

_LARGEST = (1 << 63) - 1  # of an int64
Compression = Literal["gzip", "zstd", "none"]
ENTITLEMENTS = ("network.host", "security.insecure")
# Fields that other builders know and that change nothing here: about what is done when it is needed (unpack), or never.
_OUTPUT_IGNORED = frozenset(
    "unpack prefer-nondist-layers buildinfo buildinfo-attrs context attestation-prefix nydus-fs-version".split()
)
_OUTPUT_FIELDS = (
    "type dest name push push-by-digest tar compression compression-level force-compression oci-mediatypes "
    "rewrite-timestamp source-date-epoch mode registry.insecure annotation platform-split store name-canonical "
    "dangling-name-prefix".split()
)
_OF_IMAGES = frozenset("name compression compression-level force-compression oci-mediatypes annotation".split())
# What a type has beside `type`, `dest`, `rewrite-timestamp` and `source-date-epoch`.
_OUTPUT_FIELDS_OF: dict[str, frozenset[str]] = {
    "local": frozenset(("mode", "platform-split")),
    "tar": frozenset(("platform-split",)),
    "oci": _OF_IMAGES | {"tar"},
    "docker": _OF_IMAGES | {"tar"},
}
_OF_REGISTRIES = _OF_IMAGES | {
    "push", "push-by-digest", "registry.insecure", "store", "name-canonical", "dangling-name-prefix",
}  # fmt: skip


def csv_fields(option: str, text: str) -> tuple[str, ...]:
    """Split one line of comma-separated values; a field in double quotes may hold commas. Mirrors: encoding/csv."""
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
    """Split `key=value,...` into pairs with lower-case keys."""
    pairs = []
    for field in csv_fields(option, text):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"option `{option}`: `{field}` is not KEY=VALUE", hints=(f"it was given as `{text}`",))
        pairs.append((key.strip().lower(), value))
    return tuple(pairs)


def key_value(option: str, text: str) -> tuple[str, str]:
    """Split `KEY=VALUE`; a bare KEY has an empty value."""
    key, _, value = text.partition("=")
    if not key.strip():
        raise UsageError(f"option `{option}`: `{text}` has no name before `=`")
    return key, value


def build_args(texts: tuple[str, ...], environ: Mapping[str, str]) -> Pairs:
    """Return build arguments; a bare name takes the environment's value, or is left out if unset."""
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
    """Read a field as Go's strconv.ParseBool does: `true`, `TRUE`, `True`, `t`, `T`, `1`, and the like for false."""
    try:
        return parse_bool(value)
    except ValueError:
        raise UsageError(f"option `{option}`: `{key}={value}` must be true or false") from None


def size_bytes(option: str, text: str) -> int:
    """Read a size like `64m`, `1g`, `1.5GiB` or a number of bytes."""
    try:
        return parse_size(text)
    except ValueError:
        hints = ("write e.g. `64m` or `1g`",)
        raise UsageError(f"option `{option}`: `{text}` is not a size", hints=hints) from None


def epoch(build_args: Pairs, text: str) -> tuple[int | None, Pairs]:
    """Read SOURCE_DATE_EPOCH: a build argument, else `text`. Return seconds, and the build arguments.

    A name (`context`, a stage or a named context) stands in the build arguments; the seconds are None then.
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
    """Read a duration like `90s`, `30m`, `24h`, `7d` or `1h30m`."""
    seconds = parse_duration_s(text)
    if seconds is None:
        raise UsageError(f"option `{option}`: `{text}` is not a duration", hints=("write e.g. `30m`, `24h` or `7d`",))
    return seconds


def ulimit(text: str) -> Ulimit:
    """Read `nofile=1024` or `nofile=1024:2048`. Mirrors: go-units ParseUlimit."""
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
    """Read `name:address` or `name=address`; the address may be IPv6, bare or in brackets."""
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
    """Read `--network`."""
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
    """Read `--allow`. Mirrors: buildkit util/entitlements."""
    allowed = split_list(texts)
    for name in allowed:
        if name not in ENTITLEMENTS:
            raise UsageError(f"option `--allow`: unknown entitlement `{name}`",
                             hints=(f"there are: {', '.join(ENTITLEMENTS)}",))  # fmt: skip
    return allowed


def annotation(text: str) -> tuple[str, str]:
    """Read `[manifest:]KEY=VALUE`; other places than the manifest are refused."""
    key, value = key_value("--annotation", text)
    head, colon, tail = key.partition(":")
    places = {place.partition("[")[0] for place in head.split(",")}
    if colon and places <= {"manifest", "manifest-descriptor", "index", "index-descriptor"}:
        if places != {"manifest"} or "[" in head:
            raise UsageError(f"option `--annotation`: `{head}:` is not supported, only `manifest:`")
        key = tail
    return key, value


def output(text: str) -> tuple[tuple[Output, ...], bool]:
    """Read one `--output`: what it asks for (nothing for cacheonly), and registry.insecure.

    An image that is pushed (`type=image,push=true`) is two Outputs: it is kept in the store as well.

    Mirrors: buildx buildflags.ParseExports.
    """
    option = "--output"
    fields = csv_fields(option, text)
    if not text:
        raise UsageError("option `--output` is empty", hints=("e.g. `-o out` or `-o type=docker,dest=image.tar`",))
    if len(fields) == 1 and "=" not in fields[0]:
        return (Output("tar" if text == "-" else "local", dest=fields[0]),), False
    values: dict[str, str] = {}
    annotations: list[tuple[str, str]] = []
    for key, value in csv_pairs(option, text):
        if key.startswith(("annotation.", "annotation-manifest.")):
            annotations.append((key.partition(".")[2], value))
            values["annotation"] = value
        elif key.startswith(("annotation[", "annotation-")):
            hint = "annotations go to the manifest of every platform: `annotation.KEY=VALUE`"
            raise UsageError(f"option `--output`: `{key}` is not supported", hints=(hint,))
        elif key in _OUTPUT_FIELDS:
            values[key] = value
        elif key not in _OUTPUT_IGNORED:
            from firkin.text import nearest

            meant = nearest(key, _OUTPUT_FIELDS)
            hint = f"did you mean `{meant}`?" if meant else f"known are {', '.join(_OUTPUT_FIELDS)}"
            raise UsageError(f"option `--output`: unknown field `{key}`", hints=(hint,))
    if "type" not in values:
        raise UsageError(f"option `--output`: `{text}` has no `type=`", hints=(_TYPES_HINT,))

    def switch(key: str, default: bool) -> bool:
        return boolean(option, key, values[key]) if key in values else default

    kind = _output_type(values["type"], switch("push", False))
    insecure = switch("registry.insecure", False)
    if kind is None:
        return (), insecure
    dest = values.get("dest", "")
    as_file = switch("tar", True)
    if not dest and kind in ("local", "tar", "docker", "oci"):
        place = {"local": "out", "docker": "image.tar"}.get(kind, f"{kind}.tar")
        hint = f"e.g. `-o type={kind},dest={place}`" + "; `-` is standard output" * (kind != "local")
        hint += "; `--load` keeps the image in the store" * (kind == "docker")
        raise UsageError(f"option `--output`: type {kind} needs `dest=`", hints=(hint,))
    _check_fields(values, kind)
    if kind == "docker" and not as_file:
        raise UsageError("option `--output`: type docker is always a tar", hints=("type=oci can be a directory",))
    if not switch("store", True) and kind == "store":
        return (), insecure  # an image that is neither kept nor pushed
    if dest == "-" and (kind == "local" or (kind == "oci" and not as_file)):
        raise UsageError(f"option `--output`: type {kind} writes a directory, not standard output")
    if kind in ("store", "registry") and dest:
        raise UsageError(f"option `--output`: type {values['type']} has no `dest=`", hints=("name it with `name=`",))
    family: Literal["", "oci", "docker"] = ""
    if "oci-mediatypes" in values:
        family = "oci" if switch("oci-mediatypes", True) else "docker"
    form = compression(option, values.get("compression", "gzip"))
    if form == "zstd" and family == "docker":
        raise UsageError("option `--output`: zstd layers need OCI media types", hints=("leave `oci-mediatypes` out",))
    asked = Output(
        type=kind,
        dest=dest,
        names=split_list((values["name"],)) if "name" in values else (),
        tar=as_file,
        compression=form,
        compression_level=_level(values.get("compression-level", ""), form),
        force_compression=switch("force-compression", False),
        media_family=family,
        push_by_digest=switch("push-by-digest", False),
        annotations=tuple(annotations),
        mode_delete=_mode_delete(values.get("mode", "copy")),
        platform_split=switch("platform-split", True) if "platform-split" in values else None,
        own_epoch="source-date-epoch" in values,
        epoch_s=_output_epoch(values.get("source-date-epoch", "")),
        rewrite_timestamp=switch("rewrite-timestamp", False) if "rewrite-timestamp" in values else None,
    )
    by_tag = values["type"] != "registry" and not asked.push_by_digest
    if kind == "registry" and switch("store", by_tag):
        return (kept(asked), asked), insecure
    return (asked,), insecure


def _output_epoch(text: str) -> int | None:
    seconds = whole_number(text, LATEST_S) if text else None
    if text and seconds is None:
        raise UsageError(
            f"option `--output`: source-date-epoch is `{text}`, not a number of seconds since 1970",
            hints=("names are for SOURCE_DATE_EPOCH itself; an empty value means no epoch",),
        )
    return seconds


def kept(output: Output) -> Output:
    """Return the same image as one of the store."""
    return msgspec.structs.replace(output, type="store", push_by_digest=False)


_TYPES_HINT = "one of image, registry, docker, oci, tar, local, cacheonly"


def _output_type(text: str, push: bool) -> OutputType | None:
    if text == "cacheonly":
        return None
    if text in ("image", "store"):
        return "registry" if push else "store"
    if text in get_args(OutputType):
        return cast(OutputType, text)
    raise UsageError(f"option `--output`: unknown type `{text}`", hints=(_TYPES_HINT,))


def _mode_delete(text: str) -> bool:
    if text not in ("copy", "delete"):
        raise UsageError(f"option `--output`: `mode={text}` must be copy or delete")
    return text == "delete"


def compression(option: str, text: str) -> Compression:
    """Read `compression=`."""
    if text == "uncompressed":
        return "none"
    if text in ("gzip", "zstd"):
        return cast(Compression, text)
    raise UsageError(f"option `{option}`: `compression={text}` must be gzip, zstd or uncompressed")


def _level(text: str, form: Compression) -> int | None:
    if not text:
        return None
    highest = 9 if form == "gzip" else 22
    level = whole_number(text, highest)
    if level is None:
        hint = f"the levels of {form} are 0 to {highest}" if form != "none" else "what is not compressed has no level"
        raise UsageError(f"option `--output`: `compression-level={text}` cannot be", hints=(hint,))
    return max(level, 1) if form == "zstd" else level


def _check_fields(values: dict[str, str], kind: OutputType) -> None:
    """Refuse fields that could have no effect on an output of this type."""
    known = _OUTPUT_FIELDS_OF.get(kind, _OF_REGISTRIES)
    for key, value in values.items():
        if key in known or key in ("type", "dest", "rewrite-timestamp", "source-date-epoch") or value == "false":
            continue
        types = [name for name, fields in _OUTPUT_FIELDS_OF.items() if key in fields]
        types += ["image", "registry"] if key in _OF_REGISTRIES else []
        raise UsageError(f"option `--output`: type {values['type']} has no `{key}=`",
                         hints=(f"it belongs to type {', '.join(types)}",))  # fmt: skip
    if kind == "store" and ("dangling-name-prefix" in values or values.get("name-canonical", "false") != "false"):
        hint = "every image in the store can be found by its digest, with or without a name"
        raise UsageError("option `--output`: names in the store have no digest", hints=(hint,))


def cache_ref(option: str, text: str) -> CacheRef:
    """Read `--cache-from` or `--cache-to`; a bare reference is type=registry.

    Mirrors: buildx buildflags.ParseCacheEntry; `ttl-seconds`, `mounts` and `max-mount-size` are firkin's own.
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
    """Where a secret is to be read: a file or an environment variable."""

    def __init__(self, id: str, path: str, variable: str) -> None:
        self.id, self.path, self.variable = id, path, variable


def secret(text: str, environ: Mapping[str, str]) -> SecretSpec:
    """Read `--secret id=...`. Mirrors: buildx buildflags.ParseSecretSpecs, secretsprovider.NewStore."""
    option = "--secret"
    values: dict[str, str] = {}
    for key, value in csv_pairs(option, text):
        key = {"source": "src"}.get(key, key)
        if key not in ("id", "src", "env", "type"):
            raise UsageError(f"option `--secret`: unknown field `{key}`", hints=("known are id, src, env, type",))
        values[key] = value
    if not values.get("id"):
        raise UsageError(f"option `--secret`: `{text}` has no `id=`", hints=("e.g. `--secret id=token,src=token.txt`",))
    kind = values.get("type", "")
    if kind not in ("", "file", "env"):
        raise UsageError(f"option `--secret`: unsupported type `{kind}`", hints=("it is file or env",))
    path, variable = values.get("src", ""), values.get("env", "")
    if kind == "env" and not variable:
        path, variable = "", path
    if path and variable:
        raise UsageError(f"option `--secret`: `{values['id']}` cannot come from a file and from the environment")
    if not path and not variable:
        if kind != "file" and (kind == "env" or values["id"] in environ):
            variable = values["id"]
        else:
            path = values["id"]
    return SecretSpec(values["id"], path, variable)


def ssh(text: str, environ: Mapping[str, str]) -> SshAgent:
    """Read `--ssh default|ID[=PATH[,PATH]]`; without a path it is the agent of SSH_AUTH_SOCK."""
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
    """Read `REGISTRY=[http[s]://]host[:port][/prefix]`; without REGISTRY it is docker.io's."""
    registry, equals, location = text.partition("=")
    if not equals:
        registry, location = "docker.io", text
    if not registry or not location:
        raise UsageError(f"option `--registry-mirror`: `{text}` is not REGISTRY=URL",
                         hints=("e.g. `docker.io=http://127.0.0.1:5000`",))  # fmt: skip
    return Mirror(registry, location.rstrip("/"))


def host_file(text: str) -> tuple[str, str]:
    """Read `[HOST=]FILE`; without HOST it is for all (`*`)."""
    host, equals, path = text.partition("=")
    return (host, path) if equals else ("*", text)


def client_cert(text: str) -> tuple[str, str, str]:
    """Read `HOST=CERT,KEY`."""
    host, _, files = text.partition("=")
    cert, comma, key = files.partition(",")
    if not (host and cert and comma and key):
        raise UsageError(f"option `--tls-cert`: `{text}` is not HOST=CERT,KEY")
    return host, cert, key
