"""Builds again and compares with an image that exists: `firkin build --verify`. Does I/O.

It runs the flow of `build`; `worker` calls it. Every step is executed again. Nothing is named or pushed; the
layers stay in the store until `firkin prune`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.build import make_images
from firkin.builder.graph.assemble import rfc3339, seconds_of
from firkin.builder.opening import open_session, platforms_of
from firkin.builder.output.built import Built
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, Output
from firkin.builder.solve.session import BuildSession
from firkin.content.resolve import Resolved
from firkin.errors import FirkinError, StoreError, UsageError
from firkin.events import Emit, PlatformPrefix
from firkin.hints import AnyHint, Hint
from firkin.images.find import find_image
from firkin.layer.members import Content, FileDifference, compare_members, read_members
from firkin.oci import media
from firkin.oci.config import History, ImageConfig
from firkin.oci.digest import whole_digest
from firkin.oci.image import Image, Layer
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.source import Source
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.backend import Backend

_OPTION = Hint.of("option-verify")


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a comparison; the JSON document of the result. `step` is a line of history."""

    equal: bool
    expected: str
    digest: str
    platform: str
    source_date_epoch: int | None = None
    step: str = ""
    path: str | None = None
    differences: tuple[str, ...] = ()


def run_verify(request: BuildRequest, emit: Emit, cancel: Cancel, backend: Callable[[], Backend]) -> BuildResult:
    """Build what the request asks for and compare it; the result's metadata is a Verdict for each platform.

    Raises FirkinError (code `verify`) that names the first step and file that differ.
    """
    began = time.time()
    prefix = PlatformPrefix(emit)
    with open_session(request, prefix, cancel, backend) as session:
        source = session.contexts.read_dockerfile()
        verdicts = [_verify(session, request, source, prefix, platform) for platform in platforms_of(request)]
    nothing = ImageResult("", "", "", (), "", 0)
    return BuildResult(nothing, (), (), (), time.time() - began, msgspec.Raw(msgspec.json.encode(verdicts)))


def _verify(
    session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix, asked: Platform | None
) -> Verdict:
    platform, label = asked or session.host, str(asked) if len(request.platforms) > 1 else ""
    request = msgspec.structs.replace(request, platforms=(str(asked),) if asked else ())
    expected = _expected(session, request.verify, platform)
    request = _like(request, expected.image)
    epoch = request.source_date_epoch
    found = None
    for number, (seconds, rewrite) in enumerate(_guesses(request, expected.image)):
        # The steps run once; further attempts find them in the cache and set other times on their files.
        attempt = msgspec.structs.replace(
            request, source_date_epoch=seconds, rewrite_timestamp=rewrite, no_cache=not number
        )
        prefix.enter(f"{platform} {number}", label)
        built = _build(session, attempt, source, prefix)
        same = built.image.manifest.digest == expected.image.manifest.digest
        if number <= 1 or same:  # if no attempt gives the same image, the likeliest is compared
            found, epoch = built, seconds
        if same:
            break
    assert found is not None
    verdict = Verdict(True, expected.image.manifest.digest, found.image.manifest.digest, str(platform), epoch)
    if found.image.manifest.digest == expected.image.manifest.digest:
        return verdict
    raise _difference(session, expected, found, epoch)


def _expected(session: BuildSession, text: str, platform: Platform) -> Resolved:
    """Return the image of a name or a digest; raises UsageError, RegistryError."""
    if "@" not in text:
        try:
            found = find_image(session.store, text)
        except UsageError as error:
            if error.code != "no-image" or whole_digest(text) or text.startswith("sha256:"):
                hint = "name it with its repository: `REPOSITORY@sha256:...`"
                hints = (hint,) if error.code == "no-image" else error.hints
                raise UsageError(error.message, code=error.code, hints=hints, option=_OPTION) from error
        else:
            image = None if found.by_name else session.resolver.stored(found.root, platform)
            if image is not None:
                return Resolved(text, found.root.digest, image, "")
    try:
        name = str(parse_reference(text))
    except ValueError as error:
        raise UsageError(str(error), option=_OPTION) from error
    return session.resolver.resolve(name, platform)


def _like(request: BuildRequest, image: Image) -> BuildRequest:
    """Return a request for the form of an image: its media types, and the compression of its last layer."""
    output = Output("store", media_family="docker" if image.manifest.media_type == media.DOCKER_MANIFEST else "oci")
    if image.layers:
        compression = media.layer_compression(image.layers[-1].descriptor.media_type)
        output = msgspec.structs.replace(output, compression=compression)
    asked = next((x for x in request.outputs if x.compression_level is not None or x.force_compression), None)
    if asked is not None:
        output = msgspec.structs.replace(
            output, compression_level=asked.compression_level, force_compression=asked.force_compression
        )
    annotations = request.annotations or image.manifest.annotations
    rewrite = request.rewrite_timestamp or any(output.rewrite_timestamp for output in request.outputs)
    return msgspec.structs.replace(
        request, outputs=(output,), tags=(), no_cache=True, annotations=annotations, cache_to=(),
        rewrite_timestamp=rewrite,
    )  # fmt: skip


def _epoch_of(image: Image) -> int | None:
    """Return the likely SOURCE_DATE_EPOCH of an image: its times, if they are equal whole seconds; else None."""
    created = image.config.created
    epoch = seconds_of(created)
    last = image.config.history[-1].created if image.config.history else created
    return epoch if created == last == rfc3339(epoch) else None


