"""Opens images of a store or a registry to look at their files. Does I/O. Fronts and `images/diff.py` use it.

    with Session(store, lambda: client, emit, cancel, time.time, parallel=4) as session:
        files = session.open("app:1", platform)

A name means the image of the store, and if there is none, that of the registry; `docker://NAME` always means the
registry. What a registry says is kept in the store, without a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from firkin.content.cached import CachedLayers
from firkin.content.fetch import OriginFetcher
from firkin.content.indexes import LayerIndexes
from firkin.content.progress import FetchProgress
from firkin.content.resolve import ImageResolver
from firkin.content.sources import LayerSources
from firkin.errors import Cancelled, UsageError
from firkin.events import Emit, Planned, Vertex
from firkin.images.explore.files import ImageFiles
from firkin.images.explore.layers import ImageLayer, index_name
from firkin.images.find import Found, find_image
from firkin.images.names import read_reference
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.oci.digest import whole_digest
from firkin.oci.image import Image, Layer
from firkin.oci.platform import Platform, match_rank
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

REGISTRY = "docker://"


class Session:
    """The images that are open, over one store. A context manager; the images cannot be used after it.

    `client` is called when a registry is needed for the first time. `emit` gets the progress of downloads and
    warnings, from several threads. `limits` are those of unpacking, for each layer.
    """

    def __init__(
        self, store: Store, client: Callable[[], RegistryClient], emit: Emit, cancel: Cancel,
        clock: Callable[[], float], *, parallel: int, limits: UnpackLimits = UNPACK_LIMITS,
    ) -> None:  # fmt: skip
        self.store = store
        self.cancel = cancel
        self._emit = emit
        self._clock = clock
        self._limits = limits
        self._parallel = parallel
        self._resolver = ImageResolver(store, client, emit, clock, pull=True)
        self._progress = FetchProgress(emit, clock)
        cached = CachedLayers(emit, cancel, clock)
        fetcher = OriginFetcher(client, {})
        self._sources = LayerSources(store, fetcher, cached, self._progress, emit, cancel, clock)
        self._indexes = LayerIndexes(store, self._sources, owner_free=False, limits=limits)
        self._layers: dict[str, ImageLayer] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self._layers.values():
            layer.close()

    def open(self, text: str, platform: Platform, *, exact: bool = False) -> ImageFiles:
        """Return the files of an image, none of whose layers is read yet.

        `platform` chooses from an image with several; with `exact` an image of another one is refused. Raises
        UsageError for an image that does not exist or lacks the platform, RegistryError, StoreError.
        """
        found = None if text.startswith(REGISTRY) else self._stored(text)
        if found is None:
            reference = read_reference(text.removeprefix(REGISTRY))
            resolved = self._resolver.resolve(str(reference), platform)
            image, origin = resolved.image, resolved.origin
        else:
            image, origin = _of_platform(found, text, platform, exact), ""
        if exact and match_rank(platform, image.config.platform) is None:
            raise _no_platform(text, platform, (image,))
        vertex = f"read {text}"
        self._emit(Planned(self._clock(), (Vertex(vertex, f"reading {text}"),)))
        return ImageFiles(text, image, [self._layer(layer, origin, vertex) for layer in image.layers])

    def prepare(self, layers: Iterable[ImageLayer]) -> None:
        """Fetch what is missing to list these layers, several at a time; raises the first failure."""
        self._side_by_side(ImageLayer.index, layers)

    def prepare_contents(self, layers: Iterable[ImageLayer]) -> None:
        """Fetch what is missing to read the files of these layers, several at a time; raises the first failure."""
        self._side_by_side(ImageLayer.ensure_blob, layers)

    def _side_by_side(self, work: Callable[[ImageLayer], object], layers: Iterable[ImageLayer]) -> None:
        todo = list(dict.fromkeys(layers))
        if len(todo) < 2:
            for layer in todo:
                work(layer)
            return
        pools = Pools(steps=1, transfers=self._parallel, cpu=1)

        def one(layer: ImageLayer) -> None:
            self.cancel.check()
            work(layer)

        try:
            tasks: Sequence[Task[None]] = [pools.transfers.submit(lambda layer=layer: one(layer)) for layer in todo]  # type: ignore[misc]
            for task in tasks:
                task.result()
        finally:
            pools.close(Cancelled("reading has ended"))
            for task in tasks:
                task.wait()

    def _stored(self, text: str) -> Found | None:
        """Return the image of the store; None if there is none, and the text is a name that a registry may know."""
        try:
            return find_image(self.store, text)
        except UsageError as error:
            if error.code != "no-image" or whole_digest(text) is not None or text.startswith("sha256:"):
                raise
            return None

    def _layer(self, layer: Layer, origin: str, vertex: str) -> ImageLayer:
        """Return a layer; equal ones, also of different images, are one object."""
        name = index_name(layer)
        known = self._layers.get(name)
        if known is None:
            digest = layer.descriptor.digest
            if not origin and self.store.blobs.size(digest) is None:
                for registry, repository in self.store.records.places(digest)[:1]:
                    origin = f"docker-image://{registry}/{repository}@{digest}"
            self._progress.belongs(digest, vertex)
            known = ImageLayer(self.store, self._indexes, self._sources, layer, origin, vertex, self._limits)
            self._layers[name] = known
        return known


def _of_platform(found: Found, text: str, platform: Platform, exact: bool) -> Image:
    """Return the image of the store that fits a platform best. Raises UsageError."""
    ranks = [(match_rank(platform, image.config.platform), image) for image in found.images]
    fitting = [(rank, image) for rank, image in ranks if rank is not None]
    if fitting:
        return min(fitting, key=lambda pair: pair[0])[1]
    if len(found.images) != 1 or exact:
        raise _no_platform(text, platform, found.images)
    return found.images[0]


def _no_platform(text: str, platform: Platform, images: Sequence[Image]) -> UsageError:
    offered = ", ".join(str(image.config.platform) for image in images)
    return UsageError(
        f"`{text}` is not there for {platform}", code="no-platform",
        hints=(f"it is there for {offered}" if offered else f"`{REGISTRY}{text}` looks in its registry",),
    )  # fmt: skip
