"""Certificates that the settings name are looked at before anything is done."""

import base64
import os
from pathlib import Path

import pytest

from firkin.backend import Backend
from firkin.builder.build import run_build
from firkin.builder.request import BuildRequest
from firkin.errors import UsageError
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.registry.trust import check_certificates
from firkin.tasks.cancel import Cancel


def pem(kind: str, data: bytes = b"x" * 300) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(data).decode()}-----END {kind}-----\n"


GOOD = "# a comment: with a colon\n" + pem("CERTIFICATE") + pem("TRUSTED CERTIFICATE")
OLD_KEY = pem("RSA PRIVATE KEY").replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n", 1)


@pytest.mark.parametrize(("text", "told"), [
    (None, "cannot be read: no such file"), ("", "holds no PEM of a certificate"), ("\x30\x82", "holds no PEM"),
    (pem("PRIVATE KEY"), "holds no PEM of a certificate, but private key"), (GOOD[:200], "is damaged"),
    (GOOD.replace("e", "!"), "is damaged"), (pem("CERTIFICATE", b""), "is damaged"),
])
def test_a_ca_is_a_certificate(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    settings = RegistrySettings(ca_files=(("r.example", str(path)),))
    for look in (check_certificates, RegistryClient):
        with pytest.raises(UsageError, match=told) as caught:
            look(settings)
        assert str(path) in caught.value.message and "`r.example`" in caught.value.message
        assert caught.value.code == "registry-certificate"


def test_a_directory_has_one_at_least(tmp_path: Path) -> None:
    settings = RegistrySettings(ca_files=(("*", str(tmp_path)),))
    with pytest.raises(UsageError, match="holds no PEM"):
        check_certificates(settings)
    (tmp_path / "a.pem").write_text(GOOD)
    (tmp_path / "README").write_text("nothing")
    check_certificates(settings)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="cannot be read"):
        check_certificates(RegistrySettings(ca_files=(("*", str(tmp_path / "pipe")),)))


def test_a_client_has_a_certificate_and_its_key(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(GOOD)
    key.write_text(OLD_KEY)
    check_certificates(RegistrySettings(client_certs=(("r.example", str(certificate), str(key)),)))
    for pair in ((key, key), (certificate, certificate), (certificate, tmp_path / "none")):
        with pytest.raises(UsageError, match=r"the client (certificate|key) for `r\.example`"):
            check_certificates(RegistrySettings(client_certs=(("r.example", str(pair[0]), str(pair[1])),)))


def _no_backend() -> Backend:
    raise AssertionError


@pytest.mark.parametrize(("name", "content", "told"), [
    ("SSL_CERT_FILE", None, "SSL_CERT_FILE, `{}`, cannot be read: no such file"),
    ("SSL_CERT_FILE", "nothing", "SSL_CERT_FILE, `{}`, holds no PEM of a certificate"),
    ("SSL_CERT_FILE", GOOD[:200], "SSL_CERT_FILE, `{}`, is damaged"),
    ("SSL_CERT_FILE", (), "SSL_CERT_FILE, `{}`, is a directory"),
    ("SSL_CERT_DIR", None, "SSL_CERT_DIR, `{}`, is no directory that holds a certificate"),
    ("SSL_CERT_DIR", GOOD, "SSL_CERT_DIR, `{}`, is no directory"),
    ("SSL_CERT_DIR", (), "SSL_CERT_DIR, `{}`, is no directory that holds"),
    ("SSL_CERT_DIR", ("nothing",), "SSL_CERT_DIR, `{}`, is no directory that holds"),
])  # fmt: skip
def test_what_the_environment_names_is_told_at_the_start(
    tmp_path: Path, name: str, content: str | tuple[str, ...] | None, told: str
) -> None:
    place = tmp_path / "roots"
    if isinstance(content, str):
        place.write_text(content)
    elif content is not None:
        place.mkdir()
        for number, text in enumerate(content):
            (place / f"{number}.pem").write_text(text)
    settings = RegistrySettings(environ=((name, str(place)),))
    request = BuildRequest(context=str(tmp_path), store_root=str(tmp_path / "store"), registry=settings)
    looks = (check_certificates, RegistryClient, lambda _: run_build(request, lambda event: None, Cancel(), _no_backend))
    for look in looks:
        with pytest.raises(UsageError) as caught:
            look(settings)
        assert told.format(place) in caught.value.message and caught.value.code == "registry-certificate"


def test_one_directory_of_the_environment_is_enough(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text(GOOD)
    check_certificates(RegistrySettings(environ=(("SSL_CERT_DIR", f"/nowhere:{tmp_path}"), ("SSL_CERT_FILE", ""))))
