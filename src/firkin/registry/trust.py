"""Chooses the trusted roots and the client certificate of a host's TLS connection. Does I/O. registry/ and builder/
only."""

from __future__ import annotations

import os
import threading
from binascii import a2b_base64
from collections.abc import Iterator

import msgspec

from firkin.errors import UsageError
from firkin.linux.files import read_named
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import host_matches

# Mirrors: Go's crypto/x509 root_linux.go, so that trust does not depend on how libcurl was built.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
)
_MARKS = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----")
_MAX_PEM_BYTES = 16 * 1024 * 1024


class Trust(msgspec.Struct, frozen=True):
    """TLS of one host: trusted roots as a file (`ca_file`) or as bytes (`ca_pem`), client certificate, verification."""

    verify: bool = True
    ca_file: str = ""
    ca_pem: bytes = b""
    certificate: str = ""
    key: str = ""


def check_certificates(settings: RegistrySettings) -> None:
    """Read every certificate and key that settings and environment name, so that a wrong one fails at the start.

    Raises UsageError for one that is missing, unreadable, or no PEM. SSL_CERT_DIR is a list of directories; at least
    one of them must hold a certificate.
    """
    for host, path in settings.ca_files:
        _check_pem(path, "CERTIFICATE", f"the CA for `{host}`")
    for host, certificate, key in settings.client_certs:
        _check_pem(certificate, "CERTIFICATE", f"the client certificate for `{host}`")
        _check_pem(key, "PRIVATE KEY", f"the client key for `{host}`")
    file, directories = _named_roots(settings)
    if os.path.isdir(file):
        raise UsageError(f"SSL_CERT_FILE, `{file}`, is a directory", code="registry-certificate",
                         hints=("SSL_CERT_DIR takes directories",))  # fmt: skip
    if file:
        _check_pem(file, "CERTIFICATE", "SSL_CERT_FILE")
    if directories and not any(map(_holds_certificate, directories)):
        raise UsageError(
            f"SSL_CERT_DIR, `{':'.join(directories)}`, is no directory that holds a certificate",
            code="registry-certificate",
            hints=("it takes directories of PEM files, with `:` in between; unset, the system's certificates count",),
        )


def _named_roots(settings: RegistrySettings) -> tuple[str, list[str]]:
    """Return the file of SSL_CERT_FILE ("": none) and the directories of SSL_CERT_DIR."""
    environ = dict(settings.environ)
    return environ.get("SSL_CERT_FILE", ""), [part for part in environ.get("SSL_CERT_DIR", "").split(":") if part]


def _holds_certificate(directory: str) -> bool:
    try:
        return next(_iter_pem(directory), None) is not None
    except OSError:
        return False


def _check_pem(path: str, kind: str, what: str) -> None:
    text = _read_pem(path, what).decode("latin-1")
    blocks = text.split("-----BEGIN ")[1:]
    wanted = [block for block in blocks if block.partition("-----")[0].endswith(kind)]
    if wanted and all(map(_is_whole, wanted)):
        return
    why = "is damaged: its PEM cannot be read"
    if not wanted:
        others = sorted({block.partition("-----")[0] for block in blocks})[:3]
        why = f"holds no PEM of a {kind.lower()}" + (f", but {', '.join(others).lower()}" if others else "")
    der = not blocks and not os.path.isdir(path)
    hints = ("`openssl x509 -inform der -in FILE -out FILE.pem` makes a PEM of a DER",) if der else ()
    raise UsageError(f"{what}, `{path}`, {why}", code="registry-certificate", hints=hints)


def _is_whole(block: str) -> bool:
    """Say whether the text after `-----BEGIN ` is a valid PEM block."""
    body, end, _ = block.partition("-----")[2].partition("-----END ")
    # An encrypted key of the old form has headers before its base64.
    encoded = "".join(line.strip() for line in body.splitlines() if ":" not in line)
    try:
        return bool(end and a2b_base64(encoded, strict_mode=True))
    except ValueError:
        return False


class TrustStore:
    """The TLS settings of all hosts; every file is read at most once. Safe to share between threads."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._file, self._directories = _named_roots(settings)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, bool], Trust] = {}
        self._system: tuple[str, bytes] | None = None
        self._loaded = False

    def preload(self) -> None:
        """Read the system's certificates now, for a build that replaces the files of this root."""
        with self._lock:
            self._loaded = True
            path, pem = self._system_roots()
            self._system = ("", pem or (_read_pem(path) if path else b""))

    def of(self, host: str, *, verify: bool = True) -> Trust:
        """Return the TLS settings for `host[:port]`; raises UsageError for a certificate that cannot be read."""
        with self._lock:
            known = self._known.get((host, verify))
            if known is None:
                known = self._known[host, verify] = self._make(host, verify)
            return known

    def _make(self, host: str, verify: bool) -> Trust:
        settings = self._settings
        certificate = key = ""
        for pattern, cert_path, key_path in settings.client_certs:
            if host_matches(pattern, host):
                certificate, key = cert_path, key_path
                for path in (cert_path, key_path):
                    _read_pem(path)
        if not verify:
            return Trust(False, certificate=certificate, key=key)
        path, pem = self._system_roots()
        extra = b"".join(_read_pem(place) for pattern, place in settings.ca_files if host_matches(pattern, host))
        if extra:
            pem = extra + (pem or (_read_pem(path) if path else b""))
            path = ""
        return Trust(True, path, pem, certificate, key)

    def _system_roots(self) -> tuple[str, bytes]:
        if self._system is None:
            path = self._file or next((name for name in _BUNDLES if os.path.exists(name)), "")
            if self._directories:
                # SSL_CERT_DIR adds to the bundle; SSL_CERT_FILE replaces it. An unreadable part is left out, as in Go.
                parts = []
                for place in (path, *self._directories):
                    try:
                        parts.append(_read_pem(place) if place else b"")
                    except UsageError:
                        continue
                self._system = ("", b"".join(parts))
            else:
                self._system = (path, b"")
        return self._system


def _read_pem(path: str, what: str = "certificate") -> bytes:
    """Return the certificates of a file, or of all files of a directory, once each."""
    try:
        if os.path.isdir(path):
            return b"".join(_iter_pem(path))
        return read_named(path, _MAX_PEM_BYTES) + b"\n"
    except OSError as error:
        why = (error.strerror or "").lower()
        raise UsageError(
            f"certificate `{path}` cannot be read: {why}" if what == "certificate"
            else f"{what}, `{path}`, cannot be read: {why}", code="registry-certificate",
        ) from None


def _iter_pem(directory: str) -> Iterator[bytes]:
    """Yield the contents of the certificate files of a directory, each once."""
    seen = set()
    for name in sorted(os.listdir(directory)):
        place = os.path.join(directory, name)
        try:
            # /etc/ssl/certs has each certificate under its name, and a link to it under its hash.
            identity = os.path.realpath(place)
            if identity in seen or not os.path.isfile(place):
                continue
            seen.add(identity)
            with open(place, "rb") as file:
                data = file.read(_MAX_PEM_BYTES)
        except OSError:
            continue
        if any(mark in data for mark in _MARKS):
            yield data + b"\n"
