"""Pushes layers while a build still runs. Does I/O."""

from __future__ import annotations

from firkin.builder.graph.ops import Copy, MakeDir, Pull, Run
from firkin.builder.graph.step import Graph
from firkin.builder.output.kinds import form_of
from firkin.builder.request import BuildRequest, Output
from firkin.builder.solve.session import BuildSession
from firkin.content.format import LayerFormat
from firkin.errors import FirkinError
from firkin.oci.image import Layer
from firkin.oci.reference import Reference, parse_reference


class EarlyPush:
    """Sends layers while later steps still run, so that little is left to do when the image is complete.

    It names nothing, and nothing depends on it: the push itself sends the blobs that are still missing, and reports
    errors. Layers of bases are mounted from the repositories they came from, not fetched.
    """

    def __init__(
        self, session: BuildSession, request: BuildRequest, output: Output, targets: tuple[Reference, ...]
    ) -> None:
        self._session = session
        self._request = request
        self._output = output
        self._targets = tuple({target.name: target for target in targets}.values())
        self._forms: frozenset[LayerFormat] = frozenset()
        session.layers.blobs.listen(self._written)

    def expect(self, graph: Graph) -> None:
        """Send the layers that are written in the forms in which this graph's images will be pushed."""
        self._forms = frozenset(form_of(self._request, self._output, plan) for plan in graph.targets)

    def _written(self, form: LayerFormat, layer: Layer) -> None:
        if form in self._forms:
            self._start(layer)

    def send_bases(self, graph: Graph) -> None:
        """Send the layers of base images to the repositories of the push; called when a step has to run."""
        for plan in graph.targets:
            step = graph.steps[plan.step]
            while step.inputs and isinstance(step.op, (Run, Copy, MakeDir)):
                step = graph.steps[step.inputs[0]]
            if isinstance(step.op, Pull):
                for layer in step.op.layers:
                    self._start(layer, step.op.origin)

    def _start(self, layer: Layer, origin: str = "") -> None:
        """Send a layer whose blob is in the store, or mount one of a base."""
        caches = self._session.caches
        for target in self._targets:
            if not origin and caches is not None and target.registry in caches.registries:
                continue  # a cache in the same registry gets it anyway; the push mounts it from there
            self._session.pools.transfers.submit(lambda target=target: self._send(target, layer, origin))  # type: ignore[misc]

    def _send(self, target: Reference, layer: Layer, origin: str) -> None:
        client = self._session.client()
        try:
            scheme, _, rest = origin.partition("://")
            if not origin:
                blobs = self._session.store.blobs
                client.push_blob(target, layer.descriptor, lambda: blobs.open(layer.descriptor.digest))
            elif scheme == "docker-image":
                source = client.mount_source(target, parse_reference(rest.rpartition("@")[0]))
                if source:
                    client.mount_blob(target, layer.descriptor.digest, source)
        except FirkinError:
            return  # the push itself gets the same error, and reports it
