"""`firkin buildx imagetools` with a real registry: what it prints, and indexes that skopeo reads."""

import hashlib
import json
import subprocess

import pytest
from support.accounts import Firkin
from support.registry import Registry

pytestmark = pytest.mark.registry


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def build(firkin: Firkin, name: str, platforms: str) -> None:
    context = firkin.directory(name.rpartition(":")[2])
    (context / "Dockerfile").write_text("FROM scratch\nENV A=b\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    firkin.run("build", "--push", f"--platform={platforms}", "-t", name, context)


def test_inspect_and_create(firkin: Firkin, registry: Registry) -> None:
    base = f"imagetools-{firkin.account.name}"
    two, one = (registry.reference(f"{base}/app:{tag}") for tag in ("two", "one"))
    build(firkin, two, "linux/amd64,linux/arm64")
    build(firkin, one, "linux/s390x")
    raw = registry.get(f"{base}/app/manifests/two")
    amd64, arm64 = (entry["digest"] for entry in json.loads(raw)["manifests"])
    inspect = ("buildx", "imagetools", "inspect")
    assert firkin.run(*inspect, "--raw", two).stdout.encode() == raw
    oci, blanks = "application/vnd.oci.image.manifest.v1+json", " " * 13
    assert firkin.run(*inspect, two).stdout == (
        f"Name:      {two}\nMediaType: application/vnd.oci.image.index.v1+json\nDigest:    {digest_of(raw)}\n"
        f"{' ' * 11}\nManifests: \n"
        f"  Name:      {two}@{amd64}\n  MediaType: {oci}\n  Platform:  linux/amd64\n{blanks}\n"
        f"  Name:      {two}@{arm64}\n  MediaType: {oci}\n  Platform:  linux/arm64\n"
    )
    assert firkin.run(*inspect, "--format", "{{.Manifest.Digest}}", two).stdout == digest_of(raw)
    assert json.loads(firkin.run(*inspect, "--format", "{{json .Manifest}}", one).stdout)["mediaType"] == oci
    images = json.loads(firkin.run(*inspect, "--format", "{{json .Image}}", two).stdout)
    assert {name: image["architecture"] for name, image in images.items()} == {
        "linux/amd64": "amd64", "linux/arm64": "arm64"}  # fmt: skip
    whole = json.loads(firkin.run(*inspect, "--format", "{{json .}}", one).stdout)
    assert (whole["name"], whole["image"]["architecture"]) == (one, "s390x")
    told = firkin.run(*inspect, "--format", "{{.Image.OS}} {{index .Image.Config.Env 1}} {{json .Provenance}}", one).stdout
    assert told == "linux A=b {}"

    create = ("buildx", "imagetools", "create")
    name = registry.reference(f"{base}/other:all")
    metadata = firkin.directory("told") / "metadata.json"
    said = firkin.run(*create, "-t", name, "--annotation", "index:a=b", "--metadata-file", metadata, two, one)
    made = registry.get(f"{base}/other/manifests/all")
    assert said.stdout == "" and said.stderr.count("copying sha256:") == 3
    assert said.stderr.endswith(f"pushing {digest_of(made)} to {name}\n")
    document = json.loads(made)
    assert document["annotations"] == {"a": "b"} and len(document["manifests"]) == 3
    assert json.loads(metadata.read_text())["containerimage.digest"] == digest_of(made)
    assert firkin.run(*create, "--dry-run", "--annotation", "a=b", two, one).stdout.encode() == made + b"\n"
    for architecture in ("amd64", "arm64", "s390x"):
        told = subprocess.run(
            ["skopeo", "--override-arch", architecture, "inspect", "--tls-verify=false", f"docker://{name}"],
            capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        assert json.loads(told)["Architecture"] == architecture
    source = firkin.directory("sources") / "source.json"
    source.write_text(json.dumps({"digest": amd64, "platform": {"os": "linux", "architecture": "riscv64"}}))
    given = json.loads(firkin.run(*create, "--dry-run", "-t", two, "-f", source).stdout)
    assert given["manifests"][0]["platform"] == {"architecture": "riscv64", "os": "linux"}
    firkin.run(*create, "-t", two, "--append", f"{one}@{digest_of(registry.get(f'{base}/app/manifests/one'))}")
    assert len(registry.manifest(f"{base}/app:two")["manifests"]) == 3
    refused = firkin.run(*create, one, check=False)
    assert refused.returncode == 1 and "can't push with no tags specified" in refused.stderr
