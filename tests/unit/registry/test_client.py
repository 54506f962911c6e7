"""RegistryClient against an in-process registry that fails as told."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.hints import hints_of
from support.timing import quickest, seconds

from firkin.errors import Cancelled, RegistryError
from firkin.hints import Hint
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.registry.transport import Transport
from firkin.testing.registry import FakeRegistry

BLOB = bytes(range(256)) * 8192 * 2  # 4 MiB
LAYER = Descriptor(media.OCI_LAYER, digest_of(BLOB), len(BLOB))
CONFIG = b'{"architecture":"amd64","os":"linux"}'
MANIFEST = encode_manifest(
    Manifest(media.OCI_MANIFEST, Descriptor(media.OCI_CONFIG, digest_of(CONFIG), len(CONFIG)), (LAYER,))
)


def reader() -> io.BytesIO:
    return io.BytesIO(BLOB)


def ref(registry: FakeRegistry, name: str = "team/app:1") -> Reference:
    return parse_reference(f"{registry.host}/{name}")


def credentials(*registries: FakeRegistry) -> str:
    return json.dumps({"auths": {r.host: {"username": r.user, "password": r.password} for r in registries}})


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        fake.add_blob("team/app", BLOB)
        fake.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        yield fake


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(Transport, "sleep", lambda self, seconds: waits.append(seconds))
    return waits


def refused(call: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        call()
    return caught.value


# --- pull ------------------------------------------------------------------------------------------------------------


def test_a_name_is_resolved_by_one_head_and_read_by_one_get(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings())
    assert client.resolve(ref(registry)) == client.resolve(ref(registry)) == MANIFEST.descriptor
    assert client.get_manifest(ref(registry)) == client.get_manifest(ref(registry)) == MANIFEST
    by_digest = parse_reference(f"{registry.host}/team/app@{MANIFEST.digest}")
    assert client.get_manifest(by_digest).raw == MANIFEST.raw
    assert [seen.method for seen in registry.seen] == ["HEAD", "GET"]
    assert registry.seen[0].headers["user-agent"].startswith("firkin/")


def test_an_answer_without_digest_is_fetched_whole(registry: FakeRegistry) -> None:
    registry.fail("HEAD", "/manifests/", status=405)
    assert RegistryClient(RegistrySettings()).resolve(ref(registry)) == MANIFEST.descriptor


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(registry: FakeRegistry) -> None:
    registry.fail("GET", "/manifests/", corrupt=True)
    error = refused(lambda: RegistryClient(RegistrySettings()).get_manifest(ref(registry)))
    assert error.code == "registry-digest" and MANIFEST.digest in error.message


def test_schema_1_is_refused_with_a_hint(registry: FakeRegistry) -> None:
    old = b'{"schemaVersion":1,"fsLayers":[]}'
    registry.add_manifest("team/app", "old", "application/vnd.docker.distribution.manifest.v1+prettyjws", old)
    registry.add_manifest("team/app", "older", "application/json", old)
    client = RegistryClient(RegistrySettings())
    old_ref, older_ref = ref(registry, "team/app:old"), ref(registry, "team/app:older")
    assert refused(lambda: client.resolve(old_ref)).code == "registry-schema1"
    assert refused(lambda: client.get_manifest(old_ref)).code == "registry-schema1"
    assert refused(lambda: client.get_manifest(older_ref)).code == "registry-schema1"


def test_an_endless_manifest_is_cut(registry: FakeRegistry) -> None:
    registry.add_manifest("team/app", "big", media.OCI_MANIFEST, b" " * (5 << 20))
    error = refused(lambda: RegistryClient(RegistrySettings()).get_manifest(ref(registry, "team/app:big")))
    assert error.code == "registry-too-large"


def test_a_blob_is_streamed_and_can_be_read_in_pieces(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings())
    seen: list[int] = []
    with client.open_blob(ref(registry), LAYER, progress=seen.append) as stream:
        pieces = []
        while piece := stream.read(100_000):
            assert len(piece) <= 100_000
            pieces.append(piece)
    assert b"".join(pieces) == BLOB and seen[-1] == len(BLOB) and seen == sorted(seen)
    with client.open_blob(ref(registry), LAYER) as stream:
        first = stream.read(10)
        assert first + b"".join(stream) == BLOB


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(registry: FakeRegistry, slept: list[float], ranges: bool) -> None:
    registry.ranges = ranges
    registry.fail("GET", "/blobs/", cut=1_000_000)
    registry.fail("GET", "/blobs/", cut=500_000 if ranges else 1_500_000)
    with RegistryClient(RegistrySettings()).open_blob(ref(registry), LAYER) as stream:
        assert b"".join(stream) == BLOB
    assert [seen.headers.get("range") for seen in registry.seen] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert len(slept) == 2


def test_a_download_that_always_breaks_fails_in_the_end(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("GET", "/blobs/", cut=10, times=20)
    with RegistryClient(RegistrySettings(retries=2)).open_blob(ref(registry), LAYER) as stream:
        error = refused(lambda: b"".join(stream))
    assert error.temporary and len(registry.seen) == 3


def test_a_wrong_blob_is_found_before_its_last_bytes_are_handed_out(registry: FakeRegistry) -> None:
    registry.fail("GET", "/blobs/", corrupt=True)
    got = b""
    with RegistryClient(RegistrySettings()).open_blob(ref(registry), LAYER) as stream:
        with pytest.raises(RegistryError) as caught:
            for chunk in stream:
                got += chunk
    assert caught.value.code == "registry-digest" and len(got) < len(BLOB)


@pytest.mark.parametrize("size", [len(BLOB) - 1, len(BLOB) + 1])
def test_a_blob_of_another_size_is_refused(registry: FakeRegistry, slept: list[float], size: int) -> None:
    wrong = Descriptor(media.OCI_LAYER, LAYER.digest, size)
    with RegistryClient(RegistrySettings(retries=1)).open_blob(ref(registry), wrong) as stream:
        assert refused(lambda: b"".join(stream)).code in ("registry-digest", "registry-invalid", "registry-answer")


def test_an_empty_blob_is_verified_too(registry: FakeRegistry) -> None:
    registry.add_blob("team/app", b"")
    empty = Descriptor(media.OCTETS, digest_of(b""), 0)
    client = RegistryClient(RegistrySettings())
    with client.open_blob(ref(registry), empty) as stream:
        assert stream.read() == b""


def test_a_blob_that_lies_elsewhere_is_fetched_without_credentials(registry: FakeRegistry) -> None:
    with FakeRegistry() as other:
        other.add_blob("x", BLOB)
        url = f"{other.url}/v2/x/blobs/{LAYER.digest}"
        foreign = Descriptor(media.OCI_LAYER, LAYER.digest, LAYER.size, urls=(url,))
        del registry.blobs["team/app", LAYER.digest]
        refused(lambda: RegistryClient(RegistrySettings()).open_blob(ref(registry), foreign))  # plain HTTP: not allowed
        client = RegistryClient(RegistrySettings(insecure=(other.host,)))
        with client.open_blob(ref(registry), foreign) as stream:
            assert stream.read() == BLOB
        assert "authorization" not in other.seen[-1].headers


def test_tags_are_listed_page_by_page(registry: FakeRegistry) -> None:
    for number in range(7):
        registry.add_manifest("team/app", f"t{number}", MANIFEST.media_type, MANIFEST.raw)
    registry.page_size = 3
    tags = RegistryClient(RegistrySettings()).list_tags(ref(registry))
    assert tags == ("1", "t0", "t1", "t2", "t3", "t4", "t5", "t6")
    assert len(registry.seen) == 3


@pytest.mark.parametrize("kind", ["circle", "no new tag", "growing", "elsewhere"])
def test_a_list_of_tags_without_end_is_an_error(
    registry: FakeRegistry, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firkin.registry.tags._MAX_TAG_PAGES", 30)
    for number in range(40):
        link = {
            "circle": f"/v2/team/app/tags/list?last={number % 3}", "no new tag": f"/v2/team/app/tags/list?last={number}",
            "growing": f"/v2/team/app/tags/list?last={number}", "elsewhere": "http://127.0.0.2:1/v2/team/app/tags/list",
        }[kind]
        tag = "same" if kind == "no new tag" else f"t{number}"
        registry.fail("GET", "/tags/list", status=200, headers=(("Link", f'<{link}>; rel="next"'),),
                      body=json.dumps({"tags": [tag]}).encode())
    client = RegistryClient(RegistrySettings())
    if kind == "elsewhere":
        assert client.list_tags(ref(registry)) == ("t0",)  # another host is not asked
        return
    error = refused(lambda: client.list_tags(ref(registry)))
    assert error.code == "registry-answer" and "does not come to an end" in error.message
    assert len(registry.seen) == {"circle": 4, "no new tag": 12, "growing": 30}[kind]


# --- retries ---------------------------------------------------------------------------------------------------------


def test_busy_registries_are_asked_again_when_they_say(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("GET", "/manifests/", status=429, headers=(("Retry-After", "7"),))
    registry.fail("GET", "/manifests/", status=503, times=2)
    RegistryClient(RegistrySettings()).get_manifest(ref(registry))
    assert slept[0] == 7 and 0.6 <= slept[1] <= 0.9 and 1.2 <= slept[2] <= 1.8


def test_retries_end(registry: FakeRegistry, slept: list[float]) -> None:
    body = b'{"errors":[{"code":"UNKNOWN","message":"disk full"}]}'
    registry.fail("GET", "/manifests/", status=500, times=9, body=body)
    error = refused(lambda: RegistryClient(RegistrySettings(retries=2)).get_manifest(ref(registry)))
    assert (error.code, error.status, len(registry.seen)) == ("registry-server", 500, 3)
    assert "disk full" in error.message


def test_a_wait_that_is_too_long_is_an_error_with_a_hint(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("GET", "/manifests/", status=429, headers=(("Retry-After", "3600"),))
    error = refused(lambda: RegistryClient(RegistrySettings()).get_manifest(ref(registry)))
    assert error.code == "registry-rate-limited" and "3600" in error.hints[0] and slept == []


def test_an_answer_that_breaks_off_is_asked_for_again(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("GET", "/manifests/", cut=10)
    assert RegistryClient(RegistrySettings()).get_manifest(ref(registry)) == MANIFEST


def test_whole_pulls_are_repeated_as_asked(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("GET", "/manifests/", status=404, times=2)
    warned: list[str] = []
    client = RegistryClient(RegistrySettings(pull_retries=2), warn=lambda code, message: warned.append(code))
    assert client.get_manifest(ref(registry)) == MANIFEST
    assert slept == [1.0, 2.0] and warned == ["registry-retry"]


def test_nobody_listens() -> None:
    nowhere = parse_reference("127.0.0.1:9/x:1")
    error = refused(lambda: RegistryClient(RegistrySettings(retries=0)).resolve(nowhere))
    assert error.code == "registry-unreachable" and error.temporary and "127.0.0.1:9" in error.message


def test_a_silent_registry_runs_into_the_time_out(registry: FakeRegistry) -> None:
    registry.fail("HEAD", "/manifests/", delay_s=3, times=3)

    def ask() -> None:
        error = refused(lambda: RegistryClient(RegistrySettings(retries=0, timeout_s=0.5)).resolve(ref(registry)))
        assert error.code == "registry-timeout"

    assert quickest(lambda: seconds(ask), 2) < 2


def test_a_registry_that_was_never_there_is_given_up_soon(slept: list[float]) -> None:
    nowhere = parse_reference("127.0.0.1:9/x:1")
    error = refused(lambda: RegistryClient(RegistrySettings()).resolve(nowhere))
    assert len(slept) == 2 and sum(slept) < 1.5 and error.hints == (Hint.of("mirror"),)


def test_a_registry_that_goes_down_is_waited_for(slept: list[float]) -> None:
    with FakeRegistry() as registry:
        client = RegistryClient(RegistrySettings())
        assert not client.has_blob(ref(registry), LAYER.digest)
        client.close()
    refused(lambda: client.resolve(ref(registry)))
    assert len(slept) == 4


@pytest.mark.parametrize("path", ["/blobs/", "/manifests/"])
def test_a_registry_that_trickles_runs_into_the_time_out(registry: FakeRegistry, path: str) -> None:
    registry.fail("GET", path, drip_s=0.02, times=3)
    client = RegistryClient(RegistrySettings(retries=0, timeout_s=0.4))

    def ask() -> None:
        if path == "/blobs/":
            error = refused(lambda: client.open_blob(ref(registry), LAYER).read())
        else:
            error = refused(lambda: client.get_manifest(ref(registry)))
        assert error.code == "registry-timeout" and "too slow" in error.message and error.temporary

    assert quickest(lambda: seconds(ask), 2) < 2


def test_a_slow_reader_is_not_a_slow_registry(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings(retries=0, timeout_s=1.0))
    with client.open_blob(ref(registry), LAYER) as stream:
        pieces = []
        for number, chunk in enumerate(stream):
            pieces.append(chunk)
            if number < 2:
                time.sleep(1.5)
    assert b"".join(pieces) == BLOB


def ask_and_cancel(registry: FakeRegistry) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        RegistryClient(RegistrySettings(), cancelled=stop.is_set).resolve(ref(registry))


def test_cancelling_ends_a_wait_within_a_second(registry: FakeRegistry) -> None:
    registry.fail("HEAD", "/manifests/", delay_s=5, times=3)
    assert quickest(lambda: seconds(lambda: ask_and_cancel(registry)), 1.3) < 1.3


def test_cancelling_ends_a_back_off_within_a_second(registry: FakeRegistry) -> None:
    registry.fail("HEAD", "/manifests/", status=429, headers=(("Retry-After", "60"),), times=3)
    assert quickest(lambda: seconds(lambda: ask_and_cancel(registry)), 1.3) < 1.3


# --- authentication --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_push_and_a_pull_with_authentication(kind: str) -> None:
    with FakeRegistry(auth=kind) as registry:
        settings = RegistrySettings(auth_json=credentials(registry))
        client = RegistryClient(settings)
        assert client.push_blob(ref(registry), LAYER, reader) == "pushed"
        assert client.push_manifest(ref(registry), MANIFEST.raw, MANIFEST.media_type) == MANIFEST.digest
        assert RegistryClient(settings).get_manifest(ref(registry)) == MANIFEST
        # One 401 opens the conversation; one token serves the whole push.
        tokens = [seen for seen in registry.seen if seen.path.startswith("/token")]
        assert len(tokens) == (2 if kind == "token" else 0)
        assert sum("authorization" not in seen.headers for seen in registry.requests()) == 2


def test_many_threads_share_one_token() -> None:
    with FakeRegistry(auth="token") as registry:
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        blobs = [b"%d" % number * 1000 for number in range(8)]

        def push(data: bytes) -> None:
            blob = Descriptor(media.OCTETS, digest_of(data), len(data))
            client.push_blob(ref(registry), blob, lambda: io.BytesIO(data))

        threads = [threading.Thread(target=push, args=(data,)) for data in blobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(registry.blobs) == 8
        assert len([seen for seen in registry.seen if seen.path.startswith("/token")]) == 1


def test_a_token_that_ends_in_the_middle_of_a_push_is_renewed() -> None:
    with FakeRegistry(auth="token") as registry:
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        client.check_push(ref(registry))
        registry.revoke_tokens()
        assert client.push_blob(ref(registry), LAYER, reader, check=False) == "pushed"
        registry.fail("PUT", "/blobs/uploads/", status=401, headers=(
            ("WWW-Authenticate", f'Bearer realm="{registry.url}/token",service="fake"'),
        ))
        small = Descriptor(media.OCI_CONFIG, digest_of(CONFIG), len(CONFIG))
        assert client.push_blob(ref(registry), small, lambda: io.BytesIO(CONFIG)) == "pushed"
        registry.revoke_tokens()
        client.push_manifest(ref(registry), MANIFEST.raw, MANIFEST.media_type)


def test_an_expired_token_is_not_sent_at_all() -> None:
    with FakeRegistry(auth="token") as registry:
        registry.token_lifetime_s = 3
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        client.has_blob(ref(registry), LAYER.digest)
        time.sleep(2.6)
        client.has_blob(ref(registry), LAYER.digest)
        assert [seen.method for seen in registry.requests()] == ["HEAD", "HEAD", "HEAD"]  # 401, then no other


def test_identity_tokens_go_by_post() -> None:
    with FakeRegistry(auth="token") as registry:
        registry.identity_token = "identity"
        text = json.dumps({"auths": {registry.host: {"auth": "", "identitytoken": "identity"}}})
        RegistryClient(RegistrySettings(auth_json=text)).check_push(ref(registry))
        assert next(seen for seen in registry.seen if seen.path.startswith("/token")).method == "POST"


def test_mounting_asks_for_both_repositories() -> None:
    with FakeRegistry(auth="token") as registry:
        registry.add_blob("base/image", BLOB)
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        assert client.push_blob(ref(registry), LAYER, reader, mount_from="base/image") == "mounted"
        scopes = {scope for granted, _ in registry.tokens.values() for scope in granted}
        assert scopes == {"repository:team/app:pull", "repository:team/app:push", "repository:base/image:pull"}
        assert client.push_blob(ref(registry), LAYER, reader) == "exists"


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_wrong_and_missing_credentials_are_told_apart(kind: str) -> None:
    with FakeRegistry(auth=kind) as registry:
        text = json.dumps({"auths": {registry.host: {"username": "me", "password": "wrong-secret"}}})
        wrong = refused(lambda: RegistryClient(RegistrySettings(auth_json=text)).check_push(ref(registry)))
        none = refused(lambda: RegistryClient(RegistrySettings()).get_manifest(ref(registry)))
        assert (wrong.code, wrong.status) == ("registry-unauthorized", 401)
        assert any("come from DOCKER_AUTH_CONFIG (auths)" in hint for hint in hints_of(wrong))
        assert "wrong-secret" not in f"{wrong} {wrong.hints} {wrong.url}"
        if kind == "basic":
            assert any("no credentials" in hint for hint in hints_of(none))
        else:
            assert none.code == "registry-not-found"  # an anonymous token may look


def test_forbidden_is_neither() -> None:
    with FakeRegistry(auth="basic") as registry:
        body = b'{"errors":[{"code":"DENIED","message":"read only"}]}'
        registry.fail("POST", "/blobs/uploads/", times=2, status=403, body=body)
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        error = refused(lambda: client.check_push(ref(registry)))
        assert error.code == "registry-forbidden" and "read only" in error.message
        assert "does not allow" in error.hints[0]


def test_the_words_of_a_refusal_are_asked_for(registry: FakeRegistry) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"your plan has ended"}]}'
    for method in ("HEAD", "GET"):
        registry.fail(method, "/manifests/", status=403, body=body, times=2)
    client = RegistryClient(RegistrySettings())
    for ask in (client.resolve, client.manifest_digest):
        error = refused(lambda ask=ask: ask(ref(registry)))  # type: ignore[misc]
        assert error.status == 403 and "your plan has ended" in error.message


@pytest.mark.parametrize("status", [400, 403, 405])
def test_a_registry_that_refuses_head_is_asked_by_get(registry: FakeRegistry, status: int) -> None:
    registry.fail("HEAD", "/manifests/", status=status, times=2)
    client = RegistryClient(RegistrySettings())
    assert client.resolve(ref(registry)).digest == MANIFEST.digest
    assert client.manifest_digest(ref(registry)) == MANIFEST.digest
    if status == 405:
        registry.fail("HEAD", "/blobs/", status=status)
        assert client.push_blob(ref(registry), LAYER, reader) == "pushed"


def test_a_realm_in_plain_http_elsewhere_gets_nothing() -> None:
    with FakeRegistry(auth="token") as registry:
        registry.realm = "http://tokens.example.com/token"
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        error = refused(lambda: client.check_push(ref(registry)))
        assert error.code == "registry-realm"


# --- redirects -------------------------------------------------------------------------------------------------------


def test_a_redirect_carries_no_credentials_to_another_host() -> None:
    with FakeRegistry(auth="basic") as registry, FakeRegistry() as cdn:
        registry.add_blob("team/app", BLOB)
        cdn.add_blob("x", BLOB)
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        client.check_access(registry.host)
        target = (("Location", f"{cdn.url}/v2/x/blobs/{LAYER.digest}?X-Amz-Signature=abc"),)
        registry.fail("GET", "/blobs/", status=307, headers=target)
        with client.open_blob(ref(registry), LAYER) as stream:
            assert stream.read() == BLOB
        assert "authorization" in registry.seen[-1].headers
        assert "authorization" not in cdn.seen[-1].headers


def test_a_redirect_on_the_same_host_keeps_them() -> None:
    with FakeRegistry(auth="basic") as registry:
        registry.add_blob("team/app", BLOB)
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        client.check_access(registry.host)
        target = (("Location", f"/v2/team/app/blobs/{LAYER.digest}?x"),)
        registry.fail("GET", "/team/app/blobs/", status=302, headers=target)
        with client.open_blob(ref(registry), LAYER) as stream:
            assert stream.read() == BLOB
        assert "authorization" in registry.seen[-1].headers and registry.seen[-1].path.endswith("?x")


def test_circles_and_strange_schemes_are_refused(registry: FakeRegistry) -> None:
    registry.fail("GET", "/blobs/", status=302, headers=(("Location", f"/v2/team/app/blobs/{LAYER.digest}"),), times=50)
    client = RegistryClient(RegistrySettings(retries=0))
    assert refused(lambda: client.open_blob(ref(registry), LAYER)).code == "registry-redirect"
    registry.fail("HEAD", "/manifests/", status=302, headers=(("Location", "file:///etc/passwd"),))
    assert refused(lambda: client.resolve(ref(registry))).code == "registry-redirect"


def test_an_upload_elsewhere_gets_no_credentials() -> None:
    with FakeRegistry(auth="basic") as registry, FakeRegistry() as storage:
        registry.upload_host = storage.url
        storage.uploads["upload-1"] = bytearray()
        client = RegistryClient(RegistrySettings(auth_json=credentials(registry)))
        assert client.push_blob(ref(registry), LAYER, reader) == "pushed"
        put = storage.requests("PUT")[0]
        assert "authorization" not in put.headers and storage.blobs


# --- push ------------------------------------------------------------------------------------------------------------


def test_a_push_is_head_post_put_and_what_is_there_is_not_sent(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings())
    target = ref(registry, "new/app:1")
    seen: list[int] = []
    assert client.push_blob(target, LAYER, reader, progress=seen.append) == "pushed"
    assert [item.method for item in registry.seen] == ["HEAD", "POST", "PUT"] and seen[-1] == len(BLOB)
    assert client.push_blob(target, LAYER, reader) == "exists" and len(registry.seen) == 3
    assert RegistryClient(RegistrySettings()).push_blob(target, LAYER, reader) == "exists"
    assert len(registry.seen) == 4


def test_a_broken_upload_is_resumed(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("PUT", "/blobs/uploads/", cut=3_000_000)
    assert RegistryClient(RegistrySettings()).push_blob(ref(registry, "new:1"), LAYER, reader) == "pushed"
    assert registry.blobs["new", LAYER.digest] == BLOB
    patch = registry.requests("PATCH")[0]
    assert patch.headers["content-range"] == f"3000000-{len(BLOB) - 1}"
    assert [seen.method for seen in registry.seen] == ["HEAD", "POST", "PUT", "GET", "PATCH", "PUT"]


def test_a_small_broken_upload_starts_again(registry: FakeRegistry, slept: list[float]) -> None:
    small = Descriptor(media.OCI_CONFIG, digest_of(CONFIG), len(CONFIG))
    registry.fail("PUT", "/blobs/uploads/", cut=5)
    client = RegistryClient(RegistrySettings())
    assert client.push_blob(ref(registry), small, lambda: io.BytesIO(CONFIG)) == "pushed"
    assert registry.blobs["team/app", small.digest] == CONFIG and len(registry.requests("POST")) == 2


def test_an_upload_whose_session_is_lost_starts_again(registry: FakeRegistry, slept: list[float]) -> None:
    registry.fail("PUT", "/blobs/uploads/", status=404)
    assert RegistryClient(RegistrySettings()).push_blob(ref(registry, "new:1"), LAYER, reader) == "pushed"


@pytest.mark.parametrize("keeps", [-1, 1_000_000])
def test_a_registry_that_limits_bodies_gets_chunks(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, keeps: int
) -> None:
    monkeypatch.setattr("firkin.registry.upload._CHUNK_BYTES", 1_500_000)
    registry.max_put_bytes, registry.patch_keeps = 2_000_000, keeps
    assert RegistryClient(RegistrySettings()).push_blob(ref(registry, "new:1"), LAYER, reader) == "pushed"
    assert registry.blobs["new", LAYER.digest] == BLOB
    assert len(registry.requests("PATCH")) == (3 if keeps < 0 else 5)


def test_a_digest_that_the_registry_refutes_is_tried_once_more(registry: FakeRegistry, slept: list[float]) -> None:
    wrong = Descriptor(media.OCI_LAYER, digest_of(b"other"), len(BLOB))
    error = refused(lambda: RegistryClient(RegistrySettings()).push_blob(ref(registry), wrong, reader))
    assert error.code == "registry-invalid" and "DIGEST_INVALID" in error.message
    assert len(registry.requests("PUT")) == 2 and not slept


def test_content_that_ends_early_is_found(registry: FakeRegistry) -> None:
    short = Descriptor(media.OCI_LAYER, digest_of(b"other"), len(BLOB) + 1)
    error = refused(lambda: RegistryClient(RegistrySettings(retries=0)).push_blob(ref(registry), short, reader))
    assert error.code == "registry-source"


def test_a_reader_that_fails_is_the_error(registry: FakeRegistry) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        RegistryClient(RegistrySettings(retries=0)).push_blob(ref(registry, "new:1"), LAYER, Broken)


def test_a_mount_that_does_not_work_becomes_an_upload(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings())
    assert client.push_blob(ref(registry, "new:1"), LAYER, reader, mount_from="no/such") == "pushed"
    assert [seen.method for seen in registry.seen] == ["POST", "PUT"]
    assert client.mount_blob(ref(registry, "more:1"), LAYER.digest, "team/app")
    assert not client.mount_blob(ref(registry, "more:1"), digest_of(b"none"), "team/app")
    assert not registry.uploads


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_mount_that_is_refused_becomes_an_upload(registry: FakeRegistry, status: int) -> None:
    registry.fail("POST", "mount=", status=status)
    client = RegistryClient(RegistrySettings())
    assert client.push_blob(ref(registry, "team/new:1"), LAYER, reader, mount_from="team/app") == "pushed"
    registry.fail("POST", "mount=", status=status)
    assert not client.mount_blob(ref(registry, "team/third:1"), LAYER.digest, "team/app")


def test_a_blob_is_on_its_way_once_at_a_time(registry: FakeRegistry) -> None:
    registry.fail("PUT", "/blobs/uploads/", delay_s=0.3)
    client = RegistryClient(RegistrySettings())
    outcomes: list[str] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(client.push_blob(ref(registry, "team/new:1"), LAYER, reader)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["exists", "exists", "exists", "pushed"]
    assert len(registry.requests("PUT")) == len(registry.requests("POST")) == len(registry.requests("HEAD")) == 1


def test_the_permission_probe_leaves_nothing_behind(registry: FakeRegistry) -> None:
    RegistryClient(RegistrySettings()).check_push(ref(registry))
    assert [seen.method for seen in registry.seen] == ["POST", "DELETE"] and not registry.uploads


def test_a_manifest_that_is_stored_as_something_else_is_an_error(registry: FakeRegistry) -> None:
    told = (("Docker-Content-Digest", digest_of(b"other")),)
    registry.fail("PUT", "/manifests/", status=201, headers=told)
    client = RegistryClient(RegistrySettings())
    assert refused(
        lambda: client.push_manifest(ref(registry), MANIFEST.raw, MANIFEST.media_type)
    ).code == "registry-digest"


def test_manifests_are_put_by_tag_or_digest_and_deleted(registry: FakeRegistry) -> None:
    client = RegistryClient(RegistrySettings())
    by_digest = Reference(registry.host, "new", "", MANIFEST.digest)
    assert client.manifest_digest(by_digest) is None
    client.push_manifest(by_digest, MANIFEST.raw, MANIFEST.media_type)
    assert client.manifest_digest(by_digest) == MANIFEST.digest
    client.delete(by_digest)
    assert client.manifest_digest(by_digest) is None


# --- mirrors ---------------------------------------------------------------------------------------------------------


def hub(mirror: FakeRegistry, registry: FakeRegistry, **more: object) -> RegistrySettings:
    return RegistrySettings(
        mirrors=(Mirror(registry.host, f"{mirror.url}/cache"),), retries=0, **more,  # type: ignore[arg-type]
    )


def test_a_mirror_is_asked_first_under_its_prefix(registry: FakeRegistry) -> None:
    with FakeRegistry() as mirror:
        mirror.add_blob("cache/team/app", BLOB)
        mirror.add_manifest("cache/team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        client = RegistryClient(hub(mirror, registry))
        assert client.get_manifest(ref(registry)) == MANIFEST
        with client.open_blob(ref(registry), LAYER) as stream:
            assert stream.read() == BLOB
        assert registry.seen == [] and len(mirror.seen) == 2
        client.push_blob(ref(registry, "team/app:2"), LAYER, reader)
        assert len(mirror.seen) == 2 and len(registry.seen) == 1


@pytest.mark.parametrize("status", [404, 401, 500])
def test_a_mirror_that_cannot_help_is_passed_over(registry: FakeRegistry, status: int) -> None:
    with FakeRegistry() as mirror:
        mirror.fail("GET", "/manifests/", status=status)
        warned: list[str] = []
        client = RegistryClient(hub(mirror, registry), warn=lambda code, message: warned.append(code))
        assert client.get_manifest(ref(registry)) == MANIFEST
        assert warned == ([] if status == 404 else ["registry-mirror"])


def test_a_mirror_that_is_down_is_asked_once(registry: FakeRegistry) -> None:
    settings = RegistrySettings(mirrors=(Mirror(registry.host, "http://127.0.0.1:9"),))
    warned: list[str] = []
    client = RegistryClient(settings, warn=lambda code, message: warned.append(message))
    client.get_manifest(ref(registry))
    with client.open_blob(ref(registry), LAYER) as stream:
        assert stream.read() == BLOB
    assert len(warned) == 1 and "127.0.0.1:9" in warned[0]


def test_without_fallback_the_mirror_decides(registry: FakeRegistry) -> None:
    with FakeRegistry() as mirror:
        client = RegistryClient(hub(mirror, registry, mirror_fallback=False))
        assert refused(lambda: client.get_manifest(ref(registry))).status == 404
        assert registry.seen == []


def test_a_mirror_that_sends_a_wrong_blob_is_not_asked_for_it_again(registry: FakeRegistry) -> None:
    with FakeRegistry() as mirror:
        mirror.add_blob("cache/team/app", BLOB)
        mirror.fail("GET", "/blobs/", corrupt=True)
        client = RegistryClient(hub(mirror, registry))
        with client.open_blob(ref(registry), LAYER) as stream:
            assert refused(lambda: b"".join(stream)).code == "registry-digest"
        with client.open_blob(ref(registry), LAYER) as stream:
            assert stream.read() == BLOB
        assert len(mirror.seen) == 1


def test_the_last_error_tells_of_the_mirrors_before(registry: FakeRegistry) -> None:
    with FakeRegistry() as mirror:
        mirror.fail("GET", "/manifests/", status=403)
        error = refused(lambda: RegistryClient(hub(mirror, registry)).get_manifest(ref(registry, "team/none:1")))
        assert error.status == 404 and any(mirror.host in hint for hint in error.hints)


def test_hints_of_mirrors_are_for_pulls_without_one(slept: list[float]) -> None:
    nowhere = parse_reference("127.0.0.1:9/x:1")
    with FakeRegistry() as mirror:
        client = RegistryClient(RegistrySettings(mirrors=(Mirror("127.0.0.1:9", mirror.url),)))
        error = refused(lambda: client.resolve(nowhere))
        assert mirror.host in str(error.hints[0]) and Hint.of("mirror") not in error.hints
    error = refused(lambda: RegistryClient(RegistrySettings()).push_blob(nowhere, LAYER, reader))
    assert error.hints == ("is this the registry's host and port, and does it run?",)


def test_mirrors_answer_for_lists_and_manifests_when_asked_to(registry: FakeRegistry) -> None:
    with FakeRegistry() as mirror:
        mirror.add_manifest("cache/team/app", "only-here", MANIFEST.media_type, MANIFEST.raw)
        client = RegistryClient(hub(mirror, registry))
        name = ref(registry, "team/app:only-here")
        assert client.find_manifest(name) is None and "only-here" not in client.list_tags(name)
        assert client.find_manifest(name, mirrors=True) == MANIFEST
        assert client.list_tags(name, mirrors=True) == ("only-here",)
        assert client.find_manifest(ref(registry, "team/app:1"), mirrors=True) == MANIFEST  # the mirror lacks it
        assert client.find_manifest(ref(registry, "team/none:1"), mirrors=True) is None
        mirror.add_blob("cache/team/only-here", BLOB)
        assert client.may_be_pulled(ref(registry, "team/only-here:1"), LAYER.digest)
        assert client.may_be_pulled(name, LAYER.digest)  # the mirror lacks it
        assert not client.may_be_pulled(ref(registry, "team/none:1"), LAYER.digest)
        assert mirror.seen != []


def test_a_blob_is_hashed_by_the_algorithm_of_its_digest(registry: FakeRegistry) -> None:
    digest = f"sha512:{hashlib.sha512(BLOB).hexdigest()}"
    registry.blobs["team/app", digest] = BLOB
    layer = Descriptor(media.OCI_LAYER, digest, len(BLOB))  # type: ignore[arg-type]
    with RegistryClient(RegistrySettings()).open_blob(ref(registry), layer) as stream:
        assert stream.read() == BLOB


# --- proxies ---------------------------------------------------------------------------------------------------------


def test_a_proxy_is_used_for_what_is_not_excepted(registry: FakeRegistry) -> None:
    name = parse_reference("registry.example.com/team/app:1")
    settings = RegistrySettings(http_proxy=registry.url, insecure=("registry.example.com",), retries=0, timeout_s=5)
    assert RegistryClient(settings).get_manifest(name) == MANIFEST
    assert registry.seen[-1].path.startswith("http://registry.example.com/v2/team/app/")
    direct = RegistryClient(RegistrySettings(
        http_proxy="http://127.0.0.1:9", mirrors=(Mirror("registry.example.com", registry.url),),
    ))
    assert direct.get_manifest(name) == MANIFEST


def test_the_environment_names_no_proxy_behind_our_back(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert RegistryClient(RegistrySettings(retries=0)).get_manifest(ref(registry)) == MANIFEST
