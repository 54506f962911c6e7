"""Chooses the proxy for a URL. Pure. registry/ and builder/context/ may import it.

Mirrors: Go's golang.org/x/net/http/httpproxy, so that NO_PROXY means the same as in other builders.
"""

from __future__ import annotations

from collections.abc import Mapping

from firkin.registry.url import DEFAULT_PORTS, Url, is_loopback, split_host


def choose_proxy(url: Url, http_proxy: str, https_proxy: str, no_proxy: str) -> str:
    """Return the proxy's URL, or "" to connect directly. This machine itself is never proxied."""
    proxy = https_proxy if url.scheme == "https" else http_proxy
    if not proxy or is_loopback(url.host) or not _wanted(url, no_proxy):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def proxy_variable(url: Url, proxy: str, environ: Mapping[str, str]) -> str:
    """Return the environment variable that names a URL's proxy, for messages."""
    names = ["http_proxy", "HTTP_PROXY"]
    if url.scheme == "https":
        names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    found = (name for name in names if environ.get(name) and environ[name] in (proxy, proxy.partition("://")[2]))
    return next(found, names[1])


def _wanted(url: Url, no_proxy: str) -> bool:
    name, port = split_host(url.host)
    name, port = name.lower().rstrip("."), port or DEFAULT_PORTS[url.scheme]
    for entry in no_proxy.lower().split(","):
        entry = entry.strip()
        if entry == "*" or (entry and _matches(entry, name, port)):
            return False
    return True


def _matches(entry: str, name: str, port: str) -> bool:
    if "/" in entry:
        return _in_network(name, entry)
    host, wanted_port = entry, ""
    if entry.startswith("[") or entry.count(":") == 1:
        host, wanted_port = split_host(entry)
    if wanted_port and wanted_port != port:
        return False
    if host.startswith("*."):
        host = host[1:]
    if host.startswith("."):
        return name.endswith(host)
    return bool(host) and (name == host or (name.endswith("." + host) and not _is_address(host)))


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _in_network(name: str, network: str) -> bool:
    if not _is_address(name):
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
