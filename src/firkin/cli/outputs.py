"""The grammar of `--output`. Pure.

Mirrors: buildx util/buildflags.ParseExports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, NoReturn, cast, get_args

import msgspec

from firkin.builder.request import Output, OutputType
from firkin.cli.values import Compression, boolean, compression, csv_fields, csv_pairs, split_list
from firkin.errors import UsageError
from firkin.text import LATEST_S, Pairs, whole_number

_OPTION = "--output"
_TYPES_HINT = "one of image, registry, docker, oci, tar, local, cacheonly"
# Fields of other builders that change nothing here: they concern what is done on demand (unpack) or never.
_OUTPUT_IGNORED = frozenset(
    "unpack prefer-nondist-layers buildinfo buildinfo-attrs context attestation-prefix nydus-fs-version".split()
)
_OUTPUT_FIELDS = (
    "type dest name push push-by-digest tar compression compression-level force-compression oci-mediatypes "
    "rewrite-timestamp source-date-epoch mode registry.insecure annotation platform-split store name-canonical "
    "dangling-name-prefix".split()
)
_OF_IMAGES = frozenset("name compression compression-level force-compression oci-mediatypes annotation".split())
# The fields of a type besides `type`, `dest`, `rewrite-timestamp` and `source-date-epoch`.
_OUTPUT_FIELDS_OF: dict[str, frozenset[str]] = {
    "local": frozenset(("mode", "platform-split")),
    "tar": frozenset(("platform-split",)),
    "oci": _OF_IMAGES | {"tar"},
    "docker": _OF_IMAGES | {"tar"},
}
_OF_REGISTRIES = _OF_IMAGES | {
    "push", "push-by-digest", "registry.insecure", "store", "name-canonical", "dangling-name-prefix",
}  # fmt: skip


class _Fields(NamedTuple):
    """The fields of an option: `key=value`, and the annotations."""

    values: Mapping[str, str]
    annotations: Pairs

    def text(self, key: str, default: str = "") -> str:
        return self.values.get(key, default)

    def switch(self, key: str, default: bool) -> bool:
        return boolean(_OPTION, key, self.values[key]) if key in self.values else default

    def switch_if_given(self, key: str) -> bool | None:
        return boolean(_OPTION, key, self.values[key]) if key in self.values else None


def read_output(text: str) -> tuple[tuple[Output, ...], bool]:
    """Read one `--output`: its outputs (none for cacheonly), and registry.insecure.

    A pushed image (`type=image,push=true`) is two Outputs, since the store keeps it as well. Raises UsageError.
    """
    fields = csv_fields(_OPTION, text)
    if not text:
        raise UsageError("option `--output` is empty", hints=("e.g. `-o out` or `-o type=docker,dest=image.tar`",))
    if len(fields) == 1 and "=" not in fields[0]:
        return (Output("tar" if text == "-" else "local", dest=fields[0]),), False
    return _typed(_read(text))


def _read(text: str) -> _Fields:
    values: dict[str, str] = {}
    annotations: list[tuple[str, str]] = []
    for key, value in csv_pairs(_OPTION, text):
        if key.startswith(("annotation.", "annotation-manifest.")):
            annotations.append((key.partition(".")[2], value))
            values["annotation"] = value
        elif key.startswith(("annotation[", "annotation-")):
            hint = "annotations go to the manifest of every platform: `annotation.KEY=VALUE`"
            raise UsageError(f"option `--output`: `{key}` is not supported", hints=(hint,))
        elif key in _OUTPUT_FIELDS:
            values[key] = value
        elif key not in _OUTPUT_IGNORED:
            _refuse_field(key)
    if "type" not in values:
        raise UsageError(f"option `--output`: `{text}` has no `type=`", hints=(_TYPES_HINT,))
    return _Fields(values, tuple(annotations))


def _refuse_field(key: str) -> NoReturn:
    from firkin.text import nearest

    meant = nearest(key, _OUTPUT_FIELDS)
    hint = f"did you mean `{meant}`?" if meant else f"known are {', '.join(_OUTPUT_FIELDS)}"
    raise UsageError(f"option `--output`: unknown field `{key}`", hints=(hint,))


def _typed(fields: _Fields) -> tuple[tuple[Output, ...], bool]:
    kind = _output_type(fields.text("type"), fields.switch("push", False))
    insecure = fields.switch("registry.insecure", False)
    if kind is None:
        return (), insecure
    as_file = fields.switch("tar", True)
    _check_dest(fields, kind)
    _check_fields(fields.values, kind)
    if kind == "docker" and not as_file:
        raise UsageError("option `--output`: type docker is always a tar", hints=("type=oci can be a directory",))
    if not fields.switch("store", True) and kind == "store":
        return (), insecure  # neither keep nor push the image
    _check_kind_of_dest(fields, kind, as_file)
    asked = _asked(fields, kind, as_file)
    by_tag = fields.text("type") != "registry" and not asked.push_by_digest
    if kind == "registry" and fields.switch("store", by_tag):
        return (_kept(asked), asked), insecure
    return (asked,), insecure


def _check_dest(fields: _Fields, kind: OutputType) -> None:
    """Refuse an output that needs a place and names none."""
    if fields.text("dest") or kind not in ("local", "tar", "docker", "oci"):
        return
    place = {"local": "out", "docker": "image.tar"}.get(kind, f"{kind}.tar")
    hint = f"e.g. `-o type={kind},dest={place}`" + "; `-` is standard output" * (kind != "local")
    hint += "; `--load` keeps the image in the store" * (kind == "docker")
    raise UsageError(f"option `--output`: type {kind} needs `dest=`", hints=(hint,))


def _check_kind_of_dest(fields: _Fields, kind: OutputType, as_file: bool) -> None:
    """Refuse a place that an output of this type cannot be written to."""
    dest = fields.text("dest")
    if dest == "-" and (kind == "local" or (kind == "oci" and not as_file)):
        raise UsageError(f"option `--output`: type {kind} writes a directory, not standard output")
    if kind in ("store", "registry") and dest:
        hints = ("name it with `name=`",)
        raise UsageError(f"option `--output`: type {fields.text('type')} has no `dest=`", hints=hints)


def _asked(fields: _Fields, kind: OutputType, as_file: bool) -> Output:
    family = _family(fields)
    form = compression(_OPTION, fields.text("compression", "gzip"))
    if form == "zstd" and family == "docker":
        raise UsageError("option `--output`: zstd layers need OCI media types", hints=("leave `oci-mediatypes` out",))
    return Output(
        type=kind,
        dest=fields.text("dest"),
        names=split_list((fields.text("name"),)),
        tar=as_file,
        compression=form,
        compression_level=_level(fields.text("compression-level"), form),
        force_compression=fields.switch("force-compression", False),
        media_family=family,
        push_by_digest=fields.switch("push-by-digest", False),
        annotations=fields.annotations,
        mode_delete=_mode_delete(fields.text("mode", "copy")),
        platform_split=fields.switch_if_given("platform-split"),
        own_epoch="source-date-epoch" in fields.values,
        epoch_s=_output_epoch(fields.text("source-date-epoch")),
        rewrite_timestamp=fields.switch_if_given("rewrite-timestamp"),
    )


def _family(fields: _Fields) -> Literal["", "oci", "docker"]:
    oci = fields.switch_if_given("oci-mediatypes")
    return "" if oci is None else "oci" if oci else "docker"


def _output_epoch(text: str) -> int | None:
    seconds = whole_number(text, LATEST_S) if text else None
    if text and seconds is None:
        raise UsageError(
            f"option `--output`: source-date-epoch is `{text}`, not a number of seconds since 1970",
            hints=("names are for SOURCE_DATE_EPOCH itself; an empty value means no epoch",),
        )
    return seconds


def _kept(output: Output) -> Output:
    """Return the output that keeps the same image in the store."""
    return msgspec.structs.replace(output, type="store", push_by_digest=False)


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


def _level(text: str, form: Compression) -> int | None:
    if not text:
        return None
    highest = 9 if form == "gzip" else 22
    level = whole_number(text, highest)
    if level is None:
        hint = f"the levels of {form} are 0 to {highest}" if form != "none" else "what is not compressed has no level"
        raise UsageError(f"option `--output`: `compression-level={text}` cannot be", hints=(hint,))
    return max(level, 1) if form == "zstd" else level


def _check_fields(values: Mapping[str, str], kind: OutputType) -> None:
    """Refuse fields that have no effect on an output of this type."""
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
