"""The mounts of a RUN: what stands behind each, and what is said where there is nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from support.solving import files, open_services, step

from firkin.builder.graph import ops
from firkin.builder.request import RunOptions, Secret
from firkin.builder.solve.cache_mounts import CacheMounts
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.ops.run_mounts import RunMounts
from firkin.builder.solve.result import Result
from firkin.builder.solve.services import RunSettings, Runtime, Services
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import Snapshot
from firkin.errors import StepFailed
from firkin.oci.run import FileMount, HostMount, MemoryMount

ROOT = Snapshot((), "scratch")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    settings = RunSettings(RunOptions(), {"token": Secret("token", b"value")}, {}, b"")
    runtime = Runtime(cast(Any, None), cast(Any, None))
    with open_services(tmp_path / "store", run=settings, runtime=lambda: runtime) as opened:
        yield opened


def opened(services: Services, *mounts: ops.Mount, inputs: tuple[Result, ...] = (), stack: ExitStack | None = None,
           **fields: Any) -> RunMounts:  # fmt: skip
    op = ops.Run(("true",), mounts=mounts, **fields)
    job = LayerJob(step(1, op), (ROOT, *inputs), "f" * 64, Wanted())
    with ExitStack() as own:
        return RunMounts(services, CacheMounts(services), job, op, stack or own)


def test_files_of_a_context_are_mounted_as_a_tree_of_the_store(services: Services) -> None:
    (mount,) = opened(services, ops.BindMount("/src", 1), inputs=(files(a="1"),)).mounts
    assert isinstance(mount, HostMount) and mount.discard and mount.readonly
    (lower,) = mount.lowers
    assert lower.startswith(services.store.layout.trees) and Path(lower, "a").read_text() == "1"


def test_a_bind_of_nothing_is_an_empty_directory_until_the_command_has_ended(services: Services) -> None:
    with ExitStack() as stack:
        (mount,) = opened(services, ops.BindMount("/src", 0), stack=stack).mounts
        assert isinstance(mount, HostMount) and os.listdir(mount.lowers[0]) == []
    assert not os.path.exists(mount.lowers[0])


def test_a_bind_of_what_is_not_there_fails(services: Services) -> None:
    with pytest.raises(StepFailed, match='"/gone": not found') as caught:
        opened(services, ops.BindMount("/src", 1, "/gone"), inputs=(files(a="1"),))
    assert caught.value.code == "mount-source"


def test_memory_caches_and_heredocs(services: Services) -> None:
    found = opened(
        services, ops.TmpfsMount("/tmp", 5), ops.TmpfsMount("/run"), ops.CacheMount("/cache", "/id", readonly=True),
        files=(("/script", "text", 0o755),),
    ).mounts  # fmt: skip
    assert found[:2] == (MemoryMount("/tmp", 5), MemoryMount("/run", None))
    assert isinstance(found[2], HostMount) and found[2].readonly and not found[2].discard
    assert found[3] == FileMount("/script", b"text", 0o755)


def test_a_secret_is_a_file_a_variable_or_both(services: Services) -> None:
    found = opened(
        services, ops.SecretMount("token", "/token", "TOKEN", uid=3), ops.SecretMount("none", "/none", "NONE"),
        ops.SecretMount("token", env="ONLY"),
    )  # fmt: skip
    assert found.mounts == (FileMount("/token", b"value", 0o400, 3, 0),)
    assert found.variables == [("TOKEN", "value"), ("NONE", ""), ("ONLY", "value")]
    with pytest.raises(StepFailed, match="secret none: not found") as caught:
        opened(services, ops.SecretMount("none", "/none", required=True))
    assert caught.value.code == "secret-missing"


def test_only_the_first_agent_is_named(services: Services) -> None:
    found = opened(services, ops.SshMount("a", "/a"), ops.SshMount("b", "/b"))
    assert found.mounts == () and found.variables == [("SSH_AUTH_SOCK", "/a")]
    assert opened(services, ops.SshMount("a", "/a"), env=("SSH_AUTH_SOCK=/own",)).variables == []
    with pytest.raises(StepFailed, match="unset ssh forward key a") as caught:
        opened(services, ops.SshMount("a", "/a", required=True))
    assert caught.value.code == "ssh-missing"


def test_an_agent_is_forwarded(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from firkin.builder.solve import ssh

    class Forwarded:
        def __enter__(self) -> str:
            return "/socket"

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(ssh, "forward", lambda agent, *_: Forwarded())
    settings = msgspec.structs.replace(services.run, ssh_sockets={"default": "/agent"})
    known = msgspec.structs.replace(services, run=settings)
    found = opened(known, ops.SshMount("default", "/s"))
    assert found.mounts == (HostMount("/s", ("/socket",), readonly=False),)