def _guesses(request: BuildRequest, image: Image) -> list[tuple[int | None, bool]]:
    """Return the epochs and --rewrite-timestamp with which the image may have been built, the likeliest first."""
    asked = (request.source_date_epoch, request.rewrite_timestamp)
    if asked != (None, False):
        return [asked]
    epoch = _epoch_of(image)
    return [(None, False)] if epoch is None else [(None, False), (epoch, False), (epoch, True), (None, True)]


def _build(session: BuildSession, request: BuildRequest, source: Source, prefix: PlatformPrefix) -> Built:
    exporter, _ = make_images(session, request, source, prefix)
    return exporter.images()[0]


def _difference(session: BuildSession, expected: Resolved, found: Built, epoch: int | None) -> FirkinError:
    """Return the error for the first difference; one in nothing but a file's time counts only if there is no other."""
    old, new = expected.image, found.image
    hints: list[AnyHint] = [f"expected {old.manifest.digest}, built {new.manifest.digest}"]
    lines = _layer_lines(old.config.history), _layer_lines(new.config.history)
    only_times: FirkinError | None = None
    for index, (layer, other) in enumerate(zip(old.layers, new.layers, strict=False)):
        if layer.diff_id == other.diff_id:
            continue
        differences = _compare_layers(session, expected, found, layer, other)
        if differences is None:
            text = f"the base image is another: layer {index + 1} was {layer.diff_id}, and is {other.diff_id}"
            return _error(text, hints)
        error = _file_error(_title(lines[0], index), differences, hints, epoch)
        if not differences or not all(item.only_time for item in differences):
            return error
        only_times = only_times or error
    if len(old.layers) > len(new.layers):
        return _error(f"only the expected image has the step `{_title(lines[0], len(new.layers))}`", hints)
    if len(old.layers) < len(new.layers):
        return _error(f"only the built image has the step `{_title(lines[1], len(old.layers))}`", hints)
    return only_times or _document_error(old, new, hints)


def _compare_layers(
    session: BuildSession, expected: Resolved, found: Built, layer: Layer, other: Layer
) -> list[FileDifference] | None:
    """Return how the files of two layers differ; None where one belongs to the base image."""
    if any(ref.pulled is not None and ref.pulled.diff_id == other.diff_id for ref in found.snapshot.layers):
        return None
    try:
        return list(compare_members(_members(session, layer, expected.origin), _members(session, other, "")))
    except StoreError as missing:
        if missing.code != "blob-missing":
            raise
        return None  # only layers of a base image can be missing here: no step needed them


def _file_error(step: str, differences: list[FileDifference], hints: list[AnyHint], epoch: int | None) -> FirkinError:
    if not differences:
        return _error(f"the layer of step `{step}` has the same files in another archive", hints)
    serious = [item for item in differences if not item.only_time]
    first = (serious or differences)[0]
    message = f"step `{step}` differs: /{first.path}: {', '.join(first.what)}"
    if len(differences) > 1:
        message += f" (and {len(differences) - 1} more)"
    if serious:
        return _error(message, hints)
    hint = Hint.of("epoch-of-both") if epoch is None else Hint.of("rewrite-timestamp")
    return _error(message, [*hints, hint])


def _document_error(old: Image, new: Image, hints: list[AnyHint]) -> FirkinError:
    """Return the error for images with the same files whose configurations or manifests differ."""
    for index, (line, other) in enumerate(zip(old.config.history, new.config.history, strict=False)):
        what = _differing_field(line, other, ("created_by", "empty_layer", "author", "comment", "created"))
        if what:
            if what == "created":
                hints.append(Hint.of("epoch"))
            told = f"`{getattr(line, what)}` → `{getattr(other, what)}`"
            return _error(f"line {index + 1} of the history (`{line.created_by}`) differs: {what} {told}", hints)
    if old.config.raw != new.config.raw:
        return _error(_config_difference(old.config, new.config), hints)
    for layer, again in zip(old.layers, new.layers, strict=False):
        if layer.descriptor != again.descriptor:
            return _error(f"the files are the same, layer {layer.diff_id} is compressed otherwise", hints)
    return _error("the files and the configuration are the same, the manifest differs", hints)


def _config_difference(old: ImageConfig, new: ImageConfig) -> str:
    before, after = old.runtime, new.runtime
    if what := _differing_field(old, new, ("created", "platform", "author")):
        told = f"{what} {getattr(old, what)} → {getattr(new, what)}"
    elif what := _differing_field(before, after, before.__struct_fields__):
        told = f"{what} {getattr(before, what)!r} → {getattr(after, what)!r}"
    else:
        return "the files are the same, the configuration is written otherwise"
    return f"the files are the same, the configuration differs: {told}"


def _differing_field(old: object, new: object, fields: tuple[str, ...]) -> str:
    """Return the first field in which two values differ, "" if there is none."""
    return next((field for field in fields if getattr(old, field) != getattr(new, field)), "")


def _error(message: str, hints: list[AnyHint]) -> FirkinError:
    return FirkinError(f"the result differs: {message}", code="verify", hints=tuple(hints))


def _layer_lines(history: tuple[History, ...]) -> list[str]:
    return [line.created_by for line in history if not line.empty_layer]


def _title(lines: list[str], index: int) -> str:
    return lines[index] if index < len(lines) and lines[index] else f"layer {index + 1}"


def _members(session: BuildSession, layer: Layer, origin: str) -> dict[str, Content]:
    if origin:
        session.layers.sources.ensure_blob(layer, origin)

    def chunks() -> Iterator[bytes]:
        with session.store.blobs.open(layer.descriptor.digest) as file:
            while chunk := file.read(1 << 20):
                yield chunk

    return read_members(chunks(), session.request.unpack)


