"""Firkin in a chroot made by hand, whose root directory is no mount point: mounts could not be kept private there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.places import REPOSITORY
from support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.registry]

# $1 is the new root; what follows runs in it. The mounts vanish with the namespace.
SCRIPT = """
set -e; mkdir -p "$1"
root=$1; shift
for name in $NAMES; do mkdir -p "$root/$name"; mount --rbind "/$name" "$root/$name"; done
for name in bin sbin lib lib64; do [ -e "$root/$name" ] || [ ! -L "/$name" ] || ln -s "usr/$name" "$root/$name"; done
exec chroot "$root" "$@"
"""


@pytest.fixture
def firkin(scratch: Path, registry: Registry) -> Firkin:
    return make_firkin("root", scratch / "firkin", registry.url)


def in_chroot(firkin: Firkin, *arguments: str) -> "subprocess.CompletedProcess[str]":
    root = firkin.place / "root"
    tops = {Path(place).parts[1] for place in (REPOSITORY, firkin.place, sys.executable, os.path.realpath(sys.executable))}
    names = " ".join(sorted(tops | {"usr", "etc", "proc", "dev"}))
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", root, *firkin.command(*arguments)],
        env={**firkin.environment(), "NAMES": names}, cwd=firkin.place, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


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
