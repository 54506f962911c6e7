"""Assembles the images of a build, and writes each output. Does I/O."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

import msgspec

from firkin.builder.graph.step import Graph, ImagePlan, StepId
from firkin.builder.output import WRITERS
from firkin.builder.output.built import Built, Export
from firkin.builder.output.kinds import Kind, family_of, form_of, kind_of
from firkin.builder.output.making import make_image
from firkin.builder.output.names import parse_names
from firkin.builder.output.results import index_of, metadata, result_of, result_of_index
from firkin.builder.request import BuildRequest, BuildResult, Output, StepResult
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.result import Result
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.oci.manifest import Index, Manifest
from firkin.oci.reference import Reference

if TYPE_CHECKING:
    from firkin.builder.output.early_push import EarlyPush

_WITH_BLOBS = frozenset(("store", "oci", "docker"))
"""Outputs that need the bytes of every layer."""


class Exporter:
    """Writes the outputs of one request; everything is checked before the first is written."""

    def __init__(self, session: BuildSession, request: BuildRequest) -> None:
        self._session = session
        self._request = request
        self._names = parse_names(request.tags)
        self._result_names = tuple(dict.fromkeys((*self._names, *_names_of(request.outputs))))
        self.wants_files = any(output.type in ("tar", "local") for output in request.outputs)
        self.keeps_blobs = any(output.type in _WITH_BLOBS for output in request.outputs)
        self._early = _early_push(session, request, self._names)
        self._built: list[dict[Kind, Built]] = []

    def check_places(self) -> None:
        """Make the directories of outputs, and check that they can be written to; raises UsageError."""
        for output in self._request.outputs:
            if output.dest not in ("", "-"):
                from firkin.images.archive import prepare_place

                whole = output.type == "local" or (output.type == "oci" and not output.tar)
                prepare_place(os.path.join(self._request.cwd, output.dest), directory=whole)

    def check_push(self) -> None:
        """Ask registries whether the request's names can be pushed; raises RegistryError."""
        repositories = {name.name: name for name in parse_names(self._request.check_push)}
        for name in repositories.values():
            self._session.client().check_push(name)

    def formats(self, graph: Graph) -> tuple[LayerFormat, ...]:
        """Return the forms in which a graph's layers will be needed."""
        if self._early is not None:
            self._early.expect(graph)
        request = self._request
        return tuple(dict.fromkeys(form_of(request, x, plan) for plan in graph.targets for x in request.outputs))

    def send_bases(self, graph: Graph) -> None:
        """Send the layers of base images to the repositories of the push; called when a step has to run."""
        if self._early is not None:
            self._early.send_bases(graph)

    def assemble(self, memory: Memory, graph: Graph, results: dict[StepId, Result]) -> None:
        """Write the layers' blobs and make the image of every target, in each kind that an output needs.

        `memory` knows the layers' times and the records of their steps. Raises TypeError for a target that is no root.
        """
        session, request = self._session, self._request
        for plan in graph.targets:
            snapshot = results[plan.step]
            if not isinstance(snapshot, Snapshot):
                raise TypeError("a target is not a root file system")
            if request.squash:
                from firkin.builder.output.squash import squash

                plan, snapshot = squash(session.store, session.layers.trees, memory.created, plan, snapshot)
            forms = {}
            for kind in self._kinds(plan):
                image = make_image(session, request, memory, plan, snapshot, kind)
                forms[kind] = Built(plan, snapshot, image, kind[0])
            self._built.append(forms)

    def _kinds(self, plan: ImagePlan) -> tuple[Kind, ...]:
        """Return the kinds of image that outputs need, first that of the output that others see."""
        request = self._request
        told_first = sorted(request.outputs, key=_visibility, reverse=True)
        wanted = tuple(dict.fromkeys(kind_of(request, output, plan) for output in told_first))
        return wanted or ((form_of(request, Output(), plan), request.media_family or "oci", ()),)

    def with_layers(
        self, step_results: dict[StepId, StepResult], results: dict[StepId, Result]
    ) -> tuple[StepResult, ...]:
        """Return how steps ended, each with the layer that it made in the image assembled last, if it made one."""
        built = next(iter(self._built[-1].values()))
        layers = {
            ref.tree_id: layer
            for ref, layer in zip(built.snapshot.layers, built.image.layers, strict=True)
            if ref.pulled is None
        }
        ended = []
        for step, told in step_results.items():
            result = results[step]
            top = result.layers[-1].tree_id if isinstance(result, Snapshot) and result.layers else ""
            layer = layers.get(top)
            if layer is not None:
                told = msgspec.structs.replace(told, diff_id=layer.diff_id, size_bytes=layer.descriptor.size)
            ended.append(told)
        return tuple(ended)

    def images(self) -> tuple[Built, ...]:
        """Return the image of every platform, in the form that is pushed, else kept, else needed first."""
        return tuple(next(iter(forms.values())) for forms in self._built)

    def export(self, steps: tuple[StepResult, ...], began: float) -> BuildResult:
        """Write every output, those that others see last, and return the result of the build."""
        written = [self._write(output) for output in sorted(self._request.outputs, key=_visibility)]
        first = self.images()
        images = tuple(result_of(built, self._result_names) for built in first)
        root, document = images[0], cast("Manifest | Index", first[0].image.manifest)
        told = max(self._request.outputs, key=_visibility, default=Output())
        made = [built.image for built in first]
        index = index_of(self._request, made, family_of(self._request, told))
        if index is not None:
            root, document = result_of_index(root, index, made), index
        seconds = time.time() - began
        described = metadata(root, len(document.raw), made[0].config.created, self._result_names)
        return BuildResult(root, images, steps, tuple(filter(None, written)), seconds, described)

    def _write(self, output: Output) -> str:
        """Write one output; return a line about it, or ""."""
        request = self._request
        built = tuple(forms[kind_of(request, output, _plan_of(forms))] for forms in self._built)
        index = index_of(request, [item.image for item in built], family_of(request, output))
        names = parse_names(output.names) if output.names else self._names
        dest = output.dest if output.dest in ("", "-") else os.path.join(request.cwd, output.dest)
        module, function = WRITERS[output.type]
        write: Callable[[Export], str] = getattr(import_module(f"firkin.builder.output.{module}"), function)
        return write(Export(self._session, request, output, built, index, names, dest))


def _early_push(session: BuildSession, request: BuildRequest, names: tuple[Reference, ...]) -> EarlyPush | None:
    """Return the object that pushes layers while the build runs; None if nothing is pushed."""
    output = next((output for output in request.outputs if output.type == "registry"), None)
    if output is None or request.squash:
        return None  # a squashed image has no layers to send before the end
    from firkin.builder.output.early_push import EarlyPush

    return EarlyPush(session, request, output, parse_names(output.names) or names)


def _names_of(outputs: tuple[Output, ...]) -> tuple[Reference, ...]:
    """Return the names that outputs give the image where it is kept or pushed."""
    kept = [output for output in outputs if output.type in ("store", "registry") and not output.push_by_digest]
    return tuple(name for output in kept for name in parse_names(output.names))


def _plan_of(forms: dict[Kind, Built]) -> ImagePlan:
    """Return the plan that the images of all forms are made from."""
    return next(iter(forms.values())).plan


def _visibility(output: Output) -> int:
    return {"store": 1, "registry": 2}.get(output.type, 0)
