"""The corpus in a pod that grants no mounts: every case but those that need one gives what the reference builder gives."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.bases import ensure_base
from support.container import Bind
from support.pairs import FIRKIN, Pair
from support.places import REPOSITORY
from support.registry import Registry

# Without a mount nothing is read-only for root, and no directory has a size of its own (docs/dev/sandbox.md).
NEEDS_MOUNTS = {"mount-bind-read-only", "mount-cache-read-only", "mount-tmpfs"}
# It puts a file where the container has its shell; with `--isolation auto` a chroot takes over.
COLLIDES = {"run-scratch-static"}
# How files get into images without a RUN is no different here: the chroot's run covers it.
OF_STEPS = ("run", "mount", "user", "fs", "stage", "shell", "workdir", "heredoc", "volume")


@pytest.mark.root
@pytest.mark.registry
@pytest.mark.clients
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["chroot", "inplace"])
def test_corpus(name: str, registry: Registry, tmp_path: Path) -> None:
    pair = Pair(name, tmp_path / name)
    # The runner wants a base of one tag.
    base = tmp_path / "busybox"
    shutil.copytree(ensure_base("busybox"), base)
    index = json.loads((base / "index.json").read_text())
    del index["manifests"][1:]
    (base / "index.json").write_text(json.dumps(index))
    binds = (Bind(base, "/base"), Bind(REPOSITORY / "tests/conformance", "/corpus"))
    container = replace(pair.container, binds=(*pair.container.binds, *binds))
    build = f"build --isolation {name} --root {pair.store} --registry-mirror docker.io={registry.url}"
    places = "{args} -f {dockerfile} --output type=oci,dest={output} {context}"
    builder = f"{pair.python} {' '.join(FIRKIN)} {build} {places}"
    check = [
        "/corpus/conformance.py",
        "check",
        "--builder",
        builder,
        "--base",
        "busybox=/base",
        "--jobs",
        "2",
        "--quiet",
    ]
    if name == "inplace":
        check += [f"--case={group}-*" for group in OF_STEPS]
    # Workspaces lie on a mount: what is in `/` comes and goes in place.
    env = {**pair.container.env, "TMPDIR": "/shared"}
    result = container.run([pair.python, *check], env=env, check=False, timeout=1700)
    failed = set(re.findall(r"^FAIL ([^:]+):", result.stdout, re.M))
    assert re.search(r"^\d+ passed", result.stdout, re.M), result.stdout + result.stderr
    assert failed == NEEDS_MOUNTS | (COLLIDES if name == "inplace" else set()), result.stdout
