"""A push and a pull with registries that do not keep to the specification. Rows of the table in docs/dev/registry.md."""

import gzip
import io
import json
from collections.abc import Iterator

import pytest

from firkin.errors import RegistryError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Transport
from firkin.testing.quirks import Quirks
from firkin.testing.registry import FakeRegistry

BLOB = bytes(range(256)) * 5000
LAYER = Descriptor(media.OCI_LAYER, digest_of(BLOB), len(BLOB))
CONFIG = b"{}"
MANIFEST = encode_manifest(
    Manifest(media.OCI_MANIFEST, Descriptor(media.OCI_CONFIG, digest_of(CONFIG), len(CONFIG)), (LAYER,))
)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(Transport, "sleep", lambda self, seconds: waits.append(seconds))
    return waits


def client_of(registry: FakeRegistry, key: str = "", warnings: list[str] | None = None) -> RegistryClient:
    auths = {key or registry.host: {"username": registry.user, "password": registry.password}}
    return RegistryClient(
        RegistrySettings(auth_json=json.dumps({"auths": auths})),
        warn=lambda code, message: warnings.append(code) if warnings is not None else None,
    )


def name_of(registry: FakeRegistry) -> Reference:
    return parse_reference(f"{registry.host}/team/app:1")


def push(registry: FakeRegistry, client: RegistryClient, mount_from: str = "") -> None:
    name = name_of(registry)
    client.check_push(name)
    client.push_blob(name, LAYER, lambda: io.BytesIO(BLOB), mount_from=mount_from)
    client.push_blob(name, MANIFEST.config, lambda: io.BytesIO(CONFIG), check=False)
    assert client.push_manifest(name, MANIFEST.raw, MANIFEST.media_type) == MANIFEST.digest
    assert registry.blobs["team/app", LAYER.digest] == BLOB
    assert registry.manifests["team/app", "1"] == (MANIFEST.media_type, MANIFEST.raw)


def pull(registry: FakeRegistry, client: RegistryClient) -> None:
    name = name_of(registry)
    assert client.resolve(name).digest == MANIFEST.digest
    assert client.get_manifest(name) == MANIFEST
    with client.open_blob(name, LAYER) as stream:
        assert stream.read() == BLOB
    silent = registry.quirks.digest == "none"
    assert client.manifest_digest(name) == (None if silent else MANIFEST.digest)  # then it is put again


STRANGERS = [
    Quirks(hide=404), Quirks(hide=403), Quirks(hide=401),
    Quirks(hide=403, ping=200), Quirks(hide=404, ping=404), Quirks(hide=401, ping=403),
    Quirks(challenge="among others"), Quirks(challenge="lower case"), Quirks(challenge="realm with query"),
    Quirks(hide=403, challenge="among others"),
]
TOKENS = [
    Quirks(token="access_token"), Quirks(token="nulls"), Quirks(token="text"), Quirks(token="fraction"),
    Quirks(token="html type"), Quirks(token_by_post=True), Quirks(token_busy=2),
    Quirks(token_by_post=True, token="nulls", hide=404, token_busy=1),
]
OTHERS = [
    *(Quirks(opened=status) for status in (200, 201, 204)),
    *(Quirks(stored=status) for status in (200, 202, 204)),
    *(Quirks(put=status) for status in (400, 404, 405, 409, 411, 413, 415, 416, 422, 500, 501)),
    *(Quirks(put=404, patched=status) for status in (200, 201, 204)),
    Quirks(location="absolute"), Quirks(location="relative"), Quirks(location="upper case"),
    Quirks(location="uuid only"), Quirks(put=400, location="moves"), Quirks(put=404, location="uuid only"),
    Quirks(ranges=False), Quirks(put=416, ranges=False, location="moves"),
    *(Quirks(head=status) for status in (400, 403, 404, 405, 406, 500, 501)),
    Quirks(digest="quoted"), Quirks(digest="none"), Quirks(head=404, digest="none", content_type=""),
    *(Quirks(content_type=kind) for kind in (
        "", "text/plain; charset=utf-8", "application/json", media.DOCKER_MANIFEST,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    )),
    Quirks(named=200), Quirks(named=202), Quirks(named=204), Quirks(late_blobs=1), Quirks(late_blobs=3),
]


