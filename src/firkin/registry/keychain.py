"""Credentials of registries: config.json files and credential helpers. Does I/O. registry/ and cli/ only.

Sources are read in the order of `RegistrySettings` (`auth_json`, then `auth_files`) and merged: the longest key that
is a prefix of `host[:port]/repository` wins, whichever source has it; of equal keys, the first.
If there is none, a key of the same host with another path is used, because Docker compares only the host of a key.
Within a source the order is `credHelpers`, `credsStore`, `auths`, as in Docker. A missing or failing helper is not
an error by itself, because the image may be public: it becomes a note, shown when the registry refuses.
If no source has credentials, `RegistrySettings.credential_helpers` are asked, as in the Kaniko executor.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from firkin.errors import UsageError
from firkin.linux.files import read_named
from firkin.oci import codec
from firkin.registry.auth import IDENTITY_USER, Credentials
from firkin.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from firkin.oci.gojson import Shape

HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"))
_HELPER_TIMEOUT_S = 60
_MAX_CONFIG_BYTES = 4 * 1024 * 1024


class _Auth(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _Config(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    auths: dict[str, _Auth | None] | None = None
    credsStore: str | None = None
    credHelpers: dict[str, str] | None = None


class _Secret(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    ServerURL: object = None
    Username: str = ""
    Secret: str = ""


def _config_shape() -> Shape:
    from firkin.oci.gojson import MAP, Shape

    return Shape(_Config, auths={"*": Shape(_Auth)}, credHelpers=MAP)


def _secret_shape() -> Shape:
    from firkin.oci.gojson import Shape

    return Shape(_Secret)


class _Source(msgspec.Struct, frozen=True):
    label: str
    auths: dict[str, tuple[str, _Auth]]  # normal key -> (key as written, entry)
    helpers: dict[str, str]
    store: str


def normal_key(key: str) -> str:
    """Return `host[:port][/path]` of a key in config.json; all spellings of Docker Hub become `docker.io`."""
    text = key.partition("://")[2] if "://" in key else key
    host, _, path = text.strip("/").partition("/")
    host = host.lower()
    if path in ("v1", "v2"):  # the root of the API, as Docker writes it: not a path of repositories
        path = ""
    if host in _HUB_NAMES:
        host = "docker.io"
    return f"{host}/{path}" if path else host


class Keychain:
    """Finds credentials by host and repository. Safe to share between threads; files are read once."""

    def __init__(self, settings: RegistrySettings, cancelled: Callable[[], bool] | None = None) -> None:
        self._settings = settings
        self._cancelled = cancelled  # called while a helper runs
        self._environ = dict(settings.environ)
        self._lock = threading.Lock()
        self._sources: tuple[_Source, ...] | None = None
        self._answers: dict[tuple[str, str], Credentials | None] = {}
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """Problems with helpers so far, for the hints of a refusal."""
        return tuple(self._notes)

    def preload(self) -> None:
        """Read the files now, for a build that removes them while it runs steps. Raises UsageError."""
        with self._lock:
            if self._sources is None:
                self._sources = tuple(self._read_sources())

    def find(self, host: str, repository: str = "") -> Credentials | None:
        """Return the credentials for a repository at `host[:port]`, or None.

        Raises UsageError when a file exists but cannot be read or is no config.json.
        """
        with self._lock:
            if self._sources is None:
                self._sources = tuple(self._read_sources())
            whole = normal_key(f"{host}/{repository}" if repository else host)
            wanted = whole
            while True:
                for source in self._sources:
                    found = self._look_up(source, wanted, host)
                    if found is not None:
                        return found
                parent, slash, _ = wanted.rpartition("/")
                if not slash:
                    return self._of_neighbour(whole, wanted) or self._ambient(wanted, host)
                wanted = parent

    def _of_neighbour(self, whole: str, host: str) -> Credentials | None:
        """Return the credentials of a key of the same host with another path: of the most similar, then of the first.

        Mirrors: docker/cli credentials.fileStore.Get with ConvertToHostname.
        """
        wanted, best, found = whole.split("/"), 0, None
        for source in self._sources or ():
            for key, (written, entry) in source.auths.items():
                parts = key.split("/")
                if parts[0] != host or not _has_secret(entry):
                    continue
                alike = next((i for i, pair in enumerate(zip(parts, wanted, strict=False)) if pair[0] != pair[1]),
                             min(len(parts), len(wanted)))
                if alike > best:
                    best, found = alike, _from_entry(entry, written, source.label)
        return found

    def _ambient(self, key: str, host: str) -> Credentials | None:
        """Ask the sources that need no file: environment variables, helpers of clouds, a job's token."""
        for helper in self._settings.credential_helpers:
            if helper == "env":
                found = from_environment(key, self._environ)
            elif helper == "gitlab":
                found = _from_gitlab_job(key, self._environ)
            else:
                program, hosts = _CLOUDS[helper]
                known = key.partition(":")[0].endswith(hosts)
                found = self._ask_cloud(program, host) if known else None
            if found is not None:
                return found
        return None

    def _ask_cloud(self, program: str, host: str) -> Credentials | None:
        import shutil

        if shutil.which(f"docker-credential-{program}", path=self._settings.helper_path or os.defpath) is None:
            return None
        return self._ask(_Source("the environment", {}, {}, ""), program, host, "cloud")

    def _read_sources(self) -> list[_Source]:
        found = []
        if self._settings.auth_json.strip():
            found.append(_parse_config(self._settings.auth_json.encode(), "DOCKER_AUTH_CONFIG"))
        for path in self._settings.auth_files:
            label = self._short(path)
            try:
                data = read_named(path, _MAX_CONFIG_BYTES)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                # Another user's file, e.g. in a HOME that sudo kept: skip it, but mention it if access is denied.
                self._notes.append(f"`{label}` cannot be read: {(error.strerror or '').lower()}")
                continue
            if data.strip():
                found.append(_parse_config(data, label))
        return found

    def _short(self, path: str) -> str:
        home = self._environ.get("HOME", "").rstrip("/")
        return f"~{path[len(home):]}" if home and path.startswith(f"{home}/") else path

    def _look_up(self, source: _Source, key: str, host: str) -> Credentials | None:
        whole_host = "/" not in key
        written, entry = source.auths.get(key, ("", None))
        if key in source.helpers:
            server = HUB_KEY if key == "docker.io" else written or key
            return self._ask(source, source.helpers[key], server, "credHelpers")
        if source.store and whole_host:
            server = HUB_KEY if key == "docker.io" else written or host
            found = self._ask(source, source.store, server, "credsStore")
            if found is not None:
                return found
        return _from_entry(entry, written, source.label) if entry is not None else None

    def _ask(self, source: _Source, helper: str, server: str, kind: str) -> Credentials | None:
        if (helper, server) not in self._answers:
            label = f"docker-credential-{helper} ({kind} in {source.label})"
            try:
                place = self._settings.helper_path
                answer = run_helper(helper, "get", server, place, self._environ, self._cancelled)
            except UsageError as error:
                self._notes.append(f"{error.message} ({kind} in {source.label})")
                answer = None
            self._answers[helper, server] = _from_helper(answer, label) if answer is not None else None
        return self._answers[helper, server]


