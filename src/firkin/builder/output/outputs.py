"""From finished snapshots to images and outputs: assembles, and calls the exporter of each output. Does I/O."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from firkin.builder.cache.records import StepRecords
from firkin.builder.graph.assemble import assemble_image
from firkin.builder.graph.ops import Copy, MakeDir, Pull, Run
from firkin.builder.graph.step import Graph, ImagePlan, StepId
from firkin.builder.output.names import parse_names
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, Output, StepResult
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.result import Result
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.errors import FirkinError, UsageError
from firkin.hints import Hint
from firkin.oci import media
from firkin.oci.digest import Digest
from firkin.oci.image import Image, Layer, stored_bytes
from firkin.oci.manifest import Index, Manifest, PairMap, encode_index
from firkin.oci.reference import Reference

if TYPE_CHECKING:
    from firkin.builder.output.registry import EarlyPush


Family = media.Family | Literal["base"]
_REWRITTEN = "buildkit/rewritten-timestamp"
_GATHERED = frozenset(("store", "oci", "docker"))  # outputs that need the bytes of every layer
"""The kind of manifest that is wanted; base: that of the base image, docker where there is none."""


Kind = tuple[LayerFormat, Family, PairMap]
"""What makes images of one build differ: the form of the layers, media types, annotations."""


class Built(msgspec.Struct, frozen=True):
    """An image in the form that some outputs want, with what is needed to find its layers."""

    plan: ImagePlan
    snapshot: Snapshot
    image: Image
    form: LayerFormat


class Exporter:
    """Writes the outputs of one request; everything is checked before the first is written."""

    def __init__(self, bench: BuildSession, request: BuildRequest) -> None:
        self._bench = bench
        self._request = request
        self.names = parse_names(request.tags)
        self._result_names = tuple(dict.fromkeys((*self.names, *_names_of(request.outputs))))
        self.wants_files = any(output.type in ("tar", "local") for output in request.outputs)
        self.keeps_blobs = any(output.type in _GATHERED for output in request.outputs)
        self._early: EarlyPush | None = None
        # What is squashed has no layers to send before the end.
        registries = [output for output in request.outputs if output.type == "registry" and not request.squash]
        if registries:
            from firkin.builder.output.registry import EarlyPush

            self._early = EarlyPush(bench, parse_names(registries[0].names) or self.names)
            self._early_forms: set[LayerFormat] = set()
            self._early_output = registries[0]
            bench.layers.blobs.listen(self._send_early)
        self._built: list[dict[Kind, Built]] = []

    def formats(self, graph: Graph) -> tuple[LayerFormat, ...]:
        """Return the forms in which a graph's layers will be wanted."""
        if self._early is not None:
            self._early_forms = {self._form(self._early_output, plan) for plan in graph.targets}
        return tuple(dict.fromkeys(self._form(x, plan) for plan in graph.targets for x in self._request.outputs))

    def send_bases(self, graph: Graph) -> None:
        """Bring the layers of base images to where the image will be pushed, when there is something to build."""
        for plan in graph.targets:
            step = graph.steps[plan.step]
            while step.inputs and isinstance(step.op, (Run, Copy, MakeDir)):
                step = graph.steps[step.inputs[0]]
            if self._early is not None and isinstance(step.op, Pull):
                for layer in step.op.layers:
                    self._early.send(layer, step.op.origin)

    def _send_early(self, form: LayerFormat, layer: Layer) -> None:
        if self._early is not None and form in self._early_forms:
            self._early.send(layer)

    def _form(self, output: Output, plan: ImagePlan) -> LayerFormat:
        request = self._request
        return LayerFormat(
            output.compression,
            output.compression_level,
            clamp_s=self._epoch(output, plan),
            clamp_all=self._rewrites(output),
            force=output.force_compression,
            ignore=tuple(path.strip("/") for path in request.ignore_paths),
        )

    def _epoch(self, output: Output, plan: ImagePlan) -> int | None:
        """Return the time of everything new, if that is not the clock's business.

        The output's own, else SOURCE_DATE_EPOCH, else the base's, if timestamps are rewritten.
        """
        epoch_s = output.epoch_s if output.own_epoch else plan.source_date_epoch
        return plan.base_s if epoch_s is None and self._rewrites(output) else epoch_s

    def _rewrites(self, output: Output) -> bool:
        """Tell whether files from contexts and downloads have no time after the epoch, either."""
        own = output.rewrite_timestamp
        return self._request.rewrite_timestamp if own is None else own

    def check_places(self) -> None:
        """Make the directories that outputs are written to, and see that they can be; raises UsageError."""
        for output in self._request.outputs:
            if output.dest not in ("", "-"):
                from firkin.images.archive import prepare_place

                whole = output.type == "local" or (output.type == "oci" and not output.tar)
                prepare_place(os.path.join(self._request.cwd, output.dest), directory=whole)

    def check_push(self) -> None:
        """Ask registries whether they would take what the request names; raises RegistryError."""
        repositories = {name.name: name for name in parse_names(self._request.check_push)}
        for name in repositories.values():
            self._bench.client().check_push(name)

    def _family(self, output: Output) -> Family:
        if output.media_family or self._request.media_family:
            return output.media_family or self._request.media_family or "oci"
        return "docker" if output.type == "docker" and output.compression != "zstd" else "oci"

    def _kind(self, output: Output, plan: ImagePlan) -> Kind:
        return self._form(output, plan), self._family(output), output.annotations

    def assemble(self, memory: Memory, graph: Graph, results: dict[StepId, Result]) -> None:
        """Write the layers' blobs and make the image of every target, in each form that is wanted.

        `memory` knows the layers' times and the records of their steps.
        """
        for plan in graph.targets:
            snapshot = results[plan.step]
            if not isinstance(snapshot, Snapshot):
                raise TypeError("a target is not a root file system")
            if self._request.squash:
                from firkin.builder.output.squash import squash

                plan, snapshot = squash(
                    self._bench.store, self._bench.layers.trees, memory.created, plan, snapshot
                )
            told_first = sorted(self._request.outputs, key=_visibility, reverse=True)
            wanted: dict[Kind, None] = dict.fromkeys(self._kind(x, plan) for x in told_first) or {
                (self._form(Output(), plan), self._request.media_family or "oci", ()): None
            }
            self._built.append(
                {key: Built(plan, snapshot, self._image(memory, plan, snapshot, *key), key[0]) for key in wanted}
            )

    def _image(
        self,
        memory: Memory,
        plan: ImagePlan,
        snapshot: Snapshot,
        form: LayerFormat,
        family: Family,
        annotations: PairMap,
    ) -> Image:
        if family == "base":
            family = _family_of(snapshot)
        tasks = [self._bench.layers.blobs.start(layer, form) for layer in snapshot.layers]
        layers = tuple(task.result() for task in tasks)
        times = tuple(memory.created.get(layer.tree_id) for layer in snapshot.layers)
        if family == "docker" and not self._insists_on_docker and any(map(_is_zstd, layers)):
            family = "oci"  # Docker's media types know no such layers; those of a base may be
        if family == "oci" and form.clamp_all and form.clamp_s is not None:
            layers = tuple(
                layer if ref.pulled is not None else _rewritten(layer, form.clamp_s)
                for ref, layer in zip(snapshot.layers, layers, strict=True)
            )
        try:
            return assemble_image(
                plan,
                layers,
                times,
                family=family,
                annotations=(
                    *dict((*self._request.annotations, *annotations)).items(),
                    *self._inline_cache(memory, snapshot, layers, form),
                ),
                epoch_s=form.clamp_s,
            )
        except ValueError as error:
            hints = (Hint.of("output-mediatypes"),)
            raise FirkinError(
                f"cannot make the image: {error}", code="assemble", hints=hints if any(map(_is_zstd, layers)) else ()
            ) from error

    @property
    def _insists_on_docker(self) -> bool:
        return "docker" in (self._request.media_family, *(output.media_family for output in self._request.outputs))

    def _inline_cache(
        self, memory: Memory, snapshot: Snapshot, layers: tuple[Layer, ...], form: LayerFormat
    ) -> PairMap:
        """Return what makes the image a cache of its own layers (--cache-to type=inline), if that was asked for."""
        if not any(cache.type == "inline" for cache in self._request.cache_to):
            return ()
        from firkin.builder.solve.caches import inline_cache

        return inline_cache(memory.used, StepRecords(self._bench.store), snapshot, layers, form)

    def with_layers(
        self, stories: dict[StepId, StepResult], results: dict[StepId, Result]
    ) -> tuple[StepResult, ...]:
        """Return how steps ended, each with the layer that it made in the image assembled last, if it made one."""
        built = next(iter(self._built[-1].values()))
        layers = {
            ref.tree_id: layer
            for ref, layer in zip(built.snapshot.layers, built.image.layers, strict=True)
            if ref.pulled is None
        }
        told = []
        for step, story in stories.items():
            result = results[step]
            top = result.layers[-1].tree_id if isinstance(result, Snapshot) and result.layers else ""
            layer = layers.get(top)
            if layer is not None:
                story = msgspec.structs.replace(story, diff_id=layer.diff_id, size_bytes=layer.descriptor.size)
            told.append(story)
        return tuple(told)

    def images(self) -> tuple[Built, ...]:
        """Return the image of every platform, in the form that is pushed, else kept, else wanted first."""
        return tuple(next(iter(forms.values())) for forms in self._built)

    def export(self, stories: tuple[StepResult, ...], began: float) -> BuildResult:
        """Write every output, those that others see last; then tell what came of the build."""
        written = [self._write(output) for output in sorted(self._request.outputs, key=_visibility)]
        first = list(self.images())
        images = tuple(_result(built, self._result_names) for built in first)
        root = images[0]
        document: Manifest | Index = first[0].image.manifest
        if len(images) > 1:
            told = max(self._request.outputs, key=_visibility, default=Output())
            document = index = self._index([built.image for built in first], self._family(told))
            root = msgspec.structs.replace(
                root, digest=index.digest, config_digest="", media_type=index.media_type, platform="",
                size_bytes=stored_bytes([built.image for built in first], index), config=msgspec.Raw(b"{}"),
            )  # fmt: skip
        seconds = time.time() - began
        metadata = self._metadata(root, len(document.raw), first[0].image.config.created)
        return BuildResult(root, images, stories, tuple(filter(None, written)), seconds, msgspec.Raw(metadata))

    def _index(self, images: list[Image], family: Family) -> Index:
        manifests = tuple(
            msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images
        )
        kind = media.index_media_type("oci" if family == "base" else family)
        return encode_index(Index(kind, manifests, self._request.annotations))

    def _write(self, output: Output) -> str:
        family = self._family(output)
        built = [forms[self._kind(output, plan_of(forms))] for forms in self._built]
        images = tuple(item.image for item in built)
        index = self._index(list(images), family) if len(images) > 1 else None
        names = parse_names(output.names) if output.names else self.names
        if output.type == "store":
            names = tuple(dict.fromkeys((*self.names, *names)))  # no name that was asked for is lost
        bench = self._bench
        stdout = open(1, "wb", closefd=False) if output.dest == "-" else None
        dest = output.dest if output.dest in ("", "-") else os.path.join(self._request.cwd, output.dest)
        if output.type in _GATHERED:
            self._gather(built)
        match output.type:
            case "store":
                for image in images:
                    bench.store.blobs.put(image.config.raw)
                    bench.store.blobs.put(image.manifest.raw)
                if index is not None:
                    bench.store.blobs.put(index.raw)
                descriptor = index.descriptor if index else images[0].manifest.descriptor
                bench.store.images.tag(descriptor, names, images[0].config.created)
                return ""
            case "registry":
                from firkin.builder.output.registry import push_images

                return push_images(bench, images, index, names, output, _origins(built))
            case "oci":
                from firkin.images.oci_layout import write_directory, write_tar

                if output.tar:
                    write_tar(images, index, names, bench.store.blobs, dest, stdout)
                else:
                    write_directory(images, index, names, bench.store.blobs, dest, alone=output.alone)
            case "docker":
                from firkin.images.docker_archive import write_docker_archive, write_flat_archive

                if index is not None:
                    raise UsageError(
                        "docker exporter does not currently support exporting manifest lists",
                        code="output",
                        hints=(Hint.of("output-platforms"),),
                    )
                write = write_flat_archive if output.flat else write_docker_archive
                write(images[0], names, bench.store.blobs, dest, stdout)
            case "tar" | "local":
                from firkin.builder.output.rootfs import write_rootfs

                epochs = [self._epoch(output, item.plan) for item in built]
                write_rootfs(bench, [(x.plan, x.snapshot) for x in built], epochs, output, dest, stdout)
        return f"{output.type}: {output.dest}"

    def _gather(self, built: list[Built]) -> None:
        """Have the bytes of every layer in the store: those of a base may never have been fetched."""
        tasks = []
        for item in built:
            for ref, layer in zip(item.snapshot.layers, item.image.layers, strict=True):
                tasks.append(
                    self._bench.pools.transfers.submit(
                        lambda layer=layer, origin=ref.origin: self._bench.layers.sources.ensure_blob(layer, origin)  # type: ignore[misc]
                    )
                )
        for task in tasks:
            task.result()

    def _metadata(self, root: ImageResult, size: int, created: str) -> bytes:
        """Return the document of --metadata-file, with buildx's keys."""
        data: dict[str, object] = {"containerimage.config.digest": root.config_digest} if root.config_digest else {}
        data["containerimage.descriptor"] = {
            "mediaType": root.media_type,
            "digest": root.digest,
            "size": size,
            "annotations": {"org.opencontainers.image.created": created},
        }
        data["containerimage.digest"] = root.digest
        if self._result_names:
            data["image.name"] = ",".join(str(name) for name in self._result_names)
        return msgspec.json.encode(data)


