"""Whatever a registry sends, the client ends with a RegistryError, soon, and with little memory."""

import json

import pytest
from support.answers import answering

from firkin.errors import RegistryError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Transport
from firkin.testing.registry import FakeRegistry


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transport, "sleep", lambda self, seconds: None)


def answer(status: int = 200, *headers: bytes, body: bytes = b"") -> bytes:
    lines = (b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body), b"Connection: close", b"", body)
    return b"\r\n".join(lines)


def deep(depth: int = 50_000) -> bytes:
    return b'{"schemaVersion":2,"token":"t","tags":[],"errors":' + b"[" * depth + b"]" * depth + b"}"


ANSWERS = {
    "nothing": b"", "garbage": b"\0\xff" * 1000, "a status that is none": b"HTTP/1.1 99999 X\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 X\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000),
    "digits beyond ASCII": answer(
        429, "Retry-After: ²".encode("latin-1"), "Range: 0-²".encode("latin-1"), b"Content-Range: bytes 9-"
    ),
    "a date that is none": answer(503, b"Retry-After: Sun, 99 Nov 99999999999999 1::9 GMT"),
    "a digest that is none": answer(200, b"Docker-Content-Digest: sha256:\xff", body=b"{}"),
    "a circle": answer(307, b"Location: /v2/"), "a file": answer(307, b"Location: file:///etc/passwd"),
    "an address that is none": answer(307, b"Location: http://\xff\xfe:99999999/"),
    "half an address": answer(307, b"Location: http://[::1/"),
    "challenges that are none": answer(401, b'WWW-Authenticate: Bearer realm="http://[::1",\xff="\\",,,=,"'),
    "many challenges": answer(401, *[b'WWW-Authenticate: Bearer realm="http://127.0.0.1:9/"' for _ in range(2000)]),
    "deep JSON": answer(200, b"Content-Type: application/json", body=deep()), "a deep refusal": answer(403, body=deep()),
    "NUL": answer(200, body=b"\0" * 1000), "numbers": answer(200, body=b'{"schemaVersion":%s}' % (b"9" * 5000)),
}
ENDLESS = {
    "a body": (b"HTTP/1.1 200 X\r\n\r\n", b" " * 65536), "a refusal": (b"HTTP/1.1 500 X\r\n\r\n", b" " * 65536),
    "headers": (b"HTTP/1.1 200 X\r\n", b"X-Y: " + b"z" * 1000 + b"\r\n"), "a header": (b"HTTP/1.1 200 X\r\nX: ", b"z" * 65536),
    "a status line": (b"HTTP/1.1 ", b"2" * 65536),
}


def ask(host: str) -> None:
    with RegistryClient(RegistrySettings(timeout_s=5, retries=1)) as client:
        name = parse_reference(f"{host}/x:1")
        blob = Descriptor(media.OCI_LAYER, digest_of(b"x"), 1)
        for call in (
            lambda: client.get_manifest(name), lambda: client.list_tags(name), lambda: client.check_access(host),
            lambda: client.open_blob(name, blob).read(),
        ):
            try:
                call()
            except RegistryError as error:
                assert error.exit_code == 4 and host in error.message + error.url


@pytest.mark.parametrize("kind", ANSWERS)
def test_odd_answers_are_errors_of_the_registry(kind: str) -> None:
    with answering(ANSWERS[kind]) as host:
        ask(host)
        if kind not in ("challenges that are none", "many challenges"):
            with pytest.raises(RegistryError):
                RegistryClient(RegistrySettings(timeout_s=5, retries=1)).get_manifest(parse_reference(f"{host}/x:1"))


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_is_cut(kind: str) -> None:
    start, rest = ENDLESS[kind]
    with answering(start, endless=rest) as host:
        ask(host)


def test_a_deep_configuration_or_token_is_told_with_its_name() -> None:
    with FakeRegistry(auth="token") as registry:
        registry.fail("GET", "/token", status=200, body=deep(), times=3)
        with pytest.raises(RegistryError, match="no usable token"):
            RegistryClient(RegistrySettings(retries=0)).get_manifest(parse_reference(f"{registry.host}/x:1"))


@pytest.mark.parametrize("size", ["-1", "1e30", "9" * 40, "9" * 5000, '"1"'])
def test_sizes_out_of_range_are_told_with_the_image(size: str) -> None:
    config = {"mediaType": media.OCI_CONFIG, "digest": digest_of(b"{}"), "size": 2}
    raw = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).replace('"size": 2', f'"size": {size}')
    with FakeRegistry() as registry:
        registry.add_manifest("x", "1", media.OCI_MANIFEST, raw.encode())
        with pytest.raises(RegistryError, match=rf"{registry.host}/x:1.*manifest"):
            RegistryClient(RegistrySettings()).get_manifest(parse_reference(f"{registry.host}/x:1"))


def test_a_token_server_that_leads_elsewhere_gives_nothing_away() -> None:
    with FakeRegistry(auth="basic") as other, FakeRegistry(auth="token") as registry:
        registry.fail("GET", "/token", status=307, headers=(("Location", f"{other.url}/v2/a/manifests/1"),))
        auths = json.dumps({"auths": {registry.host: {"username": "user", "password": "secret"}}})
        with pytest.raises(RegistryError) as caught:
            RegistryClient(RegistrySettings(auth_json=auths)).get_manifest(parse_reference(f"{registry.host}/x:1"))
        assert f"leads to `{other.host}`, where the credentials do not go" in caught.value.hints[0]
        assert other.seen and "authorization" not in other.seen[0].headers