def shown(quirks: Quirks) -> str:
    return ", ".join(
        f"{name}={value}" for name, value in quirks._asdict().items() if value != Quirks._field_defaults[name]
    )


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("quirks", [*STRANGERS, *OTHERS], ids=shown)
def test_what_others_put_up_with_works(quirks: Quirks, auth: str) -> None:
    if auth == "token" and quirks.hide and quirks.ping != 401:
        pytest.skip("nothing says where a token is to be had")
    with FakeRegistry(auth=auth, quirks=quirks) as registry:
        push(registry, client_of(registry))
        if quirks.head != 404:  # where HEAD finds nothing there is nothing, to a push
            pull(registry, client_of(registry))
        else:
            assert client_of(registry).resolve(name_of(registry)).digest == MANIFEST.digest


@pytest.mark.parametrize("quirks", TOKENS, ids=shown)
def test_token_servers_differ(quirks: Quirks, slept: list[float]) -> None:
    with FakeRegistry(auth="token", quirks=quirks) as registry:
        client = client_of(registry)
        push(registry, client)
        pull(registry, client)
        assert slept == [2.0] * quirks.token_busy  # what Retry-After says
        assert all(seen.headers["authorization"].startswith("Bearer ") for seen in registry.requests()[2:])


def test_a_registry_that_behaves_is_asked_no_more_than_it_must() -> None:
    with FakeRegistry() as registry:
        push(registry, client_of(registry, key="elsewhere.example.com"))
        assert [(seen.method, seen.path.partition("?")[0]) for seen in registry.requests()] == [
            ("POST", "/v2/team/app/blobs/uploads/"), ("DELETE", "/v2/team/app/blobs/uploads/upload-1"),
            ("HEAD", f"/v2/team/app/blobs/{LAYER.digest}"), ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/blobs/uploads/upload-2"), ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/blobs/uploads/upload-3"), ("PUT", "/v2/team/app/manifests/1"),
        ]
    with FakeRegistry(auth="token") as registry:
        push(registry, client_of(registry))
        assert not registry.requests("GET", "/v2/")


def test_the_challenge_is_asked_for_once() -> None:
    with FakeRegistry(auth="basic", quirks=Quirks(hide=404)) as registry:
        client = client_of(registry)
        push(registry, client)
        assert client.manifest_digest(parse_reference(f"{registry.host}/other:1")) is None
        assert len([seen for seen in registry.requests("GET") if seen.path == "/v2/"]) == 1
        assert sum("authorization" not in seen.headers for seen in registry.requests()) == 2


def test_a_stranger_believes_what_an_open_registry_says() -> None:
    with FakeRegistry() as registry:
        client = RegistryClient(RegistrySettings())
        assert client.manifest_digest(name_of(registry)) is None
        assert [seen.method for seen in registry.requests()] == ["HEAD"]


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_where_an_upload_is_sent_nobody_can_ask_for_credentials(auth: str) -> None:
    with FakeRegistry(auth=auth) as other, FakeRegistry(auth="basic") as registry:
        registry.upload_host = other.url
        with pytest.raises(RegistryError) as caught:
            push(registry, client_of(registry))
        assert caught.value.status == 401 and f"`{other.host}` was not given" in caught.value.hints[0]
        assert other.seen and not any("authorization" in seen.headers for seen in other.seen)
        assert not any(seen.path.startswith("/token") for seen in other.seen)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_mount_that_fails_becomes_an_upload(status: int) -> None:
    with FakeRegistry(quirks=Quirks(mount=status)) as registry:
        registry.add_blob("base/image", BLOB)
        push(registry, client_of(registry), mount_from="base/image")


def test_blobs_in_another_place_are_fetched_without_credentials() -> None:
    with FakeRegistry(auth="basic") as registry:
        registry.quirks = Quirks(storage=f"http://localhost:{registry.host.rpartition(':')[2]}")
        push(registry, client_of(registry))
        pull(registry, client_of(registry))
        stored = [seen for seen in registry.seen if seen.path.startswith("/storage/")]
        assert stored and not any("authorization" in seen.headers for seen in stored)