def _names_of(outputs: tuple[Output, ...]) -> tuple[Reference, ...]:
    """Return the names that outputs give the image where it is kept or pushed."""
    kept = [output for output in outputs if output.type in ("store", "registry") and not output.push_by_digest]
    return tuple(name for output in kept for name in parse_names(output.names))


def _origins(built: list[Built]) -> dict[Digest, str]:
    """Say where the layers that came from base images can be had."""
    layers = [ref for item in built for ref in item.snapshot.layers]
    return {ref.pulled.descriptor.digest: ref.origin for ref in layers if ref.pulled is not None}


def _family_of(snapshot: Snapshot) -> media.Family:
    pulled = [ref.pulled for ref in snapshot.layers if ref.pulled is not None]
    return media.layer_family(pulled[-1].descriptor.media_type) if pulled else "docker"


def _rewritten(layer: Layer, epoch_s: int) -> Layer:
    """Return a layer that says that no time in it is after the epoch. Mirrors: buildkit util/converter."""
    annotations = ((_REWRITTEN, str(epoch_s)),)
    return msgspec.structs.replace(layer, descriptor=msgspec.structs.replace(layer.descriptor, annotations=annotations))


def _is_zstd(layer: Layer) -> bool:
    return media.layer_compression(layer.descriptor.media_type) == "zstd"


def plan_of(forms: dict[Kind, Built]) -> ImagePlan:
    """Return the plan that the images of all forms are made from."""
    return next(iter(forms.values())).plan


def _visibility(output: Output) -> int:
    return {"store": 1, "registry": 2}.get(output.type, 0)


def _result(built: Built, names: tuple[Reference, ...]) -> ImageResult:
    image = built.image
    return ImageResult(
        image.manifest.digest,
        image.config.digest,
        image.manifest.media_type,
        tuple(str(name) for name in names),
        str(image.config.platform),
        image.size_bytes,
        msgspec.Raw(image.config.raw),
    )
