"""A real registry (Debian's docker-registry) on a loopback port, with or without authentication."""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support import layouts
from support.bases import BASES, ensure_base

USER, PASSWORD = "builder", "correct horse"
ACCEPT = ", ".join(
    (
        layouts.MANIFEST,
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


@dataclass(frozen=True)
class Registry:
    """A running registry: `host` is HOST:PORT, `url` is a value for `--registry-mirror`."""

    host: str
    storage: Path
    log: Path
    tls: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def reference(self, name: str) -> str:
        """Return the image reference of `name` (`repository:tag`) in this registry."""
        return f"{self.host}/{name}"

    def seed(self, layout: Path, name: str) -> str:
        """Put an image of an OCI layout into the storage directly, by hard links, and return its digest."""
        repository, _, tag = name.rpartition(":")
        descriptor, raw = layouts.read_manifest(layout)
        blobs = self.storage / "docker/registry/v2/blobs/sha256"
        place = self.storage / "docker/registry/v2/repositories" / repository
        manifest = json.loads(raw)
        digests = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        for digest in [*digests, descriptor["digest"]]:
            value = digest.partition(":")[2]
            data = blobs / value[:2] / value / "data"
            data.parent.mkdir(parents=True, exist_ok=True)
            layouts.link_or_copy(layout / "blobs/sha256" / value, data)
        links = [f"_layers/sha256/{digest.partition(':')[2]}" for digest in digests]
        for link in links:
            _write_link(place / link, link.rpartition("/")[2])
        _tag(place, tag, descriptor["digest"].partition(":")[2])
        return str(descriptor["digest"])

    def seed_bases(self, *keys: str) -> None:
        """Serve base images under the names that Dockerfiles use."""
        for key in keys:
            layout = ensure_base(key)
            for name in BASES[key].names:
                self.seed(layout, name)

    def seed_platforms(self, *keys: str) -> None:
        """Serve base images of several architectures, one for each, under the names of the last of them."""
        for name in BASES[keys[-1]].names:
            repository, _, tag = name.rpartition(":")
            entries = []
            for key in keys:
                layout = ensure_base(key)
                self.seed(layout, name)
                descriptor, raw = layouts.read_manifest(layout)
                config = json.loads(layouts.read_blob(layout, json.loads(raw)["config"]["digest"]))
                platform = {"os": config["os"], "architecture": config["architecture"]}
                entries.append({key: descriptor[key] for key in ("mediaType", "digest", "size")} | {"platform": platform})
            index = json.dumps({"schemaVersion": 2, "mediaType": layouts.INDEX, "manifests": entries}).encode()
            value = sha256(index).partition(":")[2]
            data = self.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"
            data.parent.mkdir(parents=True, exist_ok=True)
            data.write_bytes(index)
            _tag(self.storage / "docker/registry/v2/repositories" / repository, tag, value)

    def get(self, path: str) -> bytes:
        """Return the body of a GET below /v2/."""
        request = urllib.request.Request(f"{self.url}/v2/{path}", headers={"Accept": ACCEPT, **self.headers})
        with urllib.request.urlopen(request, timeout=30) as response:
            return bytes(response.read())

    def has(self, path: str) -> bool:
        """Tell whether a GET below /v2/ finds something."""
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def manifest(self, name: str) -> dict[str, Any]:
        """Return the manifest of `repository:tag` or `repository@digest`."""
        repository, _, reference = name.rpartition("@") if "@" in name else name.rpartition(":")
        return dict(json.loads(self.get(f"{repository}/manifests/{reference}")))

    def config(self, name: str) -> dict[str, Any]:
        """Return the image configuration of `repository:tag`."""
        repository = name.rpartition("@" if "@" in name else ":")[0]
        return dict(json.loads(self.get(f"{repository}/blobs/{self.manifest(name)['config']['digest']}")))

    def requests(self) -> list[tuple[str, str, int]]:
        """Return method, path and status of every request that the registry has answered."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            fields = line.split('"')
            # The access log is in the combined format: host - - [time] "METHOD PATH HTTP/1.1" STATUS ...
            if len(fields) > 2 and fields[1].endswith(("HTTP/1.1", "HTTP/1.0", "HTTP/2.0")):
                method, path, _ = fields[1].split(" ", 2)
                found.append((method, path, int(fields[2].split()[0])))
        return found


def _tag(place: Path, tag: str, value: str) -> None:
    """Give a tag to a manifest whose bytes are there, with this sha256, in the repository that is stored at `place`."""
    for link in (
        f"_manifests/revisions/sha256/{value}",
        f"_manifests/tags/{tag}/current",
        f"_manifests/tags/{tag}/index/sha256/{value}",
    ):
        _write_link(place / link, value)


def _write_link(place: Path, value: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "link").write_text(f"sha256:{value}")


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_registry(*, auth: str = "none", tls: bool = False) -> Iterator[Registry]:
    """Run a registry until the block ends; `auth` is none, basic (htpasswd) or token (bearer)."""
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="firkin-registry-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        headers = {}
        if auth == "basic":
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        settings: dict[str, Any] = {}
        if auth == "basic":
            (place / "htpasswd").write_text(f"{USER}:{_bcrypt(PASSWORD)}\n")
            settings["auth"] = {"htpasswd": {"realm": "firkin tests", "path": str(place / "htpasswd")}}
        elif auth == "token":
            server = stack.enter_context(running_token_server(place))
            settings["auth"] = {"token": server.registry_settings()}
        if tls:
            make_certificate(place / "tls.key", place / "tls.crt")
            settings["tls"] = {"certificate": str(place / "tls.crt"), "key": str(place / "tls.key")}
        registry, process = _start(place, settings, headers)
        stack.callback(_stop, process)
        yield registry


def _start(place: Path, settings: dict[str, Any], headers: Mapping[str, str]) -> tuple[Registry, Any]:
    settings = dict(settings)
    tls = settings.pop("tls", None)
    storage, log = place / "storage", place / "registry.log"
    storage.mkdir()
    for _ in range(5):  # another process may take the port first
        host = f"127.0.0.1:{free_port()}"
        http = {"addr": host, "secret": "tests", "relativeurls": True}
        if tls:
            http["tls"] = tls
        # JSON is YAML.
        (place / "config.yml").write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "warn", "accesslog": {"disabled": False}},
                    "storage": {
                        "filesystem": {"rootdirectory": str(storage)},
                        "delete": {"enabled": True},
                        "maintenance": {"uploadpurging": {"enabled": False}},
                    },
                    "http": http,
                    **settings,
                }
            )
        )
        with open(log, "wb") as out:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(place / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=place,
                env={"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"},
            )
        if _answers(host, process):
            return Registry(host, storage, log, tls is not None, headers), process
        _stop(process)
    raise RuntimeError(f"docker-registry does not start:\n{log.read_text()}")


def _answers(host: str, process: subprocess.Popen[bytes]) -> bool:
    name, _, port = host.partition(":")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            # Another process may have taken the port: then ours ends at once.
            time.sleep(0.05)
            return process.poll() is None
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _bcrypt(password: str) -> str:
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def make_certificate(key: Path, certificate: Path, host: str = "127.0.0.1") -> None:
    """Write a new key and a self-signed certificate for a loopback server."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "firkin tests")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


# --- the bearer-token flow -------------------------------------------------------------------------------------------


@dataclass
class TokenServer:
    """A token server in this process; `asked` holds the query of every request for a token."""

    place: Path
    url: str = ""
    lifetime_s: int = 60
    asked: list[dict[str, str]] = field(default_factory=list)

    service = "firkin-tests"
    issuer = "firkin-tests"

    def registry_settings(self) -> dict[str, Any]:
        return {
            "realm": f"{self.url}/token",
            "service": self.service,
            "issuer": self.issuer,
            "rootcertbundle": str(self.place / "token.crt"),
        }

    def token(self, account: str, scopes: list[str]) -> str:
        """Return a signed token that grants the scopes; anonymous callers may only pull."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        key = serialization.load_pem_private_key((self.place / "token.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        certificate = x509.load_pem_x509_certificate((self.place / "token.crt").read_bytes())
        der = certificate.public_bytes(serialization.Encoding.DER)
        access = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted = [a for a in actions.split(",") if account or a == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": self.issuer,
            "sub": account,
            "aud": self.service,
            "exp": now + self.lifetime_s,
            "nbf": now - 10,
            "iat": now,
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        signing = b".".join(_b64url(json.dumps(part).encode()) for part in (header, claims))
        r, s = utils.decode_dss_signature(key.sign(signing, ec.ECDSA(hashes.SHA256())))
        return (signing + b"." + _b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


def _b64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def running_token_server(place: Path) -> Iterator[TokenServer]:
    """Serve tokens for USER with PASSWORD, and anonymous pull tokens, until the block ends."""
    server = TokenServer(place)
    make_certificate(place / "token.key", place / "token.crt")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            server.asked.append({key: " ".join(values) for key, values in query.items()})
            account = ""
            kind, _, value = self.headers.get("Authorization", "").partition(" ")
            if kind.lower() == "basic":
                account, _, password = base64.b64decode(value).decode().partition(":")
                if (account, password) != (USER, PASSWORD):
                    self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong name or password"}]})
                    return
            token = server.token(account, query.get("scope", []))
            self.answer(200, {"token": token, "expires_in": server.lifetime_s})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            form = urllib.parse.parse_qs(self.rfile.read(length).decode())
            server.asked.append({key: " ".join(values) for key, values in form.items() if key != "password"})
            given = (form.get("username", [""])[0], form.get("password", [""])[0])
            if form.get("grant_type") == ["password"] and given != (USER, PASSWORD):
                self.answer(401, {"error": "invalid_grant"})
                return
            token = server.token(USER, form.get("scope", []))
            self.answer(200, {"access_token": token, "expires_in": server.lifetime_s})

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def docker_config(host: str, user: str = USER, password: str = PASSWORD) -> str:
    """Return the text of a config.json with credentials for one registry."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": pair}}})


def push_layout(registry: Registry, layout: Path, name: str, *, tag: str = "") -> None:
    """Push an OCI layout with skopeo, a tool independent of firkin."""
    source = f"oci:{layout}:{tag}" if tag else f"oci:{layout}"
    credentials = ["--dest-creds", f"{USER}:{PASSWORD}"] if registry.headers else []
    subprocess.run(
        [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            *credentials,
            source,
            f"docker://{registry.reference(name)}",
        ],
        check=True,
        capture_output=True,
    )


def sha256(data: bytes) -> str:
    """Return the digest of some bytes, as the specs spell it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
