"""`s3://bucket/key`: archives in S3-compatible stores. Does I/O. It reads the AWS profile; remote.py imports it.

The variables are those of the AWS SDKs and Kaniko: AWS_*, S3_ENDPOINT, S3_FORCE_PATH_STYLE. Credentials come
from the environment, then from the profile's keys, then from the machine's role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from firkin.builder.context.objects import ObjectTools, Place, split_address
from firkin.errors import UsageError
from firkin.registry.url import split_host, split_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

_TRUE = ("1", "t", "true", "yes")
_SETTINGS = (
    "access_key_id", "secret_access_key", "session_token", "web_identity_token_file", "role_arn", "role_session_name",
    "container_credentials_relative_uri", "container_credentials_full_uri", "container_authorization_token_file",
    "metadata_endpoint", "imdsv1_fallback", "request_payer", "skip_signature", "sts_endpoint",
)  # fmt: skip
_OWN_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_ENDPOINTS = ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_HINTS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role",
    "for a public bucket set AWS_SKIP_SIGNATURE=true",
)


def locate(location: str, tools: ObjectTools) -> Place:
    """Return the object of `s3://bucket/key`; raises UsageError."""
    bucket, key = split_address(location, "s3://bucket/context.tar.gz")
    config = s3_config(bucket, tools.environ)

    def open_bucket(client: ClientConfig, retry: RetryConfig) -> S3Store:
        from obstore.store import S3Store

        return S3Store(bucket, config=config, client_options=client, retry_config=retry)

    endpoint = config.get("endpoint") or f"https://s3.{config['region']}.amazonaws.com"
    return Place(open_bucket, key, bucket, location, endpoint, _HINTS)


def s3_config(bucket: str, environ: Mapping[str, str]) -> S3Config:
    """Return the library's settings for a bucket; raises UsageError for credentials that cannot be read."""
    found: dict[str, str | bool] = {}
    for name in _SETTINGS:
        value = environ.get(f"AWS_{name.upper()}", "")
        if value:
            found[name] = value
    profile = _profile(environ)
    if not any(environ.get(name) for name in _OWN_CREDENTIALS) and profile.get("aws_access_key_id"):
        found.update(_keys(profile))
    found["region"] = _first(environ, ("AWS_REGION", "AWS_DEFAULT_REGION")) or profile.get("region") or "us-east-1"
    endpoint = _endpoint(environ, profile)
    in_path = environ.get("S3_FORCE_PATH_STYLE", "").lower() in _TRUE or not _is_host_label(bucket)
    if endpoint:
        found["endpoint"], in_host = _addressed(endpoint.rstrip("/"), bucket, in_path)
    else:
        in_host = not in_path
    found["virtual_hosted_style_request"] = in_host
    return found  # type: ignore[return-value]


def _keys(profile: Mapping[str, str]) -> dict[str, str]:
    names = ("access_key_id", "secret_access_key", "session_token")
    return {name: profile[f"aws_{name}"] for name in names if profile.get(f"aws_{name}")}


def _endpoint(environ: Mapping[str, str], profile: Mapping[str, str]) -> str:
    endpoint = _first(environ, _ENDPOINTS) or profile.get("endpoint_url", "")
    return f"https://{endpoint}" if endpoint and "://" not in endpoint else endpoint


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Return the first variable that is set and not empty, or ""."""
    return next(filter(None, map(environ.get, names)), "")


def _addressed(endpoint: str, bucket: str, in_path: bool) -> tuple[str, bool]:
    """Return the endpoint for a bucket, and whether its host names the bucket.

    Mirrors: aws-sdk-go-v2, where the host names the bucket unless `in_path` is set or the host is an IP address.
    """
    try:
        url = split_url(endpoint)
    except ValueError as error:
        raise UsageError(f"the S3 endpoint `{endpoint}` is no URL: {error}", code="context-address") from error
    name = split_host(url.host)[0]
    if in_path or ":" in name or name.replace(".", "").isdigit():
        return endpoint, False
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}", True


def _is_host_label(bucket: str) -> bool:
    return 3 <= len(bucket) <= 63 and all(c.islower() or c.isdigit() or c == "-" for c in bucket) and bucket.isascii()


def _profile(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the settings of the chosen profile; those of the credentials file override those of config."""
    home = environ.get("HOME", "")
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    config = environ.get("AWS_CONFIG_FILE") or f"{home}/.aws/config"
    credentials = environ.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials"
    found = dict(_section(config, "default" if name == "default" else f"profile {name}"))
    found.update(_section(credentials, name))
    if not found and (environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")):
        raise UsageError(f"the AWS profile `{name}` is in neither {credentials} nor {config}", code="aws-profile")
    return found


def _section(path: str, name: str) -> Mapping[str, str]:
    from configparser import ConfigParser, Error

    parser = ConfigParser(interpolation=None, default_section="\0none", strict=False)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            parser.read_file(file)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, Error) as error:
        raise UsageError(f"cannot read {path}: {type(error).__name__}", code="aws-profile") from None
    return dict(parser[name]) if parser.has_section(name) else {}
