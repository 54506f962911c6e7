"""Whom to ask for what is pulled and pushed: a registry or its mirrors, and how often all of it again. Does I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from firkin.errors import RegistryError, UsageError
from firkin.registry.protocol import Endpoint, endpoint_of, mirror_endpoint
from firkin.registry.session import Session
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import host_matches

T = TypeVar("T")

# An endpoint that fails so is not asked again when there is another one.
_DOWN = frozenset(("registry-unreachable", "registry-proxy", "registry-tls", "registry-timeout", "registry-connection"))


class Endpoints:
    """The endpoints of registries by one set of settings. Safe to share between threads."""

    def __init__(self, settings: RegistrySettings, session: Session) -> None:
        self._settings = settings
        self._session = session
        self._down: set[Endpoint] = set()

    def of(self, registry: str, *, push: bool = False) -> Endpoint:
        """Return the registry itself."""
        settings = self._settings
        plain = settings.insecure_push if push else settings.insecure_pull
        endpoint = endpoint_of(registry, plain=plain or self.is_insecure(registry))
        return self._preferring_tls(endpoint, registry)

    def is_insecure(self, host: str) -> bool:
        """Tell whether a host may be talked to in plain HTTP."""
        return any(host_matches(pattern, host) for pattern in self._settings.insecure)

    def _preferring_tls(self, endpoint: Endpoint, host: str) -> Endpoint:
        """Begin with TLS on a loopback host that was given certificates or TLS settings of its own."""
        settings = self._settings
        named = [*(item[0] for item in (*settings.ca_files, *settings.client_certs)), *settings.skip_tls_verify]
        if endpoint.scheme == "http" and not self.is_insecure(host):
            if any(pattern != "*" and host_matches(pattern, host) for pattern in named):
                return Endpoint(endpoint.registry, endpoint.host, "https", endpoint.prefix, False, endpoint.mirror)
        return endpoint

    def of_pulls(self, registry: str) -> list[Endpoint]:
        """Return whom to ask for what is pulled, in order; raises UsageError for a mirror that cannot be one."""
        settings = self._settings
        mirrors = []
        for mirror in settings.mirrors:
            if mirror.registry.lower() != registry.lower():
                continue
            try:
                endpoint = mirror_endpoint(registry, mirror.location)
                if "://" not in mirror.location:
                    plain = settings.insecure_pull or self.is_insecure(endpoint.host)
                    endpoint = self._preferring_tls(
                        mirror_endpoint(registry, mirror.location, plain=plain), endpoint.host
                    )
            except ValueError as error:
                raise UsageError(str(error), code="registry-mirror") from None
            mirrors.append(endpoint)
        if mirrors and not settings.mirror_fallback:
            return mirrors
        return [*mirrors, self.of(registry)]

    def retries(self, endpoint: Endpoint) -> int | None:
        """Return how often a request of a pull is tried again (None: as the settings say)."""
        # A mirror is there to be quick: when it fails once, the next endpoint is asked.
        return 0 if endpoint.mirror and self._settings.mirror_fallback else None

    def ask(self, registry: str, what: str, ask: Callable[[Endpoint], T]) -> T:
        """Ask the endpoints of a registry in order; the whole round again as `pull_retries` says."""
        return self.repeat(self._settings.pull_retries, lambda: self._ask_once(registry, what, ask))

    def _ask_once(self, registry: str, what: str, ask: Callable[[Endpoint], T]) -> T:
        endpoints = self.of_pulls(registry)
        notes: list[str] = []
        for number, endpoint in enumerate(endpoints):
            last = number == len(endpoints) - 1
            if not last and endpoint in self._down:
                continue
            try:
                return ask(endpoint)
            except RegistryError as error:
                if last:
                    error.hints = (*error.hints, *notes)
                    raise
                reason = error.message.removeprefix(f"{what}: ")
                notes.append(f"mirror `{endpoint.host}` was asked before: {reason}")
                if error.code in _DOWN:
                    self._down.add(endpoint)
                if error.status != 404:
                    self._session.warn_once("registry-mirror", f"mirror `{endpoint.host}` is passed over: {reason}")
        raise AssertionError("a registry has at least one endpoint")

    def repeat(self, attempts: int, operation: Callable[[], T]) -> T:
        """Run a whole pull or push, up to `attempts` times more when it fails, 1, 2, 4, … seconds apart.

        Kaniko's --push-retry and --image-download-retry: unlike a request's retries they do not ask why it failed.
        """
        delay_s = 1.0
        for _ in range(attempts):
            try:
                return operation()
            except RegistryError as error:
                self._session.warn_once("registry-retry", f"{error.message}; trying again")
            self._session.transport.sleep(delay_s)
            delay_s = min(delay_s * 2, 64.0)
        return operation()