# helper: (docker-credential-PROGRAM, suffixes of the hosts that it is asked for)
_CLOUDS = {
    "google": ("gcr", ("gcr.io", ".pkg.dev")),
    "ecr": ("ecr-login", (".amazonaws.com", ".amazonaws.com.cn", "public.ecr.aws")),
    "acr": ("acr-env", (".azurecr.io", ".azurecr.cn", ".azurecr.de", ".azurecr.us")),
}


def from_environment(host: str, environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of KANIKO_<HOST>_USER and _PASSWORD, for the host or a domain that contains it.

    Mirrors: osscontainertools/kaniko pkg/creds/env_keychain.go; a port may be left out.
    """
    name = "index.docker.io" if host == "docker.io" else host
    for spelling in dict.fromkeys((name, name.partition(":")[0])):
        labels = spelling.upper().replace("-", "_").replace(":", "_").split(".")
        for start in range(len(labels)):
            prefix = "KANIKO_" + "_".join(labels[start:])
            user, password = environ.get(f"{prefix}_USER"), environ.get(f"{prefix}_PASSWORD")
            if user is not None and password is not None:
                return Credentials(user, password, source=f"{prefix}_USER")
    return None


def _from_gitlab_job(host: str, environ: Mapping[str, str]) -> Credentials | None:
    """Return the job token for the GitLab registry, or the account of its dependency proxy."""
    if environ.get("CI_JOB_TOKEN") and host == normal_key(environ.get("CI_REGISTRY", "")):
        return Credentials("gitlab-ci-token", environ["CI_JOB_TOKEN"], source="CI_JOB_TOKEN")
    user, password = environ.get("CI_DEPENDENCY_PROXY_USER"), environ.get("CI_DEPENDENCY_PROXY_PASSWORD")
    if user and password and host == normal_key(environ.get("CI_DEPENDENCY_PROXY_SERVER", "")):
        return Credentials(user, password, source="CI_DEPENDENCY_PROXY_USER")
    return None


def _parse_config(data: bytes, label: str) -> _Source:
    try:
        config = codec.decode_like_go(data, _Config, f"`{label}` is not a Docker configuration file", _config_shape)
    except ValueError as error:
        raise UsageError(
            str(error),
            code="registry-config",
            hints=("it must be JSON such as `{\"auths\": {\"registry.example.com\": {\"auth\": \"…\"}}}`",),
        ) from None
    auths: dict[str, tuple[str, _Auth]] = {}
    for key, entry in (config.auths or {}).items():
        normal = normal_key(key)
        known = auths.get(normal)
        # A host may have several spellings (Docker Hub): an entry with a secret wins over an empty one.
        if entry is not None and (known is None or not _has_secret(known[1])):
            auths[normal] = (key, entry)
    helpers = {normal_key(key): name for key, name in (config.credHelpers or {}).items() if name}
    return _Source(label, auths, helpers, config.credsStore or "")


def _has_secret(entry: _Auth) -> bool:
    return bool(entry.auth or entry.username or entry.password or entry.identitytoken or entry.registrytoken)


def _from_entry(entry: _Auth, key: str, label: str) -> Credentials | None:
    if not _has_secret(entry):
        return None
    username, password = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            pair = base64.b64decode("".join(entry.auth.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise UsageError(
                f"`auth` of `{key}` in `{label}` is not base64 of `user:password`", code="registry-config"
            ) from None
        username, colon, password = pair.rstrip("\0").partition(":")
        if not colon:
            raise UsageError(f"`auth` of `{key}` in `{label}` has no colon in it", code="registry-config")
    token = entry.identitytoken or ""
    if username == IDENTITY_USER and not token:
        token, password = password, ""
    return Credentials(username, password, token, entry.registrytoken or "", f"{label} (auths)")


def _from_helper(answer: bytes, label: str) -> Credentials | None:
    secret = codec.decode_like_go(answer, _Secret, label, _secret_shape)
    if not secret.Secret:
        return None
    if secret.Username == IDENTITY_USER:
        return Credentials(secret.Username, identity_token=secret.Secret, source=label)
    return Credentials(secret.Username, secret.Secret, source=label)


def _answer_of(
    program: str,
    verb: str,
    data: str,
    search_path: str,
    environ: dict[str, str],
    cancelled: Callable[[], bool] | None,
) -> CompletedProcess[bytes]:
    """Run a helper; raises UsageError if it is missing, does not start or does not end in time."""
    import shutil
    import subprocess

    from firkin.linux.programs import run_program

    path = shutil.which(program, path=search_path or os.defpath)
    if path is None:
        raise UsageError(f"credential helper `{program}` is not in PATH", code="registry-helper")
    try:
        return run_program(
            [path, verb], data=data.encode(), environ=environ or None, timeout_s=_HELPER_TIMEOUT_S, cancelled=cancelled
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"credential helper `{program}` did not answer within {_HELPER_TIMEOUT_S} seconds", code="registry-helper"
        ) from None
    except OSError as error:
        raise UsageError(
            f"credential helper `{program}` cannot be started: {(error.strerror or '').lower()}", code="registry-helper"
        ) from None


def run_helper(
    helper: str,
    verb: str,
    data: str,
    search_path: str,
    environ: dict[str, str],
    cancelled: Callable[[], bool] | None = None,
) -> bytes | None:
    """Run `docker-credential-HELPER VERB` with `data` on its standard input and return its output.

    None means that it has no credentials for the server. Raises UsageError if it is missing or fails; no message
    contains the output of a successful run. When `cancelled` returns True, the helper is killed and Cancelled raised.
    Spec: docker-credential-helpers, README.
    """
    program = f"docker-credential-{helper}"
    if "/" in helper or not helper:
        raise UsageError(f"`{helper}` is not the name of a credential helper", code="registry-helper")
    done = _answer_of(program, verb, data, search_path, environ, cancelled)
    if done.returncode != 0:
        told = (done.stdout.strip() or done.stderr.strip()).decode(errors="replace")[:300]
        if "credentials not found" in told.lower():
            return None
        raise UsageError(
            f"credential helper `{program}` failed with status {done.returncode}: {told}", code="registry-helper"
        )
    if verb != "get":
        return done.stdout
    try:
        codec.decode_like_go(done.stdout, _Secret, program, _secret_shape)
    except ValueError:
        raise UsageError(f"credential helper `{program}` prints no credentials", code="registry-helper") from None
    return done.stdout


# --- login and logout ------------------------------------------------------------------------------------------------


def login(path: str, host: str, username: str, secret: str, helper_path: str = "", environ: dict[str, str] | None = None
          ) -> str:
    """Store credentials for a registry in the config.json at `path`, or in the helper that it names for the host.

    Returns the place in words, for a message. Everything else in the file stays. Raises UsageError, OSError.
    """
    key = HUB_KEY if normal_key(host) == "docker.io" else host
    os.makedirs(os.path.dirname(os.path.realpath(path)), mode=0o700, exist_ok=True)
    with _alone(path):
        document = _load(path)
        helper = _helper_for(document, host)
        auths = document.setdefault("auths", {})
        if helper:
            entry = encode_helper_entry(key, username, secret)
            run_helper(helper, "store", entry, helper_path, environ or {})
            auths[key] = {}
        elif username == IDENTITY_USER:
            auths[key] = {"identitytoken": secret}
        else:
            auths[key] = {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode()}
        _save(path, document)
        return f"docker-credential-{helper}" if helper else path


def logout(path: str, host: str, helper_path: str = "", environ: dict[str, str] | None = None) -> bool:
    """Remove the credentials for a registry; returns whether there were any. Raises UsageError, OSError.

    A helper may have them under other spellings of the host as well. Mirrors: docker/cli registry.runLogout.
    """
    wanted = normal_key(host)
    if not os.path.exists(path):
        return False
    with _alone(path):
        document = _load(path)
        helper = _helper_for(document, host)
        auths = document.get("auths", {})
        gone = [key for key in auths if normal_key(key) == wanted]
        if helper:
            _erase(helper, wanted, host, helper_path, environ or {})
        for key in gone:
            del auths[key]
        if gone:
            _save(path, document)
        return bool(gone)


def _erase(helper: str, wanted: str, host: str, helper_path: str, environ: dict[str, str]) -> None:
    """Erase all spellings of a host; raises UsageError if none could be."""
    servers = (HUB_KEY,) if wanted == "docker.io" else (host, f"http://{host}", f"https://{host}")
    failed: list[UsageError] = []
    for server in servers:
        try:
            run_helper(helper, "erase", server, helper_path, environ)
        except UsageError as error:
            failed.append(error)
    if len(failed) == len(servers):
        raise failed[0]


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Lock the file at `path` against other firkin processes, so that two logins at once keep both entries."""
    folder = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a network file system may have no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def encode_helper_entry(server: str, username: str, secret: str) -> str:
    """Return the document for the `store` command of a helper."""
    return msgspec.json.encode({"ServerURL": server, "Username": username, "Secret": secret}).decode()


def _helper_for(document: dict[str, Any], host: str) -> str:
    for key, name in (document.get("credHelpers") or {}).items():
        if normal_key(key) == normal_key(host):
            return str(name)
    return str(document.get("credsStore") or "")


def _load(path: str) -> dict[str, Any]:
    try:
        data = read_named(path, _MAX_CONFIG_BYTES)
    except FileNotFoundError:
        return {}
    if not data.strip():
        return {}
    _parse_config(data, path)
    document: dict[str, Any] = {}
    for key, value in msgspec.json.decode(data).items():
        name = _spelled(key)
        both = isinstance(value, dict) and isinstance(document.get(name), dict)
        document[name] = {**document[name], **value} if both else value
    if document.get("auths") is None:
        document.pop("auths", None)
    return document


def _spelled(key: str) -> str:
    """Return a key as Docker writes it, so that Docker finds it."""
    return next((name for name in _Config.__struct_encode_fields__ if name.lower() == key.lower()), key)


def _save(path: str, document: dict[str, Any]) -> None:
    # If `path` is a link, write beside its target, so that the link stays and the rename is atomic.
    target = os.path.realpath(path)
    temporary = f"{target}.{os.urandom(6).hex()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(document), indent=8) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
