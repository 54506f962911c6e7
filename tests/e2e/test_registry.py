"""RegistryClient against Debian's docker-registry, with every kind of authentication, and over TLS."""

import io
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hints import hints_of
from support.registry import Registry, docker_config, running_registry

from firkin.errors import RegistryError, UsageError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.testing.registry import FakeRegistry

BLOB = os.urandom(5_000_000)
LAYER = Descriptor(media.OCI_LAYER, digest_of(BLOB), len(BLOB))
CONFIG = json.dumps({
    "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [LAYER.digest]},
}).encode()
CONFIG_BLOB = Descriptor(media.OCI_CONFIG, digest_of(CONFIG), len(CONFIG))
MANIFEST = encode_manifest(Manifest(media.OCI_MANIFEST, CONFIG_BLOB, (LAYER,)))


def push(client: RegistryClient, ref: Reference) -> None:
    client.push_blob(ref, LAYER, lambda: io.BytesIO(BLOB))
    client.push_blob(ref, CONFIG_BLOB, lambda: io.BytesIO(CONFIG))
    assert client.push_manifest(ref, MANIFEST.raw, MANIFEST.media_type) == MANIFEST.digest


@pytest.fixture(params=["none", "basic", "token"])
def any_registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    with running_registry(auth=request.param) as started:
        yield started


@pytest.mark.registry
def test_what_is_pushed_can_be_pulled_and_mounted(any_registry: Registry) -> None:
    settings = RegistrySettings(auth_json=docker_config(any_registry.host))
    ref = parse_reference(any_registry.reference("team/app:1"))
    with RegistryClient(settings) as client:
        client.check_access(any_registry.host)
        client.check_push(ref)
        push(client, ref)
    with RegistryClient(settings) as client:
        assert client.resolve(ref) == MANIFEST.descriptor and client.get_manifest(ref) == MANIFEST
        with client.open_blob(ref, LAYER) as stream:
            assert stream.read() == BLOB
        other = parse_reference(any_registry.reference("team/other:2"))
        assert client.push_blob(other, LAYER, lambda: io.BytesIO(BLOB), mount_from="team/app") == "mounted"
        assert client.has_blob(other, LAYER.digest)
        assert client.list_tags(ref) == ("1",)
        assert client.manifest_digest(parse_reference(any_registry.reference("team/app:2"))) is None


@pytest.mark.registry
def test_what_is_there_already_costs_one_request_each() -> None:
    with running_registry() as registry:
        ref = parse_reference(registry.reference("team/app:1"))
        push(RegistryClient(RegistrySettings()), ref)
        before = len(registry.requests())
        client = RegistryClient(RegistrySettings())
        assert client.manifest_digest(ref) == MANIFEST.digest
        assert client.push_blob(ref, LAYER, lambda: io.BytesIO(BLOB)) == "exists"
        assert [method for method, _, _ in registry.requests()[before:]] == ["HEAD", "HEAD"]


@pytest.mark.registry
@pytest.mark.parametrize("auth", ["basic", "token"])
def test_wrong_credentials_are_a_401_that_names_their_source(auth: str) -> None:
    with running_registry(auth=auth) as registry:
        ref = parse_reference(registry.reference("team/app:1"))
        settings = RegistrySettings(auth_json=docker_config(registry.host, password="not it"))
        with pytest.raises(RegistryError) as caught:
            RegistryClient(settings).check_push(ref)
        assert (caught.value.code, caught.value.status) == ("registry-unauthorized", 401)
        assert any("DOCKER_AUTH_CONFIG (auths)" in hint for hint in hints_of(caught.value))
        with pytest.raises(RegistryError) as caught:
            RegistryClient(RegistrySettings()).check_push(ref)
        assert any("no credentials" in hint for hint in hints_of(caught.value))


