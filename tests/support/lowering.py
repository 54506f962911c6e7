"""Run the front end alone: a resolver that knows some images, and Dockerfiles from strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from firkin.builder.dockerfile.lower import BaseImage, LowerOptions, NamedContext, lower
from firkin.builder.dockerfile.parse import parse
from firkin.builder.graph.ops import Copy, MakeDir, Op, Run
from firkin.builder.graph.step import Graph, ImagePlan
from firkin.errors import RegistryError
from firkin.oci.config import ImageConfig, RuntimeConfig, encode_config, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Layer
from firkin.oci.platform import Platform
from firkin.source import Source, Span

AMD64 = Platform("linux", "amd64")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": [PATH], "Cmd": ["sh"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "busybox rootfs"}],
}


def base_image(name: str, config: Mapping[str, Any]) -> BaseImage:
    """Return an image with the given configuration and one fake blob for each of its layers."""
    parsed = parse_config(msgspec.json.encode(config))
    layers = tuple(
        Layer(diff_id, Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", diff_id, 10))
        for diff_id in parsed.diff_ids
    )
    digest = digest_of(name.encode())
    return BaseImage(name, digest, f"docker-image://{name}@{digest}", parsed.platform, parsed, layers)


class FakeResolver:
    """Images by canonical name, contexts by the given name; remembers what it was asked for."""

    def __init__(
        self, images: Mapping[str, Mapping[str, Any]] | None = None, contexts: Mapping[str, NamedContext] | None = None
    ) -> None:
        self.images = {
            "docker.io/library/busybox:latest": BUSYBOX,
            "docker.io/library/busybox:1.35": BUSYBOX,
            **(images or {}),
        }
        self.contexts = dict(contexts or {})
        self.asked: list[str] = []

    def image(self, name: str, platform: Platform, span: Span | None) -> BaseImage:
        self.asked.append(name)
        if name not in self.images:
            raise RegistryError(f"{name}: not found", status=404)
        return base_image(name, self.images[name])

    def context(self, name: str, platform: Platform, span: Span | None) -> NamedContext:
        self.asked.append(f"context:{name}")
        return self.contexts[name]


class Lowered:
    """A lowered Dockerfile: its graph, the one image's plan, and the warnings."""

    def __init__(self, graph: Graph, warnings: list[tuple[str, str]], resolver: FakeResolver) -> None:
        self.graph = graph
        self.warnings = warnings
        self.resolver = resolver

    @property
    def plan(self) -> ImagePlan:
        (plan,) = self.graph.targets
        return plan

    @property
    def runtime(self) -> RuntimeConfig:
        return self.plan.runtime

    @property
    def codes(self) -> list[str]:
        return [code for code, _ in self.warnings]

    @property
    def created_by(self) -> list[str]:
        """The history entries of the Dockerfile itself."""
        return [line.created_by for line in self.plan.history if not line.created]

    def ops(self) -> list[Op]:
        """The operations that the image needs and that make layers."""
        return [step.op for step in self.graph.needed() if isinstance(step.op, Run | Copy | MakeDir)]

    def only(self, kind: type[msgspec.Struct]) -> Any:
        """The one operation of a kind."""
        (found,) = [step.op for step in self.graph.needed() if isinstance(step.op, kind)]
        return found

    def encoded_config(self) -> bytes:
        """The image configuration that the build would have, with fake layers."""
        plan = self.plan
        count = sum(not line.empty_layer for line in plan.history)
        diff_ids = tuple(DiffID(digest_of(bytes([number]))) for number in range(count))
        config = ImageConfig(plan.platform, plan.runtime, diff_ids, plan.history, author=plan.author)
        return encode_config(config).raw


def build(
    text: str,
    resolver: FakeResolver | None = None,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Lowered:
    """Parse and lower a Dockerfile; options as in LowerOptions."""
    resolver = resolver or FakeResolver(images)
    settings: dict[str, Any] = {"platform": AMD64, "build_platform": AMD64, **options}
    for name in ("build_args", "labels", "proxy_args"):
        if isinstance(settings.get(name), dict):
            settings[name] = tuple(settings[name].items())
    warnings: list[tuple[str, str]] = []
    graph = lower(
        parse(Source("Dockerfile", text)),
        LowerOptions(**settings),
        resolver,
        lambda code, message, span: warnings.append((code, message)),
    )
    return Lowered(graph, warnings, resolver)
