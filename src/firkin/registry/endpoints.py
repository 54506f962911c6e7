"""Chooses the endpoints of pulls and pushes, a registry or its mirrors, and repeats whole operations. Does I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from firkin.errors import RegistryError, UsageError
from firkin.registry.hints import without_mirrors
from firkin.registry.protocol import Endpoint, endpoint_of, mirror_endpoint
from firkin.registry.session import Session
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import host_matches

T = TypeVar("T")

# An endpoint that fails with one of these is not asked again if there is another one.
_DOWN = frozenset(("registry-unreachable", "registry-proxy", "registry-tls", "registry-timeout", "registry-connection"))


class Endpoints:
    """The endpoints of registries for one set of settings. Safe to share between threads."""

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
        """Say whether plain HTTP is allowed for a host."""
        return any(host_matches(pattern, host) for pattern in self._settings.insecure)

    def _preferring_tls(self, endpoint: Endpoint, host: str) -> Endpoint:
        """Begin with TLS for a loopback host that has its own certificates or TLS settings."""
        settings = self._settings
        named = [*(item[0] for item in (*settings.ca_files, *settings.client_certs)), *settings.skip_tls_verify]
        if endpoint.scheme == "http" and not self.is_insecure(host):
            if any(pattern != "*" and host_matches(pattern, host) for pattern in named):
                return Endpoint(endpoint.registry, endpoint.host, "https", endpoint.prefix, False, endpoint.mirror)
        return endpoint

    def of_pulls(self, registry: str) -> list[Endpoint]:
        """Return the endpoints for pulls, in order; raises UsageError for an invalid mirror."""
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
        """Return how often a request of a pull is tried again (None: as in the settings)."""
        # A mirror should be fast: when it fails once, the next endpoint is asked.
        return 0 if endpoint.mirror and self._settings.mirror_fallback else None

    def ask(self, registry: str, what: str, ask: Callable[[Endpoint], T]) -> T:
        """Ask the endpoints of a registry in order; repeat that up to `pull_retries` times."""
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
                    if notes:  # nobody who has mirrors needs to hear of them
                        error.hints = (*notes, *without_mirrors(error.hints))
                    raise
                reason = error.message.removeprefix(f"{what}: ")
                notes.append(f"mirror `{endpoint.host}` was asked before: {reason}")
                if error.code in _DOWN:
                    self._down.add(endpoint)
                if error.status != 404:
                    self._session.warn_once("registry-mirror", f"mirror `{endpoint.host}` is passed over: {reason}")
        raise AssertionError("a registry has at least one endpoint")

    def repeat(self, attempts: int, operation: Callable[[], T]) -> T:
        """Run a whole pull or push; repeat it up to `attempts` times when it fails, after 1, 2, 4, … seconds.

        For Kaniko's --push-retry and --image-download-retry: unlike retries of a request, they repeat after any error.
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
