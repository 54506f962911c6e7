"""The oddities of registries in the field, as switches of FakeRegistry. Pure. For tests only.

docs/dev/registry.md has a row for each, which says how firkin and other clients handle it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Quirks(NamedTuple):
    """How a registry differs from the specification. The defaults follow it. A status of 0 means none."""

    # Requests without credentials
    hide: int = 0  # the status of a repository instead of a 401 with a challenge (404, 403, or 401 without one)
    ping: int = 401  # the status of `GET /v2/`; 200: no authentication is asked for
    challenge: Literal["plain", "among others", "lower case", "realm with query"] = "plain"
    # The token server
    token: Literal["plain", "access_token", "nulls", "text", "fraction", "html type"] = "plain"
    token_by_post: bool = False  # a GET is answered with 405; it wants a POST with a form
    token_busy: int = 0  # how often it answers 429 first
    # Uploads
    opened: int = 202  # the POST's status
    stored: int = 201  # the PUT's status
    patched: int = 202  # the PATCH's status
    put: int = 0  # the status that refuses a PUT with a body
    patch: bool = True  # whether PATCH is supported (otherwise 405)
    location: Literal["path", "absolute", "relative", "upper case", "uuid only", "moves"] = "path"
    ranges: bool = True  # whether answers to an upload have a Range header
    mount: int = 0  # the status that refuses a mount
    # Manifests and blobs
    head: int = 0  # the status that refuses a HEAD of a manifest
    digest: Literal["plain", "quoted", "none"] = "plain"  # Docker-Content-Digest
    content_type: str | None = None  # of all manifests; "": none
    named: int = 201  # the status after a PUT of a manifest
    late_blobs: int = 0  # how often a manifest is refused with MANIFEST_BLOB_UNKNOWN first
    storage: str = ""  # `http://host:port`: blobs are redirected there; it refuses an Authorization header
