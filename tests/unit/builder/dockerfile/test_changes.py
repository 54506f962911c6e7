"""Changes of a configuration: the instructions that docker allows, and no others."""

from __future__ import annotations

import pytest

from firkin.builder.dockerfile.changes import ALLOWED, apply_changes
from firkin.errors import DockerfileError
from firkin.oci.config import Healthcheck, RuntimeConfig
from firkin.oci.platform import Platform

PLATFORM = Platform("linux", "amd64")


def test_every_allowed_instruction() -> None:
    changes = [
        'CMD ["a", "b"]', "ENTRYPOINT run it", "ENV A=b C=$A\nENV C=d", "EXPOSE 80 53/udp", "LABEL x=y",
        "HEALTHCHECK --retries=2 CMD true", "ONBUILD RUN x", "STOPSIGNAL SIGINT", "USER me", "VOLUME /v", "workdir /w",
    ]  # fmt: skip
    assert {change.split()[0].lower() for change in changes} == ALLOWED
    found = apply_changes(RuntimeConfig(env=("A=base",), labels=(("l", "m"),)), changes, PLATFORM)
    assert found == RuntimeConfig(
        user="me", exposed_ports=("53/udp", "80/tcp"), env=("A=b", "C=d"), entrypoint=("/bin/sh", "-c", "run it"),
        cmd=("a", "b"), volumes=("/v",), working_dir="/w", labels=(("l", "m"), ("x", "y")), stop_signal="SIGINT",
        healthcheck=Healthcheck(test=("CMD-SHELL", "true"), retries=2), on_build=("RUN x",),
    )  # fmt: skip


def test_nothing_is_added_that_no_change_asks_for() -> None:
    assert apply_changes(RuntimeConfig(), (), PLATFORM) == RuntimeConfig()
    assert apply_changes(RuntimeConfig(), ("", " "), PLATFORM) == RuntimeConfig()
    assert apply_changes(RuntimeConfig(), ("USER x",), PLATFORM) == RuntimeConfig(user="x")


@pytest.mark.parametrize("change", ["RUN x", "FROM x", "COPY a b", "ADD a b", "ARG x", "SHELL [\"x\"]", "MAINTAINER x"])
def test_other_instructions_are_refused(change: str) -> None:
    with pytest.raises(DockerfileError, match="is not a valid change command"):
        apply_changes(RuntimeConfig(), (change,), PLATFORM)


@pytest.mark.parametrize("change", ["NONSENSE x", "ENV", "EXPOSE x", "STOPSIGNAL", "HEALTHCHECK x"])
def test_broken_changes_are_refused(change: str) -> None:
    with pytest.raises(DockerfileError):
        apply_changes(RuntimeConfig(), (change,), PLATFORM)
