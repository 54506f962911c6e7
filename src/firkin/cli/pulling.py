"""Pulls images and says what docker says, for `pull` and for `run` of an image that is not here. Does I/O.

`cli.commands` and `cli.containers` only. Mirrors: docker/cli cli/command/image/pull.go.
"""

from __future__ import annotations

import msgspec

from firkin.cli.moving import Screen
from firkin.cli.words import PULL, LayerLines
from firkin.images.progress import Transfer
from firkin.images.pull import Pulled, all_tags, look_up, pull_image
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference


class Pull:
    """Pulls images and says what docker says."""

    def __init__(self, transfer: Transfer, screen: Screen, platform: Platform, *, names: bool = True) -> None:
        """`names`: print the name of what was pulled at the end."""
        self._transfer = transfer
        self._screen = screen
        self._platform = platform
        self._names = names

    def one(self, name: Reference) -> None:
        """Pull one image. Raises RegistryError, StoreError."""
        if not name.tag and name.digest is None:
            name = msgspec.structs.replace(name, tag="latest")
            self._screen.say("Using default tag: latest\n")
        pulled = self._pull(name)
        self._end(pulled.reference.familiar, name, newer=pulled.newer)

    def every_tag(self, repository: Reference) -> None:
        """Pull every tag of a repository. Raises RegistryError, StoreError."""
        newer = False
        for name in all_tags(self._transfer, repository):
            newer = self._pull(name).newer or newer
        self._end(repository.familiar, repository, newer=newer)

    def _pull(self, name: Reference) -> Pulled:
        with self._screen.line(f"pull {name}", f"pulling {name}") as line:
            found = look_up(self._transfer, name, self._platform)
            what = found.reference.tag or found.reference.familiar
            self._screen.say(f"{what}: Pulling from {name.repository}\n")
            if not found.fits:
                have = found.image.config.platform
                self._screen.warn("image-platform", f"`{name.familiar}` is for {have}, not for {self._platform}")
            digests = [str(layer.descriptor.digest) for layer in found.image.layers]
            lines = LayerLines(PULL, dict(zip(digests, digests, strict=True)), self._screen.write)
            pulled = pull_image(self._transfer, found, self._screen.listener(line, lines))
            line.detail = pulled.image.manifest.digest
        self._screen.say(f"Digest: {pulled.digest}\n")
        return pulled

    def _end(self, familiar: str, name: Reference, *, newer: bool) -> None:
        status = "Downloaded newer image" if newer else "Image is up to date"
        self._screen.say(f"Status: {status} for {familiar}\n")
        if self._names:
            self._screen.result(f"{name}\n")
