"""Opens the two ends of a copy. Does I/O. Each transport is loaded when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.copy.convert import Form
from firkin.images.copy.ends import Source, Target
from firkin.images.copy.places import Place
from firkin.images.copy.plan import Selection
from firkin.images.find import Found
from firkin.oci.media import Compression
from firkin.registry.client import RegistryClient
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.images.archive_reader import Files


class Opener(msgspec.Struct, frozen=True):
    """What an end is opened with; the store and a client are made when they are needed. `path` makes one absolute."""

    client: Callable[[], RegistryClient]
    store: Callable[[], Store]
    find: Callable[[Store, str], Found]
    path: Callable[[str], str]
    cancel: Cancel

    def source(self, place: Place) -> Source:
        """Open what is copied. Raises UsageError, ContextError."""
        if place.transport == "docker":
            from firkin.images.copy.registry_end import RegistrySource

            return RegistrySource(self.client(), place.reference)
        if place.transport == "store":
            from firkin.images.copy.store_end import StoreSource

            store = self.store()
            return StoreSource(store, self.find(store, place.name))
        path = self.path(place.path)
        if place.transport == "dir":
            from firkin.images.copy.directory_end import DirectorySource

            return DirectorySource(path)
        if place.transport == "docker-archive":
            from firkin.images.copy.docker_archive_end import DockerArchiveSource

            return DockerArchiveSource(place, path, self._files(path), self.cancel)
        from firkin.images.copy.layout_end import LayoutSource

        return LayoutSource(place, path, self._files(path))

    def _files(self, path: str) -> Files:
        from firkin.images.archive_reader import open_files

        return open_files(path, lambda: self.store().layout.scratch, self.cancel.check)

    def target(self, place: Place) -> Target:
        """Open where it goes. Raises UsageError."""
        if place.number is not None:
            raise UsageError(f"`{place}`: a number chooses an image to read, not a place to write to")
        if place.transport == "docker":
            from firkin.images.copy.registry_end import RegistryTarget

            return RegistryTarget(self.client(), place.reference, self.cancel)
        if place.transport == "store":
            from firkin.images.copy.store_end import StoreTarget
            from firkin.images.names import read_tag

            return StoreTarget(self.store(), read_tag(place.name), self.cancel)
        path = self.path(place.path)
        if place.transport == "dir":
            from firkin.images.copy.directory_end import DirectoryTarget

            return DirectoryTarget(path, self.cancel)
        if place.transport == "oci":
            from firkin.images.copy.layout_end import LayoutTarget

            return LayoutTarget(place, path, self.cancel)
        from firkin.images.copy.tar_end import TarTarget

        return TarTarget(place, path, self.cancel)


def settled(source: Place, target: Place, selection: Selection, form: Form, *, exact: bool) -> tuple[Selection, Form]:
    """Return selection and form as the two ends need them: what a target cannot hold is left out or changed.

    A docker archive holds one platform, and no layers with zstd. Layers of a docker archive are plain tars, which are
    compressed on their way to a registry. Raises UsageError when digests are to stay, and cannot.
    """
    _check_form(target, form, exact=exact)
    if target.transport == "docker-archive":
        return _one_platform(selection), form if form.compression else _gzip(form, "zstd")
    if source.transport == "docker-archive" and target.transport == "docker" and not exact and not form.compression:
        return selection, _gzip(form, "none")
    return selection, form


def _check_form(target: Place, form: Form, *, exact: bool) -> None:
    if exact and target.transport == "docker-archive":
        raise UsageError("a docker archive does not keep the digest of an image", hints=("an OCI archive keeps it",))
    if form.family == "docker" and form.compression == "zstd":
        raise UsageError("the docker format does not know zstd", hints=(Hint.of("copy-gzip"),))
    if exact and form.changes:
        raise UsageError("another format or compression changes the digest of an image")


def _one_platform(selection: Selection) -> Selection:
    if selection.extent == "index-only" or len(selection.platforms) > 1:
        raise UsageError("a docker archive holds one platform", hints=(Hint.of("copy-platform"),))
    return selection if selection.platforms else msgspec.structs.replace(selection, extent="system")


def _gzip(form: Form, instead_of: Compression) -> Form:
    return msgspec.structs.replace(form, compression="gzip", of=(instead_of,))
