"""Builds of stages of COPY over a cache in a registry, a directory or an image: what moves, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.build import run_build
from firkin.errors import HostError
from firkin.events import Event, Finished, Warned
from firkin.request import BuildRequest, BuildResult, CacheRef, Output
from firkin.solve.cancel import Cancel
from firkin.testing.registry import FakeRegistry

DOCKERFILE = """
FROM scratch AS build
COPY a /a
COPY b /b
FROM scratch
COPY c /c
WORKDIR /work
COPY --from=build /a /from-a
"""


class Project:
    """A context, and builds of it in stores of their own."""

    def __init__(self, place: Path, registry: FakeRegistry) -> None:
        self.place = place
        self.registry = registry
        self.context = place / "context"
        self.context.mkdir()
        self.events: list[Event] = []
        for name in "abc":
            self.write(name, name * 5000)
        self.write("Dockerfile", DOCKERFILE)

    def write(self, name: str, text: str) -> None:
        (self.context / name).write_text(text)

    def cache(self, **fields: object) -> CacheRef:
        return CacheRef("registry", f"{self.registry.host}/team/cache", **fields)  # type: ignore[arg-type]

    def build(self, store: str, **fields: object) -> BuildResult:
        self.events.clear()
        self.registry.seen.clear()
        request = BuildRequest(str(self.context), str(self.place / store), now_s=1.0, **fields)  # type: ignore[arg-type]
        return run_build(request, self.events.append, Cancel(), no_run)

    def push(self, store: str, name: str, **fields: object) -> BuildResult:
        return self.build(
            store, tags=(f"{self.registry.host}/team/{name}",), outputs=(Output("registry"),), **fields
        )

    @property
    def statuses(self) -> list[str]:
        return [event.status for event in self.events if isinstance(event, Finished) and event.id.isdigit()]

    def warnings(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, Warned)]

    def tags(self, repository: str = "team/cache") -> list[str]:
        return sorted(tag for name, tag in self.registry.manifests if name == repository and ":" not in tag)

    def moved(self) -> list[tuple[str, str]]:
        """Return method and path of requests that move layers."""
        return [(seen.method, seen.path) for seen in self.registry.seen
                if "/blobs/" in seen.path and seen.method in ("GET", "PATCH", "PUT")]


def no_run() -> None:
    raise HostError("no RUN here")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FakeRegistry() as registry:
        yield Project(tmp_path, registry)


def test_a_second_machine_moves_manifests_only(project: Project) -> None:
    cache = project.cache(mode="max")
    first = project.push("one", "app:1", cache_to=(cache,), cache_from=(cache,))
    assert project.statuses == ["done"] * 5
    # Five steps; COPY --from has a second key that does not care for `COPY b`.
    assert len(project.tags()) == 6
    second = project.push("two", "app:2", cache_from=(cache,))
    assert project.statuses == ["cached"] * 5
    assert second.image.digest == first.image.digest
    assert [item for item in project.moved() if item[0] == "GET"] == []
    # The registry takes the layers over from the cache; only the configuration is sent.
    assert len([item for item in project.moved() if item[0] == "PUT"]) == 1
    assert len(project.registry.requests("GET", "/manifests/")) == 6  # five keys, and one image that is none


def test_layers_are_fetched_when_an_output_needs_them(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    project.build("two", cache_from=(cache,), tags=("app:1",))
    assert project.statuses == ["cached"] * 5
    assert len(project.moved()) == 3
