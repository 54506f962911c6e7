"""`https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY`: archives in Azure's blob storage. Does I/O.

remote.py imports it.

Credentials: AZURE_STORAGE_ACCESS_KEY and the like, a SAS, a service principal, or a workload's identity.
Without credentials the address is a plain download (a public blob, or one with its signature in the query).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from firkin.builder.context.objects import ObjectTools, Place
from firkin.errors import UsageError
from firkin.registry.url import redact_url

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureStore, ClientConfig, RetryConfig

_CLOUDS = ("core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "core.cloudapi.de")
_KEYS = ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_MASTER_KEY")
_SETTINGS = (
    *((name, "account_key") for name in reversed(_KEYS)),
    ("AZURE_STORAGE_SAS_KEY", "sas_key"),
    ("AZURE_STORAGE_SAS_TOKEN", "sas_key"),
    ("AZURE_STORAGE_TOKEN", "token"),
    ("AZURE_CLIENT_ID", "client_id"),
    ("AZURE_CLIENT_SECRET", "client_secret"),
    ("AZURE_TENANT_ID", "tenant_id"),
    ("AZURE_AUTHORITY_HOST", "authority_host"),
    ("AZURE_FEDERATED_TOKEN_FILE", "federated_token_file"),
)
_CREDENTIALS = (*_KEYS, "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_ID")
_HINTS = ("set AZURE_STORAGE_ACCESS_KEY to a key of the storage account",)


def is_blob(location: str, environ: Mapping[str, str]) -> bool:
    """Say whether an address is an Azure blob and there are credentials for it."""
    if not location.startswith("https://") or "?" in location:
        return False
    host = location.partition("://")[2].partition("/")[0]
    _, found, cloud = host.partition(".blob.")
    return bool(found) and cloud in _CLOUDS and any(environ.get(name) for name in _CREDENTIALS)


def locate(location: str, tools: ObjectTools) -> Place:
    """Return the blob at an address that `is_blob`; raises UsageError."""
    shown = redact_url(location)
    host, _, path = location.partition("://")[2].partition("/")
    container, _, blob = path.partition("/")
    blob = unquote(blob)
    if not container or not blob:
        example = f"https://{host}/container/context.tar.gz"
        raise UsageError(f"`{shown}` names no blob", code="context-address", hints=(f"e.g. `{example}`",))
    environ = tools.environ
    endpoint = environ.get("AZURE_STORAGE_ENDPOINT") or environ.get("AZURE_ENDPOINT") or f"https://{host}"
    found = {name: environ[variable] for variable, name in _SETTINGS if environ.get(variable)}
    found["account_name"] = host.partition(".")[0]
    found["endpoint"] = endpoint
    config: AzureConfig = found  # type: ignore[assignment]

    def open_container(client: ClientConfig, retry: RetryConfig) -> AzureStore:
        from obstore.store import AzureStore

        return AzureStore(container, config=config, client_options=client, retry_config=retry)

    return Place(open_container, blob, container, shown, endpoint, _HINTS)
