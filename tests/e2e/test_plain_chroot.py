"""Firkin in a chroot made by hand, whose root directory is no mount point: mounts could not be kept private there."""

import subprocess
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.plain_chroot import chrooted
from support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.registry]

@pytest.fixture
def firkin(scratch: Path, registry: Registry) -> Firkin:
    return make_firkin("root", scratch / "firkin", registry.url)


def in_chroot(firkin: Firkin, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv, environment = chrooted(firkin, *firkin.command(*arguments))
    return subprocess.run(argv, env=environment, cwd=firkin.place, capture_output=True, text=True, timeout=100)


def test_steps_run_by_chroot(firkin: Firkin) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo made >/made\nRUN cat /made\n")
    done = in_chroot(firkin, "build", "--progress", "plain", str(context))
    assert done.returncode == 0, done.stderr
    assert " made\n" in done.stderr
    told = in_chroot(firkin, "info").stdout
    assert "it is no mount point" in told and "mount --bind DIR DIR" in told


def test_namespaces_that_were_asked_for(firkin: Firkin) -> None:
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    done = in_chroot(firkin, "build", "--isolation", "namespaces", str(context))
    assert done.returncode != 0
    assert "it is no mount point" in done.stderr and "internal error" not in done.stderr
