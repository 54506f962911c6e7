"""`client.images`: the images of a store, with docker-py's names. Does I/O. Loaded on first use.

Mirrors: docker/docker-py docker/models/images.py (ImageCollection, Image).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO, Literal, ParamSpec, TypeVar, overload

from firkin.api import images as calls
from firkin.api import keywords
from firkin.api.builds import StopSign, build
from firkin.api.client_arguments import (
    Filters,
    OnEvent,
    StepLog,
    beneath,
    named,
    pieces_of,
    read_filters,
    run_options,
    text_of,
    wanted_of,
)
from firkin.api.hints import in_own_words
from firkin.builder.request import CacheRef
from firkin.errors import ContextError, ImageNotFound, StoreError, UsageError
from firkin.images.find import find_image
from firkin.images.history import image_history
from firkin.images.inspect import inspect_image
from firkin.images.list import Listed, choose_images, list_images
from firkin.images.load import Front, LoadRequest, load_directory, load_stream
from firkin.images.names import familiar, read_reference, read_tag
from firkin.images.prune import prune_images
from firkin.images.remove import Remover
from firkin.images.save import Form, SaveRequest, save_images
from firkin.images.tag import tag_image
from firkin.linux.files import open_named
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.text import seconds_of

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 2 << 20
_SHORT = len("sha256:") + 10
_FORM = keywords.choice("docker", "oci", "oci-dir")


def _speaking(call: Callable[P, T]) -> Callable[P, T]:
    """Let a method raise ImageNotFound for an image that is not there, and hints in the words of the API."""

    @wraps(call)
    def spoken(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return call(*arguments, **named)
        except UsageError as error:
            if error.code != "no-image" or isinstance(error, ImageNotFound):
                raise
            raise ImageNotFound(error.message, code=error.code, hints=error.hints) from None

    return in_own_words(spoken)


class Image:
    """An image of the store. Two are equal if their ids are. `attrs` is what `docker image inspect` prints."""

    def __init__(self, images: ImageCollection, attrs: dict[str, Any]) -> None:
        self._images = images
        self.attrs = attrs

    def __repr__(self) -> str:
        return f"<Image: {', '.join(map(repr, self.tags))}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """The digest of the configuration."""
        return str(self.attrs["Id"])

    @property
    def short_id(self) -> str:
        """`sha256:` and ten digits of the id."""
        return self.id[:_SHORT]

    @property
    def tags(self) -> list[str]:
        """The names, in their short spelling."""
        return [str(name) for name in self.attrs["RepoTags"] or ()]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the configuration."""
        return dict((self.attrs.get("Config") or {}).get("Labels") or {})

    def history(self) -> list[dict[str, Any]]:
        """Return the steps that the image was made of, the last first, as the Engine's API describes them."""
        return self._images.history(self.id)

    def tag(self, repository: str, tag: str | None = None) -> bool:
        """Give the image a further name; return True. Raises UsageError."""
        return self._images.tag(self.id, repository, tag)

    def save(self, chunk_size: int = _CHUNK, named: bool | str = False) -> Iterator[bytes]:
        """Return a tar for `docker load` in pieces; `named`: with the first name, or the given one.

        Raises UsageError, StoreError, before the first piece.
        """
        name = named if isinstance(named, str) else self.tags[0] if named and self.tags else self.id
        if name not in (*self.tags, self.id):
            raise UsageError(f"`{name}` is no name of this image", code="argument-value")
        return self._images.stream((name,), chunk_size)

    def remove(self, force: bool = False, noprune: bool = False) -> None:
        """Remove the image. Raises as `client.images.remove` does."""
        self._images.remove(self.id, force, noprune)

    def reload(self) -> None:
        """Read `attrs` again. Raises ImageNotFound."""
        self.attrs = self._images.inspect(self.id)


Images = list[Image]
Documents = list[dict[str, Any]]


