"""Where volumes live: STORE/volumes/NAME, who uses them, and how they are made and removed. Does I/O.

One lock protects which volumes there are and who uses them; it is held for moments only. A volume is made beside its
place and renamed, and renamed away before it is deleted: so one that has its name is whole. A user is an empty file
named by the container's id; it counts as long as the container, or its beginning, is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from firkin.containers.home.deleting import remove_files
from firkin.containers.home.finder import is_id
from firkin.containers.home.home import write_document
from firkin.containers.home.names import is_name
from firkin.containers.home.times import now_text
from firkin.decode import decode_json
from firkin.errors import ContainerError
from firkin.linux.files import read_named
from firkin.linux.folders import remove_tree
from firkin.store.layout import locked

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_OPTIONS = ("type", "device", "o", "size")
_NEW, GONE = ".new-", ".gone-"  # no name begins with a dot


class Volume(msgspec.Struct, frozen=True):
    """`volume.json`. `labels` and `options` are None when none were given. `created` is RFC 3339, UTC."""

    name: str
    created: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    anonymous: bool = False
    version: int = 1

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody named it, as its label says: clients set that themselves, too."""
        return self.anonymous or ANONYMOUS_LABEL in (self.labels or {})


class Volumes:
    """The volumes of an engine's store. Thread-safe, and safe beside other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.place = f"{engine.root}/volumes"

    def data(self, name: str) -> str:
        """Return the directory with the contents, whether it is there or not."""
        return f"{self.place}/{name}/data"

    def names(self) -> list[str]:
        """Return the names of all volumes, sorted."""
        with suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.place) if is_name(name))
        return []

    def find(self, name: str) -> Volume:
        """Return a volume; raises ContainerError (`missing`)."""
        volume = self._read(name)
        if volume is None:
            raise no_volume(name)
        return volume

    def entries(self) -> list[Volume]:
        """Return all volumes, by name."""
        return [volume for volume in map(self._read, self.names()) if volume is not None]

    def users(self, name: str) -> tuple[str, ...]:
        """Return the ids of the containers that mount a volume, running or not."""
        try:
            found = os.listdir(f"{self.place}/{name}/users")
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return tuple(sorted(id for id in found if is_id(id) and self._exists(id)))

    def ensure(
        self, name: str = "", labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None,
        *, user: str = "",
    ) -> tuple[Volume, bool]:  # fmt: skip
        """Return the volume of a name, and whether it was just made; without a name one that nobody named.

        One that is there is returned as it is. `user` is a container that mounts it from now on. Raises ContainerError:
        `invalid` for a wrong name or option.
        """
        anonymous = not name
        if anonymous:
            name = os.urandom(32).hex()
        elif not is_name(name):
            raise ContainerError(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
                kind="invalid", code="volume-name",
            )  # fmt: skip
        with self._locked():
            found = self._read(name)
            if found is not None:
                self._add_user(name, user)
                return found, False
            check_options(options)
            given = {**(labels or {}), ANONYMOUS_LABEL: ""} if anonymous else labels
            volume = Volume(name, now_text(), dict(given or {}) or None, dict(options or {}) or None, anonymous)
            self._make(volume, user)
        self._engine.volume_event("create", name)
        return volume, True

    def release(self, name: str, user: str) -> None:
        """A container mounts a volume no more."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(f"{self.place}/{name}/users/{user}")

    def used_by(self, user: str) -> list[str]:
        """Return the volumes that a container says to mount, by a look at every volume."""
        return [name for name in self.names() if os.path.exists(f"{self.place}/{name}/users/{user}")]

    def remove(self, name: str, *, force: bool = False) -> Volume | None:
        """Remove a volume that no container mounts; returns what it was, with `force` None if there was none.

        Raises ContainerError: `missing`, or `conflict` with docker's `volume is in use`.
        """
        with self._locked():
            volume = self._read(name)
            if volume is None:
                if force:
                    return None
                raise no_volume(name)
            users = self.users(name)
            if users:
                raise ContainerError(
                    f"remove {name}: volume is in use - [{', '.join(users)}]", kind="conflict", code="volume-used",
                    hints=("remove these containers first",),
                )  # fmt: skip
            gone = f"{self.place}/{GONE}{os.urandom(6).hex()}"
            os.rename(f"{self.place}/{name}", gone)
        self._delete(gone)
        self._engine.volume_event("destroy", name)
        return volume

    def sweep(self) -> None:
        """Delete what deaths left: volumes that were being made or removed."""
        try:
            rests = [name for name in os.listdir(self.place) if name.startswith((_NEW, GONE))]
        except FileNotFoundError:
            return
        for name in rests:
            path = f"{self.place}/{name}"
            if name.startswith(_NEW):
                with self._locked():  # whoever makes one holds the lock all the time
                    gone = f"{self.place}/{GONE}{os.urandom(6).hex()}"
                    with suppress(FileNotFoundError):
                        os.rename(path, gone)
                path = gone
            self._delete(path)

    def _read(self, name: str) -> Volume | None:
        if not is_name(name):
            return None
        try:
            return decode_json(read_named(f"{self.place}/{name}/volume.json"), Volume)
        except (OSError, ValueError):
            return None

    def _make(self, volume: Volume, user: str) -> None:
        place = f"{self.place}/{_NEW}{os.urandom(6).hex()}"
        try:
            os.mkdir(place, 0o700)
            os.mkdir(f"{place}/users", 0o700)
            os.mkdir(f"{place}/data", 0o755)
            os.chmod(f"{place}/data", 0o755)  # whatever the umask
            write_document(f"{place}/volume.json", msgspec.json.encode(volume), sync=not volume.anonymous)
            if user:
                _touch(f"{place}/users/{user}")
            os.rename(place, f"{self.place}/{volume.name}")
        except OSError as error:
            remove_tree(place)
            why = (error.strerror or str(error)).lower()
            raise ContainerError(
                f"cannot make the volume {volume.name}: {why}", kind="failed", code="volume-io"
            ) from error

    def _add_user(self, name: str, user: str) -> None:
        if user:
            _touch(f"{self.place}/{name}/users/{user}")

    def _delete(self, path: str) -> None:
        remove_files(self._engine, path)

    def _exists(self, id: str) -> bool:
        home = self._engine.home
        return os.path.isdir(home.directory(id)) or os.path.isdir(f"{home.containers}/new-{id}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        os.makedirs(self.place, mode=0o700, exist_ok=True)
        with locked(f"{self.place}/.lock"):
            yield


def no_volume(name: str) -> ContainerError:
    """Return the error for a volume that is not there."""
    return ContainerError(f"get {name}: no such volume", kind="missing", code="no-volume")


def check_options(options: Mapping[str, str] | None) -> None:
    """Raise ContainerError (`invalid`) for options that the local driver does not know, or half of a mount.

    Mirrors: moby volume/local (validateOpts).
    """
    if not options:
        return
    for key in options:
        if key not in _OPTIONS:
            raise ContainerError(f'create: invalid option: "{key}"', kind="invalid", code="volume-option")
    for needed, others in (("device", ("type", "o")), ("type", ("device", "o"))):
        if not options.get(needed) and any(options.get(other) for other in others):
            raise ContainerError(f'create: missing required option: "{needed}"', kind="invalid", code="volume-option")


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
