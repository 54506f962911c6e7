"""What the environment, the home directory and the clock say about a build. Pure.

A front reads the state of its process into an Ambient once; everything below gets fields of a BuildRequest. Commands on
containers know nothing of builds, so what a request consists of is loaded when one is made.
"""

from __future__ import annotations

from firkin.text import valid_text
from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from firkin.builder.request import BuildRequest
    from firkin.registry.settings import RegistrySettings
    from firkin.text import Pairs

SYSTEM_STORE = "/var/lib/firkin"
SYSTEM_CONFIG = "/etc/firkin/config.toml"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
_GIT_PREFIXES = ("GIT_", "SSH_", "LC_")
_GIT_NAMES = ("PATH", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR")  # for the ssh program and what it starts
# Places of credentials of clouds, git and clusters: variables that name one, then paths below the home directory.
_PRIVATE_NAMES = (
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG",
    "DOCKER_CREDENTIAL_GCR_CONFIG", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CONFIG_DIR",
    "NETRC", "KUBECONFIG",
)  # fmt: skip
_PRIVATE_IN_HOME = (
    ".aws", ".azure", ".config/gcloud", ".config/git/credentials", ".docker/config.json", ".git-credentials",
    ".kube/config", ".netrc", ".ssh",
)  # fmt: skip
# Kubernetes puts the tokens of service accounts here, its own and those of clouds.
_POD_SECRETS = "/var/run/secrets"
_OBJECT_STORE_PREFIXES = ("AWS_", "S3_", "AZURE_", "GOOGLE_", "GCS_", "STORAGE_EMULATOR_HOST")


def text_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in a form that can be encoded: bytes that are not UTF-8 become replacement characters."""
    return {valid_text(name): valid_text(value) for name, value in environ.items()}


class Ambient(NamedTuple):
    """The surroundings of one call. `environ` holds secrets."""

    environ: Mapping[str, str]
    cwd: str
    home: str
    uid: int
    now_s: float


def store_root(ambient: Ambient) -> str:
    """Return the default place of the store: FIRKIN_ROOT, root's own place, or the user's by XDG."""
    chosen = ambient.environ.get("FIRKIN_ROOT", "")
    if chosen:
        return absolute(ambient.cwd, chosen)
    if ambient.uid == 0:
        return SYSTEM_STORE
    return f"{_xdg(ambient, 'XDG_DATA_HOME', '.local/share')}/firkin"


def config_files(ambient: Ambient) -> tuple[str, ...]:
    """Return the places of config.toml; later ones win."""
    return SYSTEM_CONFIG, f"{_xdg(ambient, 'XDG_CONFIG_HOME', '.config')}/firkin/config.toml"


def auth_files(ambient: Ambient) -> tuple[str, ...]:
    """Return the places where registry credentials are looked up; the first match wins.

    Mirrors: docker (DOCKER_CONFIG, HOME) and containers/image (REGISTRY_AUTH_FILE, runtime directory).
    """
    environ = ambient.environ
    places = []
    if environ.get("REGISTRY_AUTH_FILE"):
        places.append(environ["REGISTRY_AUTH_FILE"])
    places.append(f"{(environ.get('DOCKER_CONFIG') or ambient.home + '/.docker').rstrip('/')}/config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        places.append(f"{environ['XDG_RUNTIME_DIR']}/containers/auth.json")
    places.append(f"{_xdg(ambient, 'XDG_CONFIG_HOME', '.config')}/containers/auth.json")
    return tuple(absolute(ambient.cwd, place) for place in places)


def private_paths(ambient: Ambient) -> tuple[str, ...]:
    """Return the places of credentials other than those of registries; most of them do not exist."""
    named = [path for name in _PRIVATE_NAMES for path in ambient.environ.get(name, "").split(":") if path]
    home = [f"{ambient.home.rstrip('/')}/{path}" for path in _PRIVATE_IN_HOME]
    return (*(absolute(ambient.cwd, path) for path in named), *home, _POD_SECRETS)


def registry_settings(ambient: Ambient) -> RegistrySettings:
    """Return the settings for registries that the environment gives."""
    from firkin.registry.settings import RegistrySettings

    environ = ambient.environ
    return RegistrySettings(
        auth_files=auth_files(ambient),
        auth_json=environ.get("DOCKER_AUTH_CONFIG", ""),
        helper_path=environ.get("PATH", ""),
        environ=tuple(sorted(environ.items())),
        # Upper-case HTTP_PROXY is ignored where a web server may have set it from a request header.
        http_proxy=environ.get("http_proxy") or ("" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", "")),
        https_proxy=_either(environ, "HTTPS_PROXY") or _either(environ, "ALL_PROXY"),
        no_proxy=_either(environ, "NO_PROXY"),
    )


def request_template(ambient: Ambient, context: str, root: str, registry: RegistrySettings) -> BuildRequest:
    """Return a request filled from the surroundings; the caller adds what the user asked for."""
    from firkin.builder.request import BuildRequest

    environ = ambient.environ
    return BuildRequest(
        context=context,
        store_root=root,
        cwd=ambient.cwd,
        proxy_args=tuple(
            (name, environ[name]) for upper in _PROXIES for name in (upper, upper.lower()) if environ.get(name)
        ),
        now_s=ambient.now_s,
        registry=registry,
        git_environ=_select(ambient, _GIT_PREFIXES, _GIT_NAMES),
        object_store_environ=_select(ambient, _OBJECT_STORE_PREFIXES),
        private_paths=private_paths(ambient),
        temp_dir=environ.get("TMPDIR", ""),
    )


def absolute(cwd: str, path: str) -> str:
    """Return the path; a relative one starts at `cwd`."""
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path}"


def _either(environ: Mapping[str, str], upper: str) -> str:
    return environ.get(upper.lower()) or environ.get(upper, "")


def _xdg(ambient: Ambient, variable: str, fallback: str) -> str:
    # XDG base directory specification: relative paths are invalid and ignored.
    chosen = ambient.environ.get(variable, "")
    return chosen.rstrip("/") if chosen.startswith("/") else f"{ambient.home.rstrip('/')}/{fallback}"


def _select(ambient: Ambient, prefixes: tuple[str, ...], names: tuple[str, ...] = ()) -> Pairs:
    chosen = [
        (name, value)
        for name, value in sorted(ambient.environ.items())
        if name.startswith(prefixes) or name in names
    ]
    return (("HOME", ambient.home), *chosen)