class ImageCollection:
    """The images of one store. Arguments that a method has beyond docker-py's are by keyword only."""

    def __init__(self, root: str, registry: RegistrySettings) -> None:
        self._root = root
        self._registry = registry

    def _store(self) -> Store:
        return Store(self._root, time.time)

    @_speaking
    def ping(self) -> bool:
        """Return True, if the store can be used. Raises StoreError."""
        with self._store():
            return True

    # --- look --------------------------------------------------------------------------------------------------------

    @_speaking
    def list(self, name: str | None = None, all: bool = False, filters: Filters | None = None) -> Images:
        """Return the images, the newest first; damaged ones are left out.

        `name` is a name, a repository or a pattern. `filters` are those of `firkin images --filter`: before, dangling,
        label, `label!`, reference, since, until. Raises UsageError, StoreError.
        """
        keywords.flag("all", all)
        wanted = wanted_of(keywords.optional(keywords.text, "name", name), read_filters(filters))
        with self._store() as store:
            chosen = choose_images(store, list_images(store, _ignore, sizes=False), wanted)
            return [Image(self, inspect_image(store, find_image(store, image.id))) for image in chosen]

    @_speaking
    def get(self, name: str) -> Image:
        """Return the image that a name, an id or a digest means. Raises ImageNotFound, UsageError, StoreError."""
        return Image(self, self.inspect(name))

    @_speaking
    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `docker image inspect` prints for an image. Raises as `get` does."""
        with self._store() as store:
            return inspect_image(store, find_image(store, keywords.text("name", name)))

    @_speaking
    def history(self, name: str) -> Documents:
        """Return the steps of an image, the last first. Raises as `get` does."""
        with self._store() as store:
            found = find_image(store, keywords.text("name", name))
            steps = image_history(store, found.image)
        return [
            {
                "Id": found.id if number == 0 else "<missing>",
                "Created": int(seconds_of(step.line.created) or 0),
                "CreatedBy": step.line.created_by,
                "Tags": sorted(map(familiar, found.names)) or None if number == 0 else None,
                "Size": step.size_bytes,
                "Comment": step.line.comment,
            }
            for number, step in enumerate(steps)
        ]

    # --- registries --------------------------------------------------------------------------------------------------

    @overload
    def pull(
        self, repository: str, tag: str | None = None, all_tags: Literal[False] = False, platform: str | None = None, *,
        on_event: OnEvent | None = None, cancel: StopSign | None = None,
    ) -> Image: ...  # fmt: skip

    @overload
    def pull(
        self, repository: str, tag: str | None = None, *, all_tags: Literal[True], platform: str | None = None,
        on_event: OnEvent | None = None, cancel: StopSign | None = None,
    ) -> Images: ...  # fmt: skip

    @_speaking
    def pull(
        self, repository: str, tag: str | None = None, all_tags: bool = False, platform: str | None = None, *,
        on_event: OnEvent | None = None, cancel: StopSign | None = None,
    ) -> Image | Images:  # fmt: skip
        """Pull an image and return it; with `all_tags` every one of the repository, as a list.

        `on_event` and `cancel` are those of `firkin.pull`. Raises UsageError, RegistryError, StoreError, Cancelled.
        """

        def one(name: str) -> Image:
            calls.pull(
                name, platform=platform, root=self._root, registry=self._registry, on_event=on_event, cancel=cancel
            )
            return self.get(name)

        if not keywords.flag("all_tags", all_tags):
            return one(named("repository", repository, tag))
        reference = read_reference(keywords.text("repository", repository))
        if tag is not None or "@" in repository or ":" in repository.rpartition("/")[2]:
            raise UsageError("tag can't be used with `all_tags`", code="argument-value")
        return [one(f"{reference.name}:{known}") for known in calls.tags_of(reference, self._registry)]

    @_speaking
    def push(
        self, repository: str, tag: str | None = None, *, on_event: OnEvent | None = None,
        cancel: StopSign | None = None,
    ) -> str:  # fmt: skip
        """Push the image of this name to its registry; return `NAME:TAG@DIGEST`.

        Raises ImageNotFound, UsageError, RegistryError, StoreError, Cancelled.
        """
        name = named("repository", repository, tag)
        return calls.push(name, root=self._root, registry=self._registry, on_event=on_event, cancel=cancel)[0]

    # --- archives ----------------------------------------------------------------------------------------------------

    @_speaking
    def load(self, data: bytes | BinaryIO | Iterable[bytes] | os.PathLike[str]) -> Images:
        """Load the images of an archive and return them: all of them, or none.

        `data` has its bytes, at once or in pieces; a path names a file or the directory of a layout. Raises
        ContextError for a damaged archive, UsageError, StoreError.
        """
        front = Front(Cancel(), lambda digest, size: lambda moved: None, lambda code, text: None)
        with self._store() as store:
            if isinstance(data, os.PathLike):
                loaded = _load_path(store, keywords.path("data", data), front)
            else:
                loaded = load_stream(store, pieces_of(data), LoadRequest(), front)
            return [Image(self, inspect_image(store, find_image(store, image.id))) for image in loaded]

    @_speaking
    def save(
        self, images: str | Iterable[str], path: str | os.PathLike[str], *,
        format: Literal["docker", "oci", "oci-dir"] = "docker",
    ) -> None:  # fmt: skip
        """Write images with their names and shared layers to a file (or, for `oci-dir`, a directory).

        A repository without a tag means all its tags. Raises ImageNotFound, UsageError, StoreError.
        """
        names = keywords.text_or_texts("images", images)
        form: Form = _FORM("format", format)  # type: ignore[assignment]
        with self._store() as store:
            save_images(store, SaveRequest(names, form), keywords.path("path", path), None, lambda code, text: None)

    @_speaking
    def stream(self, images: Iterable[str], chunk_size: int = _CHUNK) -> Iterator[bytes]:
        """Return a tar of images for `docker load` in pieces. Raises as `save` does, before the first piece."""
        size = keywords.integer("chunk_size", chunk_size)
        if size < 1:
            raise UsageError(f"`chunk_size` is {size}: it takes a number of bytes", code="argument-value")
        with self._store() as store:
            file = TemporaryFile(dir=store.layout.scratch)  # it has no name, so it goes with the last piece
            try:
                request = SaveRequest(keywords.texts("images", images))
                save_images(store, request, "-", file, lambda code, text: None)
            except BaseException:
                file.close()
                raise
        file.seek(0)
        return _read_all(file, size)

    # --- names, removal ----------------------------------------------------------------------------------------------

    @_speaking
    def tag(self, image: str, repository: str, tag: str | None = None) -> bool:
        """Give an image a further name; return True. Raises ImageNotFound, UsageError, StoreError."""
        name = read_tag(named("repository", repository, tag))
        with self._store() as store:
            tag_image(store, find_image(store, keywords.text("image", image)), (name,))
        return True

    @_speaking
    def remove(self, image: str, force: bool = False, noprune: bool = False) -> None:
        """Remove a name, or an image by its id; what nothing else needs is freed.

        Raises ImageNotFound, UsageError (`image-conflict`: see `force`), StoreError. `noprune` has no meaning here.
        """
        keywords.flag("noprune", noprune)
        with self._store() as store:
            Remover(store).remove(keywords.text("image", image), force=keywords.flag("force", force))

    @_speaking
    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove images without a name (filter `dangling=False`: all that no container uses).

        Returns `ImagesDeleted` (a list of `Untagged` and `Deleted`) and `SpaceReclaimed` in bytes. Filters are
        dangling, label, `label!` and until. Raises UsageError, StoreError.
        """
        given = read_filters(filters)
        for key in ("before", "since", "reference"):
            if key in given:
                raise UsageError(f"invalid filter '{key}'", code="argument-value")
        wanted = wanted_of(None, given)

        def fits(image: Listed, arrived_s: float) -> bool:
            if wanted.labels_fit is not None and not wanted.labels_fit(dict(image.labels)):
                return False
            made = max(arrived_s, seconds_of(image.created) or 0.0)
            return wanted.until_s is None or made < wanted.until_s

        with self._store() as store:
            pruned = prune_images(store, fits, dangling_only=wanted.dangling is not False).removal
        deleted = [{"Untagged": name} for image in pruned.images for name in image.untagged]
        deleted += [{"Deleted": digest} for image in pruned.images for digest in image.deleted]
        return {"ImagesDeleted": deleted, "SpaceReclaimed": pruned.freed_bytes}

    # --- build -------------------------------------------------------------------------------------------------------

    @_speaking
    def build(
        self, path: str | os.PathLike[str] | None = None, fileobj: BinaryIO | None = None, tag: str | None = None, *,
        nocache: bool = False, rm: bool = True, forcerm: bool = False, pull: bool = False,
        dockerfile: str | os.PathLike[str] | None = None, buildargs: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None, target: str | None = None, platform: str | None = None,
        cache_from: Iterable[str] = (), network_mode: str | None = None,
        extra_hosts: Mapping[str, str] | None = None, shmsize: int | str | None = None,
        on_event: OnEvent | None = None, cancel: StopSign | None = None, timeout: float | None = None,
    ) -> tuple[Image, Iterator[dict[str, str]]]:  # fmt: skip
        """Build an image; return it, and what its steps wrote as `{"stream": text}` (the last 4 MiB of it).

        `fileobj` is a Dockerfile that needs no context. `dockerfile` counts from `path`, as in docker-py. `rm` and
        `forcerm` have no meaning here. For everything else there is `firkin.build(..., root=client.root)`. Raises what
        that raises.
        """
        keywords.flag("rm", rm)
        keywords.flag("forcerm", forcerm)
        if (path is None) == (fileobj is None):
            raise UsageError("`build` takes either `path` or `fileobj`", code="argument-value")
        log = StepLog(on_event)
        with TemporaryDirectory() as empty:
            context = keywords.path("path", path) if path is not None else empty
            built = build(
                context, tags=(keywords.text("tag", tag),) if tag is not None else (),
                dockerfile=beneath(context, dockerfile),
                dockerfile_text=None if fileobj is None else text_of(fileobj),
                build_args=buildargs, labels=labels, target=target, platform=platform, no_cache=nocache, pull=pull,
                cache_from=tuple(CacheRef("registry", name) for name in keywords.texts("cache_from", cache_from)),
                run_options=run_options(network_mode, extra_hosts, shmsize), registry=self._registry, root=self._root,
                on_event=log, cancel=cancel, timeout_s=timeout,
            )  # fmt: skip
        return self.get(built.image.config_digest or built.image.digest), log.lines()


def _ignore(digest: str, error: StoreError) -> None:
    """A damaged image is left out of a list; `get` says what is wrong with it."""


def _load_path(store: Store, path: str, front: Front) -> tuple[Any, ...]:
    if os.path.isdir(path):
        return load_directory(store, path, LoadRequest(), front)
    try:
        file = open(open_named(path), "rb")
    except OSError as error:
        raise ContextError(f"open {path}: {(error.strerror or '').lower()}", code="archive") from error
    with file:
        return load_stream(store, pieces_of(file), LoadRequest(), front)


def _read_all(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while piece := file.read(size):
            yield piece
