"""`firkin manifest` with a real registry: images of the registry and of the store under one name, read by skopeo."""

import hashlib
import json
import subprocess

import pytest
from support.accounts import Firkin
from support.registry import Registry

pytestmark = pytest.mark.registry


def build(firkin: Firkin, name: str, *options: str) -> None:
    context = firkin.directory(name.rpartition(":")[2])
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    firkin.run("build", *options, "-t", name, context)


def test_a_list_of_pushed_and_local_images(firkin: Firkin, registry: Registry) -> None:
    """The images were pushed by one machine each; the third was only built (trap 33), one lies elsewhere."""
    base = f"manifest-{firkin.account.name}"
    amd64, arm64, s390x = (registry.reference(f"{base}/{name}") for name in ("app:amd64", "other:arm64", "app:s390x"))
    build(firkin, amd64, "--push", "--platform=linux/amd64")
    build(firkin, arm64, "--push", "--platform=linux/arm64")
    build(firkin, s390x, "--load", "--platform=linux/s390x")
    name = registry.reference(f"{base}/app:multi")
    said = firkin.run("manifest", "create", name, amd64, arm64, s390x)
    assert (said.stdout, said.stderr) == (f"Created manifest list {name}\n", "")
    assert not registry.has(f"{base}/app/manifests/multi")
    again = firkin.run("manifest", "create", name, amd64, check=False)
    assert again.returncode == 1 and "refusing to amend an existing manifest list with no --amend flag" in again.stderr
    firkin.run("manifest", "annotate", "--variant", "v8", name, arm64)
    shown = firkin.run("manifest", "inspect", name).stdout
    pushed = firkin.run("manifest", "push", "-p", name).stdout.splitlines()
    raw = registry.get(f"{base}/app/manifests/multi")
    assert raw.decode() + "\n" == shown
    assert len(pushed) == 4 and pushed[-1] == "sha256:" + hashlib.sha256(raw).hexdigest()
    platforms = {entry["platform"]["architecture"]: entry for entry in json.loads(raw)["manifests"]}
    assert set(platforms) == {"amd64", "arm64", "s390x"} and platforms["arm64"]["platform"]["variant"] == "v8"
    prefix = f"Pushed ref {registry.reference(f'{base}/app')}@"
    assert all(line.startswith(prefix) and line.count(line[len(prefix) :][:71]) == 2 for line in pushed[:-1])
    for architecture in platforms:
        told = subprocess.run(
            ["skopeo", "--override-arch", architecture, "inspect", "--tls-verify=false", f"docker://{name}"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(told.stdout)["Architecture"] == architecture
    gone = firkin.run("manifest", "rm", name, f"{name}-2", check=False)
    assert gone.returncode == 1 and gone.stderr.count("No such manifest: ") == 2
    assert firkin.run("manifest", "inspect", name).stdout == shown  # now from the registry
    assert json.loads(firkin.run("manifest", "inspect", "-v", amd64).stdout)["Ref"] == amd64
    missing = firkin.run("manifest", "inspect", f"{name}-2", check=False)
    assert missing.returncode == 1 and "no such manifest" in missing.stderr
