"""`gs://bucket/key`: archives in Google Cloud Storage. Does I/O. remote.py imports it.

Credentials: GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT (files), else gcloud's own login, else
the machine's service account. STORAGE_EMULATOR_HOST and GOOGLE_BASE_URL name another server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from firkin.builder.context.objects import ObjectTools, Place, split_address
from firkin.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, GCSStore, RetryConfig

_ENDPOINT = "https://storage.googleapis.com"
_SETTINGS = (
    ("GOOGLE_APPLICATION_CREDENTIALS", "application_credentials"),
    ("GOOGLE_SERVICE_ACCOUNT", "service_account"),
    ("GOOGLE_SERVICE_ACCOUNT_PATH", "service_account"),
    ("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),
    ("GOOGLE_BEARER_TOKEN", "bearer_token"),
    ("GOOGLE_SKIP_SIGNATURE", "skip_signature"),
    ("GOOGLE_BASE_URL", "base_url"),
)
_FILES = ("application_credentials", "service_account")
_HINTS = (
    "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file",
    "for a public bucket set GOOGLE_SKIP_SIGNATURE=true",
)


def locate(location: str, tools: ObjectTools) -> Place:
    """Return the object of `gs://bucket/key`; raises UsageError."""
    bucket, key = split_address(location, "gs://bucket/context.tar.gz")
    config = gs_config(tools.environ)

    def open_bucket(client: ClientConfig, retry: RetryConfig) -> GCSStore:
        from obstore.store import GCSStore

        return GCSStore(bucket, config=config, client_options=client, retry_config=retry)

    return Place(open_bucket, key, bucket, location, config.get("base_url") or _ENDPOINT, _HINTS)


def gs_config(environ: Mapping[str, str]) -> GCSConfig:
    """Return the library's settings; raises UsageError for a key file that is not there."""
    found: dict[str, str | bool] = {}
    for variable, name in _SETTINGS:
        value = environ.get(variable, "")
        if not value:
            continue
        if name in _FILES and not os.path.isfile(value):
            raise UsageError(f"{variable} names `{value}`, which is no file", code="object-credentials")
        found[name] = value
    emulator = environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator:  # without credentials, as in Google's own libraries
        found = {"base_url": emulator if "://" in emulator else f"http://{emulator}", "skip_signature": True}
    return found  # type: ignore[return-value]
