"""What the options of one side of a copy change, and what they leave to the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firkin.cli.arguments import parse_arguments
from firkin.cli.commands.copy import OPTIONS
from firkin.cli.sides import SIDES, Side, platforms_of, side_settings
from firkin.errors import UsageError
from firkin.images.copy.places import parse_place
from firkin.registry.settings import RegistrySettings

BASE = RegistrySettings(auth_files=("/home/me/config.json",), auth_json="{}", credential_helpers=("env",))


def settings(*words: str, side: Side = "dest", place: str = "reg.example:5000/app:1") -> RegistrySettings:
    return side_settings(BASE, parse_arguments(words, SIDES, {}), side, parse_place(place), "/cwd")


def test_nothing_said_means_the_common_settings() -> None:
    assert settings() is BASE
    assert settings("--src-no-creds") is BASE, "the other side"
    assert settings("--dest-no-creds", place="oci:dir") is BASE


def test_credentials_of_one_side_replace_all_others() -> None:
    for words in (("--dest-creds", "me:a:b"), ("--dest-username", "me", "--dest-password", "a:b")):
        found = settings(*words)
        assert found.auth_files == () and found.credential_helpers == ()
        assert json.loads(found.auth_json) == {"auths": {"reg.example:5000": {"auth": "bWU6YTpi"}}}
    hub = json.loads(settings("--dest-creds", "me:x", place="app:1").auth_json)
    assert list(hub["auths"]) == ["https://index.docker.io/v1/"]
    token = json.loads(settings("--dest-registry-token", "abc").auth_json)
    assert token["auths"]["reg.example:5000"] == {"registrytoken": "abc"}
    nobody = settings("--dest-no-creds")
    assert (nobody.auth_files, nobody.auth_json, nobody.credential_helpers) == ((), "", ())
    assert settings("--dest-authfile", "auth.json").auth_files == ("/cwd/auth.json",)
    with pytest.raises(UsageError, match="exclude one another"):
        settings("--dest-creds", "me:x", "--dest-no-creds")


def test_tls_is_not_verified_for_the_host_of_the_side_only() -> None:
    found = settings("--dest-tls-verify=false")
    assert found.insecure == found.skip_tls_verify == ("reg.example:5000",)
    assert settings("--dest-tls-verify").insecure == ()


def test_certificates_come_from_a_directory(tmp_path: Path) -> None:
    for name in ("ca.crt", "client.cert", "client.key", "lonely.cert", "note.txt"):
        (tmp_path / name).write_text("x")
    found = settings("--dest-cert-dir", str(tmp_path))
    assert found.ca_files == (("reg.example:5000", f"{tmp_path}/ca.crt"),)
    assert found.client_certs == (("reg.example:5000", f"{tmp_path}/client.cert", f"{tmp_path}/client.key"),)
    with pytest.raises(UsageError, match="cannot read"):
        settings("--dest-cert-dir", str(tmp_path / "absent"))


def test_platforms_are_a_list_or_repeated() -> None:
    arguments = parse_arguments(("--platform", "linux/amd64,arm64", "--platform", "linux/amd64"), OPTIONS, {})
    assert list(map(str, platforms_of(arguments))) == ["linux/amd64", "linux/arm64"]
    with pytest.raises(UsageError, match="--platform"):
        platforms_of(parse_arguments(("--platform", "a/b/c/d"), OPTIONS, {}))
