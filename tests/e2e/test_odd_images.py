"""Base images whose documents nobody would write: built from, shown, or refused with their name; never internal errors."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from support.accounts import Firkin

from firkin.oci import media
from firkin.testing.registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


def add(registry: FakeRegistry, config: bytes) -> str:
    """Put an image of one file with this configuration (LAYER stands for its diff_id); return its name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    layer = gzip.compress(buffer.getvalue(), mtime=0)
    config = config.replace(b"LAYER", f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}".encode())

    def descriptor(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": registry.add_blob("odd", data), "size": len(data)}

    manifest = {
        "schemaVersion": 2, "config": descriptor(media.OCI_CONFIG, config),
        "layers": [descriptor(media.OCI_LAYER + "+gzip", layer)],
    }
    registry.add_manifest("odd", "1", media.OCI_MANIFEST, json.dumps(manifest).encode())
    return f"{registry.host}/odd:1"


def document(runtime: str, more: str = "") -> bytes:
    start = '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["LAYER"]},"config":'
    return f"{start}{runtime}{more}}}".encode()


def build(firkin: Firkin, lines: str, *options: str) -> tuple[int, str]:
    context = firkin.directory(f"context-{len(lines)}")
    (context / "Dockerfile").write_text(lines)
    firkin.account.give(context)
    done = firkin.run("build", "-t", "new:1", *options, context, check=False)
    return done.returncode, done.stderr


def test_text_that_is_no_unicode_is_replaced(firkin: Firkin, registry: FakeRegistry) -> None:
    name = add(registry, document(r'{"Env":["A=\ud800"],"Labels":{"\udfff":"x"}}', r',"author":"\udc00"'))
    code, told = build(firkin, f"FROM {name}\nCOPY --from={name} /file /copy\n")
    assert code == 0, told
    firkin.run("pull", name)
    for image in (name, "new:1"):
        (shown,) = json.loads(firkin.run("inspect", image).stdout)
        assert "A=\ufffd" in shown["Config"]["Env"]


def test_what_a_base_has_a_nul_in_is_told(firkin: Firkin, registry: FakeRegistry) -> None:
    name = add(registry, document(r'{"Env":["A=b\u0000c"],"Labels":{"x":"\u0000"}}'))
    code, told = build(firkin, f"FROM {name}\nCOPY --from={name} /file /copy\n")
    assert code == 0, told  # nobody needs the variable
    code, told = build(firkin, f"FROM {name}\nRUN true\n")
    assert code == 1 and "a NUL character in the environment" in told
    assert f"the configuration of {name} has a NUL character in Env" in told


@pytest.mark.parametrize("config", [
    b'{"config":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, b"\0" * 100, b"[]",
    b'{"config":{"Healthcheck":{"Retries":1e99}},"rootfs":{"diff_ids":["LAYER"]}}', b'{"rootfs":{"diff_ids":["x"]}}',
])
def test_a_configuration_that_is_none_is_told_with_the_image(
    firkin: Firkin, registry: FakeRegistry, config: bytes
) -> None:
    name = add(registry, config)
    for done in (firkin.run("pull", name, check=False), firkin.run("warmer", "-i", name, "-c", "w", check=False)):
        assert done.returncode in (1, 4) and name in done.stderr and "internal error" not in done.stderr
    code, told = build(firkin, f"FROM {name}\n")
    assert code == 4 and name in told


def test_a_wide_world_of_keys(firkin: Firkin, registry: FakeRegistry) -> None:
    name = add(registry, document('{"env":["A=1"],"WORKINGDIR":"/w","Healthcheck":{"Test":["NONE"],"Timeout":null}}'))
    code, told = build(firkin, f"FROM {name}\nCOPY --from={name} /file ./$A\n")
    assert code == 0, told
    (shown,) = json.loads(firkin.run("inspect", "new:1").stdout)
    assert shown["Config"]["WorkingDir"] == "/w"
