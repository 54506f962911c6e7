"""Object stores: settings from variables, and what the library's errors become. No network."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from firkin.builder.context import azure, gs, s3
from firkin.builder.context.objects import ObjectTools, Place, _failure, client_options, open_object
from firkin.errors import ContextError, UsageError
from firkin.registry.settings import RegistrySettings

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


def tools(environ: Mapping[str, str] | None = None, **settings: Any) -> ObjectTools:
    return ObjectTools(RegistrySettings(**settings), environ or {})


@pytest.mark.parametrize(
    ("environ", "bucket", "endpoint", "in_host"),
    [
        ({}, "bucket", None, True),
        ({}, "with.dots", None, False),
        ({"S3_FORCE_PATH_STYLE": "true"}, "bucket", None, False),
        ({"S3_ENDPOINT": "http://minio:9000"}, "bucket", "http://bucket.minio:9000", True),
        ({"S3_ENDPOINT": "http://minio:9000/", "S3_FORCE_PATH_STYLE": "true"}, "bucket", "http://minio:9000", False),
        ({"S3_ENDPOINT": "http://10.0.0.1:9000"}, "bucket", "http://10.0.0.1:9000", False),
        ({"S3_ENDPOINT": "http://[::1]:9000"}, "bucket", "http://[::1]:9000", False),
        ({"AWS_ENDPOINT_URL": "https://s3.example"}, "bucket", "https://bucket.s3.example", True),
        ({"AWS_ENDPOINT_URL": "https://a", "S3_ENDPOINT": "b.example"}, "bucket", "https://bucket.b.example", True),
    ],
)
def test_where_a_bucket_is(environ: dict[str, str], bucket: str, endpoint: str | None, in_host: bool) -> None:
    config = s3.s3_config(bucket, environ)
    assert config.get("endpoint") == endpoint
    assert config["virtual_hosted_style_request"] is in_host


def test_keys_of_the_environment_go_before_those_of_a_profile(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[default]\naws_access_key_id=file\naws_secret_access_key=s%ecret\n")
    (tmp_path / ".aws/config").write_text("[default]\nregion=eu-west-1\n[profile other]\nregion=us-west-2\n")
    home = {"HOME": str(tmp_path)}
    found = s3.s3_config("bucket", home)
    assert (found["access_key_id"], found["secret_access_key"], found["region"]) == ("file", "s%ecret", "eu-west-1")
    assert s3.s3_config("bucket", {**home, **KEYS})["access_key_id"] == "id"
    role = s3.s3_config("bucket", {**home, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn"})
    assert "access_key_id" not in role and role["role_arn"] == "arn"
    assert s3.s3_config("bucket", {**home, "AWS_PROFILE": "other"})["region"] == "us-west-2"
    with pytest.raises(UsageError, match="profile `absent`"):
        s3.s3_config("bucket", {**home, "AWS_PROFILE": "absent"})


def test_google_credentials(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    assert gs.gs_config({"GOOGLE_APPLICATION_CREDENTIALS": str(key)}) == {"application_credentials": str(key)}
    with pytest.raises(UsageError, match="GOOGLE_APPLICATION_CREDENTIALS names"):
        gs.gs_config({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "absent")})
    emulated = gs.gs_config({"GOOGLE_APPLICATION_CREDENTIALS": str(key), "STORAGE_EMULATOR_HOST": "localhost:4443"})
    assert emulated == {"base_url": "http://localhost:4443", "skip_signature": True}


@pytest.mark.parametrize(
    ("address", "blob"),
    [
        ("https://account.blob.core.windows.net/c/key", True),
        ("https://account.blob.core.chinacloudapi.cn/c/key", True),
        ("https://account.blob.core.windows.net/c/key?sig=x", False),
        ("https://account.blob.core.windows.net.example/c/key", False),
        ("https://account.blob.example/c/key", False),
        ("http://account.blob.core.windows.net/c/key", False),
    ],
)
def test_which_addresses_are_blobs(address: str, blob: bool) -> None:
    assert azure.is_blob(address, {"AZURE_STORAGE_ACCESS_KEY": "key"}) is blob
    assert not azure.is_blob(address, {})


def test_a_blob_and_its_names() -> None:
    place = azure.locate("https://acct.blob.core.windows.net/box/a%20dir/c.tar.gz", tools())
    assert (place.bucket, place.key, place.endpoint) == ("box", "a dir/c.tar.gz", "https://acct.blob.core.windows.net")
    with pytest.raises(UsageError, match="names no blob"):
        azure.locate("https://acct.blob.core.windows.net/box", tools())


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3:///key"])
def test_an_address_without_an_object(address: str) -> None:
    with pytest.raises(UsageError, match="names no object"):
        s3.locate(address, tools())


def test_proxies_and_certificates_are_those_of_registries(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("certificate")
    settings: dict[str, Any] = {"https_proxy": "proxy:3128", "no_proxy": "inside.example"}
    settings["ca_files"] = (("*", str(ca)),)
    options = client_options("https://s3.example", tools(**settings))
    assert options["proxy_url"] == "http://proxy:3128"
    certificates = options["root_certificate"]
    assert isinstance(certificates, bytes) and certificates.startswith(b"certificate")
    assert "proxy_url" not in client_options("https://s3.inside.example", tools(**settings))
    assert client_options("https://s3.example", tools(skip_tls_verify=("*",)))["allow_invalid_certificates"]
    assert client_options("http://127.0.0.1:9000", tools())["allow_http"]


ANSWER = "Error performing GET http://h/k?sig=SECRET in 5ms - Server returned non-2xx status code: {}: <Code>{}</Code>"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ANSWER.format("404 Not Found", "NoSuchKey"), "does not exist"),
        (ANSWER.format("404 Not Found", "NoSuchBucket"), "no bucket `bucket`"),
        (ANSWER.format("403 Forbidden", "SignatureDoesNotMatch"), "was refused: SignatureDoesNotMatch"),
        (ANSWER.format("301 Moved", "PermanentRedirect"), "PermanentRedirect"),
        ("Generic S3 error: Error performing PUT http://169.254.169.254/latest in 5s", "no credentials were given"),
        ("Generic S3 error: Error performing GET http://h/b?sig=SECRET in 2ms - HTTP error: refused\n\nD", "refused"),
        ("Generic S3 error: Invalid Access Key\n\nDebug source:\nSECRET", "Invalid Access Key"),
    ],
)
def test_what_went_wrong_in_one_line(text: str, says: str) -> None:
    def never(client: object, retry: object) -> Any:
        raise AssertionError

    error = _failure(Place(never, "key", "bucket", "s3://bucket/key", "https://s3.example", ("a hint",)), text)
    assert says in error.message and "SECRET" not in error.message and "\n" not in error.message
    assert isinstance(error, ContextError)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "obstore":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    place = s3.locate("s3://bucket/key", tools(KEYS))
    with pytest.raises(UsageError, match="not installed") as caught:
        open_object(place, tools(KEYS), lambda name: str(tmp_path / name))
    assert caught.value.hints == ("pip install 'firkin[object-store]'",)
