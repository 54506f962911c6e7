"""Base images and named contexts, as lowering asks for them."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from support.lowering import AMD64, BUSYBOX, base_image

from firkin.builder.bases import Bases
from firkin.content.resolve import Resolved
from firkin.errors import RegistryError
from firkin.events import Event, Warned
from firkin.oci.config import parse_config
from firkin.oci.platform import Platform
from firkin.source import Source

SPAN = Source("Dockerfile", "FROM busybox\n").span(1)
NAME = "docker.io/library/busybox:latest"


def resolved(config: dict[str, Any]) -> Resolved:
    base = base_image(NAME, config)
    parsed = parse_config(msgspec.json.encode(config))
    image: Any = SimpleNamespace(config=parsed, layers=base.layers)
    return Resolved(NAME, base.digest, image, base.origin)


class Session:
    """What Bases uses of a session."""

    def __init__(self, images: dict[str, Resolved], contexts: dict[str, Any] | None = None) -> None:
        self.images, self.named = images, contexts or {}
        self.asked: list[str] = []
        self.events: list[Event] = []
        self.emit = self.events.append
        self.resolver = SimpleNamespace(resolve=self.resolve)
        self.contexts = SimpleNamespace(image=lambda name, platform: self.named.get(name))
        self.pools = SimpleNamespace(transfers=SimpleNamespace(submit=lambda work: work()))

    def resolve(self, name: str, platform: Platform) -> Resolved:
        self.asked.append(name)
        if name not in self.images:
            raise RegistryError(f"{name} is not there")
        return self.images[name]


def bases(session: Any) -> Bases:
    return Bases(session)


def test_an_image_has_what_lowering_needs() -> None:
    found = bases(Session({NAME: resolved(BUSYBOX)})).image(NAME, AMD64, SPAN)
    assert (found.name, found.platform, len(found.layers)) == (NAME, AMD64, 1)


def test_an_error_gets_the_place_that_asked() -> None:
    with pytest.raises(RegistryError) as caught:
        bases(Session({})).image(NAME, AMD64, SPAN)
    assert caught.value.span == SPAN


def test_a_configuration_with_nul_is_warned_of() -> None:
    session = Session({NAME: resolved({**BUSYBOX, "config": {"Env": ["A=\0"]}})})
    bases(session).image(NAME, AMD64, SPAN)
    (warned,) = session.events
    assert isinstance(warned, Warned) and warned.code == "base-nul" and warned.span == SPAN
    other = Session({NAME: resolved(BUSYBOX)})
    bases(other).image(NAME, AMD64, SPAN)
    assert other.events == []


def test_several_names_are_resolved_ahead_and_one_is_not() -> None:
    session = Session({NAME: resolved(BUSYBOX), "b": resolved(BUSYBOX)})
    bases(session).prefetch(((NAME, AMD64),))
    bases(session).prefetch(())
    assert session.asked == []
    bases(session).prefetch(((NAME, AMD64), ("b", AMD64)))
    assert session.asked == [NAME, "b"]


def test_a_named_context_is_files_another_image_or_a_layout() -> None:
    session = Session({NAME: resolved(BUSYBOX)}, {"other": NAME, "layout": resolved(BUSYBOX)})
    assert bases(session).context("files", AMD64, SPAN).image is None
    for name in ("other", "layout"):
        image = bases(session).context(name, AMD64, SPAN).image
        assert image is not None and image.name == NAME
    assert session.asked == [NAME]