def test_a_registry_that_knows_neither_form_is_refused_with_its_first_words() -> None:
    with FakeRegistry(quirks=Quirks(put=404, patch=False)) as registry:
        with pytest.raises(RegistryError) as caught:
            push(registry, client_of(registry))
        assert (caught.value.status, caught.value.method) == (404, "PUT")


@pytest.mark.parametrize("status", [400, 404])
def test_a_whole_blob_goes_as_docker_sends_it(status: int, slept: list[float]) -> None:
    with FakeRegistry(quirks=Quirks(put=status)) as registry:
        client = client_of(registry)
        client.push_blob(name_of(registry), LAYER, lambda: io.BytesIO(BLOB))
        (patch,) = registry.requests("PATCH")
        assert "content-range" not in patch.headers and patch.headers["content-length"] == str(len(BLOB))
        assert not slept


@pytest.mark.parametrize(("sent", "warned"), [
    (media.DOCKER_MANIFEST, ["registry-content-type"]), (media.OCI_MANIFEST, []), ("application/json", []),
])
def test_a_content_type_that_differs_is_a_warning(sent: str, warned: list[str]) -> None:
    with FakeRegistry(quirks=Quirks(content_type=sent)) as registry:
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        warnings: list[str] = []
        client = client_of(registry, warnings=warnings)
        assert client.get_manifest(name_of(registry)) == MANIFEST
        assert warnings == warned


def test_a_manifest_that_is_sent_as_an_index_is_refused() -> None:
    with FakeRegistry(quirks=Quirks(content_type=media.OCI_INDEX)) as registry:
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        with pytest.raises(RegistryError, match="sent as"):
            client_of(registry).get_manifest(name_of(registry))


@pytest.fixture
def private() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="basic") as registry:
        yield registry


@pytest.mark.parametrize("path", ["/artifactory/api/docker/virtual", "/group/other", "/v1/", "/team/app/deeper"])
@pytest.mark.parametrize("scheme", ["", "https://"])
def test_a_key_with_a_path_serves_its_host(private: FakeRegistry, scheme: str, path: str) -> None:
    push(private, client_of(private, key=f"{scheme}{private.host}{path}"))


def test_the_body_of_a_refusal_may_be_long(slept: list[float]) -> None:
    with FakeRegistry() as registry:
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        registry.fail("HEAD", "/manifests/", status=503)
        registry.fail("GET", "/manifests/", status=502, body=b"<html>" + b"x" * 200_000)
        client = client_of(registry)
        assert client.resolve(name_of(registry)).digest == MANIFEST.digest
        assert client.get_manifest(name_of(registry)) == MANIFEST and len(slept) == 2


def test_an_open_registry_gets_no_credentials_that_change_nothing() -> None:
    with FakeRegistry() as registry:
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        client = client_of(registry)
        assert client.manifest_digest(parse_reference(f"{registry.host}/team/app:2")) is None
        assert client.manifest_digest(parse_reference(f"{registry.host}/team/app:3")) is None
        client.get_manifest(name_of(registry))
        given = [seen.path for seen in registry.requests() if "authorization" in seen.headers]
        assert given == ["/v2/team/app/manifests/2"]  # it might have hidden this one


@pytest.mark.parametrize("method", ["manifest", "blob"])
def test_what_a_proxy_has_encoded_is_read(method: str) -> None:
    with FakeRegistry() as registry:
        registry.add_blob("team/app", BLOB)
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        encoded = (("Content-Encoding", "gzip"), ("Content-Type", MANIFEST.media_type))
        client = RegistryClient(RegistrySettings())
        if method == "manifest":
            registry.fail("HEAD", "/manifests/", status=200, headers=encoded)
            registry.fail("GET", "/manifests/", status=200, headers=encoded, body=gzip.compress(MANIFEST.raw))
        else:
            registry.fail("GET", "/blobs/", status=200, headers=encoded, body=gzip.compress(BLOB))
        pull(registry, client)


def test_a_bomb_in_an_encoding_ends_at_the_limit_of_documents() -> None:
    with FakeRegistry() as registry:
        body = gzip.compress(b" " * (64 << 20), 1)
        registry.fail("GET", "/manifests/", status=200, headers=(("Content-Encoding", "gzip"),), body=body)
        with pytest.raises(RegistryError, match="more than"):
            RegistryClient(RegistrySettings()).get_manifest(name_of(registry))
