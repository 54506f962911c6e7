"""Settings of registries and connections, which every front passes to the protocol. Pure."""

from __future__ import annotations

import msgspec

from firkin.text import Pairs


class Mirror(msgspec.Struct, frozen=True):
    """Ask `location` (`[http[s]://]host[:port][/prefix]`) for images of `registry`."""

    registry: str
    location: str


class RegistrySettings(msgspec.Struct, frozen=True):
    """Settings of registries and connections; from options, config.toml and the environment."""

    mirrors: tuple[Mirror, ...] = ()
    mirror_fallback: bool = True
    insecure: tuple[str, ...] = ()  # each HOST[:PORT] that may use plain HTTP; "*": all
    insecure_pull: bool = False
    insecure_push: bool = False
    skip_tls_verify: tuple[str, ...] = ()  # HOST[:PORT]; "*": all
    skip_tls_verify_pull: bool = False
    skip_tls_verify_push: bool = False
    ca_files: Pairs = ()  # (HOST[:PORT] or "*", PEM file or directory)
    client_certs: tuple[tuple[str, str, str], ...] = ()  # (HOST[:PORT], certificate, key)
    auth_files: tuple[str, ...] = ()  # config.json files, first match wins
    auth_json: str = ""  # DOCKER_AUTH_CONFIG; secret
    helper_path: str = ""  # PATH in which docker-credential-* are looked up
    environ: Pairs = ()  # environment for credential helpers and clouds; secret
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    retries: int = 4
    pull_retries: int = 0  # further attempts at a whole pull or push (Kaniko's flags)
    push_retries: int = 0
    timeout_s: float = 60.0  # the longest time without any transfer
    parallel: int = 4
    base_max_age_s: float = 0.0  # a base's tag that was resolved within this time is not resolved again
    user_agent_suffix: str = ""
    credential_helpers: tuple[str, ...] = ()  # asked after the files: env, google, ecr, acr, gitlab
    ignore_immutable_tags: bool = False  # no error if the registry refuses to change a tag

    def __repr__(self) -> str:
        return f"RegistrySettings(mirrors={self.mirrors!r}, insecure={self.insecure!r}, …)"