@pytest.mark.registry
def test_a_registry_with_tls_on_loopback_is_found_and_verified(tmp_path: Path) -> None:
    with running_registry(auth="token", tls=True) as registry:
        certificate = registry.storage.parent / "tls.crt"
        ref = parse_reference(registry.reference("team/app:1"))
        auth = docker_config(registry.host)
        trusting = RegistrySettings(auth_json=auth, ca_files=((registry.host, str(certificate)),))
        push(RegistryClient(trusting), ref)
        with pytest.raises(RegistryError) as caught:
            RegistryClient(RegistrySettings(auth_json=auth, retries=0)).resolve(ref)
        assert caught.value.code == "registry-tls" and "not trusted" in caught.value.message
        anyway = (
            RegistrySettings(auth_json=auth, skip_tls_verify=(registry.host,)),
            RegistrySettings(auth_json=auth, skip_tls_verify_pull=True),
            RegistrySettings(auth_json=auth, insecure=("127.0.0.1",)),
            RegistrySettings(auth_json=auth, environ=(("SSL_CERT_FILE", str(certificate)),)),
        )
        for settings in anyway:
            assert RegistryClient(settings).resolve(ref).digest == MANIFEST.digest
        directory = tmp_path / "certs"
        directory.mkdir()
        shutil.copy(certificate, directory / "mine.pem")
        settings = RegistrySettings(auth_json=auth, environ=(("SSL_CERT_DIR", str(directory)),))
        client = RegistryClient(settings)
        client.preload()
        shutil.rmtree(directory)
        assert client.resolve(ref).digest == MANIFEST.digest


@pytest.mark.registry
def test_a_registry_serves_as_docker_hubs_mirror() -> None:
    with running_registry() as registry:
        settings = RegistrySettings(
            mirrors=(Mirror("docker.io", "http://127.0.0.1:9"), Mirror("docker.io", registry.url))
        )
        push(RegistryClient(RegistrySettings()), parse_reference(registry.reference("library/thing:1")))
        warned: list[str] = []
        client = RegistryClient(settings, warn=lambda code, message: warned.append(message))
        assert client.get_manifest(parse_reference("thing:1")) == MANIFEST
        assert len(warned) == 1


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A directory with a CA and, signed by it, a server's and a client's certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=firkin test CA", "-keyout", "ca.key", "-out", "ca.pem")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.pem")
    return tmp_path


def test_client_certificates_are_shown_to_the_host_they_are_for(authority: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with FakeRegistry(tls=context) as registry:
        registry.add_manifest("team/app", "1", MANIFEST.media_type, MANIFEST.raw)
        ref = parse_reference(f"{registry.host}/team/app:1")
        ca = ((registry.host, str(authority / "ca.pem")),)
        pair = (registry.host, str(authority / "client.pem"), str(authority / "client.key"))
        good = RegistrySettings(ca_files=ca, client_certs=(pair,), retries=0)
        assert RegistryClient(good).get_manifest(ref) == MANIFEST
        with pytest.raises(RegistryError):
            RegistryClient(RegistrySettings(ca_files=ca, retries=0)).get_manifest(ref)
        elsewhere = RegistrySettings(ca_files=ca, client_certs=(("other.example", *pair[1:]),), retries=0)
        with pytest.raises(RegistryError):
            RegistryClient(elsewhere).get_manifest(ref)
        missing = RegistrySettings(ca_files=ca, client_certs=((registry.host, "/none.pem", "/none.key"),))
        with pytest.raises(UsageError, match=r"none\.pem"):
            RegistryClient(missing).get_manifest(ref)


def test_plain_http_is_never_where_https_was_asked_for(authority: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    with FakeRegistry(tls=context) as registry, FakeRegistry() as plain:
        plain.add_blob("x", BLOB)
        target = f"http://localhost:{plain.host.partition(':')[2]}/v2/x/blobs/{LAYER.digest}"
        registry.fail("GET", "/blobs/", status=307, headers=(("Location", target),))
        client = RegistryClient(RegistrySettings(ca_files=((registry.host, str(authority / "ca.pem")),), retries=0))
        with pytest.raises(RegistryError) as caught:
            client.open_blob(parse_reference(f"{registry.host}/team/app:1"), LAYER)
        assert caught.value.code == "registry-redirect" and plain.seen == []
        # A proxy that forgets that it was reached by https: the same host is followed, by https.
        registry.add_blob("team/app", BLOB)
        target = f"http://{registry.host}/v2/team/app/blobs/{LAYER.digest}?again"
        registry.fail("GET", "/blobs/", status=307, headers=(("Location", target),))
        with client.open_blob(parse_reference(f"{registry.host}/team/app:1"), LAYER) as stream:
            assert stream.read() == BLOB


@pytest.mark.registry
def test_plain_http_where_tls_is_spoken_is_explained() -> None:
    with running_registry() as registry:
        settings = RegistrySettings(ca_files=((registry.host, "/etc/ssl/certs/ca-certificates.crt"),), retries=0)
        with pytest.raises(RegistryError) as caught:
            RegistryClient(settings).resolve(parse_reference(registry.reference("team/app:1")))
        assert caught.value.code == "registry-tls" and any("insecure" in hint for hint in hints_of(caught.value))
