"""config.json, credential helpers, login and logout."""

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from firkin.errors import UsageError
from firkin.registry.keychain import HUB_KEY, Keychain, login, logout, normal_key
from firkin.registry.settings import RegistrySettings


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def user(settings: RegistrySettings, host: str, repository: str = "") -> str:
    found = Keychain(settings).find(host, repository)
    return found.username if found is not None else ""


def test_the_longest_prefix_wins_whichever_source_has_it(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", {"auths": {"r.example": auth("host"), "r.example/team/app": auth("app")}})
    second = write(tmp_path / "b.json", {"auths": {"r.example": auth("second"), "r.example/team": auth("team")}})
    settings = RegistrySettings(
        auth_json=json.dumps({"auths": {"other.example": auth("other")}}), auth_files=(first, second)
    )
    assert user(settings, "r.example", "team/app") == "app"
    assert user(settings, "r.example", "team/app/cache") == "app"
    assert user(settings, "r.example", "team/application") == "team"
    assert user(settings, "r.example", "x") == "host"
    assert user(settings, "r.example") == "host"
    assert user(settings, "other.example") == "other"
    assert user(settings, "r.example:5000") == ""
    assert user(settings, "no.example") == ""


@pytest.mark.parametrize("key", [
    HUB_KEY, "https://index.docker.io/v1", "index.docker.io", "docker.io", "https://registry-1.docker.io/v2/",
    "registry.hub.docker.com",
])
def test_docker_hub_is_known_by_all_its_names(key: str) -> None:
    settings = RegistrySettings(auth_json=json.dumps({"auths": {key: auth("hub")}}))
    assert user(settings, "docker.io", "library/busybox") == "hub"


def test_keys_are_hosts_with_or_without_scheme() -> None:
    assert normal_key("https://R.example:5000/v2/") == "r.example:5000"
    assert normal_key("http://r.example/") == "r.example"
    assert normal_key("r.example/team/") == "r.example/team"


def test_all_kinds_of_entries_are_read() -> None:
    document = {"auths": {
        "a": {"username": "u", "password": "p"}, "b": {"auth": auth("u", "a:b")["auth"]},
        "c": {"identitytoken": "I", **auth("<token>", "")}, "d": {"registrytoken": "R"}, "e": {}, "f": None,
        "g": auth("<token>", "I2"),
    }}
    keychain = Keychain(RegistrySettings(auth_json=json.dumps(document)))
    found = {name: keychain.find(name) for name in "abcdefg"}
    assert found["a"] is not None and (found["a"].username, found["a"].password) == ("u", "p")
    assert found["b"] is not None and found["b"].password == "a:b"
    assert found["c"] is not None and found["c"].identity_token == "I"
    assert found["d"] is not None and found["d"].registry_token == "R"
    assert found["e"] is None and found["f"] is None
    assert found["g"] is not None and found["g"].identity_token == "I2"
    assert found["a"].source == "DOCKER_AUTH_CONFIG (auths)"


def test_a_source_in_the_home_is_named_by_its_short_path(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", {"auths": {"a": auth("u")}})
    found = Keychain(RegistrySettings(auth_files=(path,), environ=(("HOME", str(tmp_path)),))).find("a")
    assert found is not None and found.source == "~/config.json (auths)"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}', '{"auths": {"a": {"auth": 7}}}'])
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        Keychain(RegistrySettings(auth_files=(str(path),))).find("a")


@pytest.mark.parametrize("entry", [{"auth": "%%%"}, {"auth": base64.b64encode(b"nocolon").decode()}])
def test_a_broken_entry_matters_only_for_its_host(entry: dict[str, str]) -> None:
    keychain = Keychain(RegistrySettings(auth_json=json.dumps({"auths": {"a": entry, "b": auth("u")}})))
    assert keychain.find("b") is not None
    with pytest.raises(UsageError, match="DOCKER_AUTH_CONFIG"):
        keychain.find("a")


def test_keys_are_found_in_any_case_as_docker_finds_them(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", {
        "Auths": {"r.example": {"Auth": auth("a")["auth"], "email": None}, "null.example": None}, "CredHelpers": None,
        "auths": {"s.example": {"USERNAME": "b", "password": "pw", "auth": None}},
    })
    settings = RegistrySettings(auth_files=(path,))
    assert (user(settings, "r.example"), user(settings, "s.example"), user(settings, "null.example")) == ("a", "b", "")
    assert logout(path, "r.example") and user(settings, "r.example") == ""


def test_a_file_that_is_nested_deeply_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"auths":' + '{"a":' * 50_000 + "1" + "}" * 50_001)
    with pytest.raises(UsageError, match="nested too deeply") as caught:
        user(RegistrySettings(auth_files=(str(path),)), "r.example")
    assert str(path) in caught.value.message


def test_a_neighbour_serves_when_nothing_else_does(tmp_path: Path) -> None:
    keys = {"r.example/team/a": auth("a"), "https://r.example/team/b/c": auth("c"), "r.example/x": auth("x"),
            "other.example/team": auth("other"), "r.example:5000/team": auth("port"), "r.example/team/e": {}}
    settings = RegistrySettings(auth_files=(write(tmp_path / "config.json", {"auths": keys}),))
    assert user(settings, "r.example", "team/a/deeper") == "a"  # a prefix
    assert user(settings, "r.example", "team/b/d") == "c"  # the most alike
    assert user(settings, "r.example", "elsewhere") == user(settings, "r.example") == "a"  # the first of the host
    assert user(settings, "r.example:5000", "x") == "port" and user(settings, "nobody.example", "team") == ""


def test_missing_and_empty_files_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    settings = RegistrySettings(auth_files=(str(tmp_path / "none"), str(tmp_path / "empty"), str(tmp_path)))
    assert Keychain(settings).find("a") is None


def test_helpers_are_asked_for_what_the_file_says(tmp_path: Path) -> None:
    helper(tmp_path, "one", 'read server; echo "{\\"Username\\":\\"one $SEEN\\",\\"Secret\\":\\"$server\\"}"')
    helper(tmp_path, "all", 'read server; [ "$1" = get ] || exit 3; '
                            'case $server in *none*) echo "credentials not found in native keychain"; exit 1;; esac; '
                            'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"$server\\"}"')
    path = write(tmp_path / "config.json", {
        "auths": {"none.example": auth("file")}, "credsStore": "all", "credHelpers": {"one.example": "one"},
    })
    keychain = Keychain(RegistrySettings(
        auth_files=(path,), helper_path=f"{tmp_path}:/usr/bin:/bin", environ=(("SEEN", "env"),)
    ))
    one, other, hub = (keychain.find(host) for host in ("one.example", "other.example:5000", "docker.io"))
    assert one is not None and (one.username, one.password) == ("one env", "one.example")
    assert one.source == f"docker-credential-one (credHelpers in {path})"
    assert other is not None and other.identity_token == "other.example:5000"
    assert hub is not None and hub.identity_token == HUB_KEY
    none = keychain.find("none.example")
    assert none is not None and none.username == "file"
    assert keychain.notes == ()


@pytest.mark.parametrize(("script", "told"), [
    ("exit 7", "status 7"), ("echo nonsense", "prints no credentials"), (None, "not in PATH"),
])
def test_a_helper_that_fails_becomes_a_note(tmp_path: Path, script: str | None, told: str) -> None:
    if script is not None:
        helper(tmp_path, "bad", script)
    settings = RegistrySettings(
        auth_json=json.dumps({"credsStore": "bad"}), helper_path=f"{tmp_path}:/usr/bin:/bin"
    )
    keychain = Keychain(settings)
    assert keychain.find("a.example") is None and keychain.find("a.example", "x") is None
    assert len(keychain.notes) == 1 and told in keychain.notes[0] and "docker-credential-bad" in keychain.notes[0]


def test_login_keeps_what_else_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "config.json"
    login(str(path), "r.example", "me", "pw")
    path.write_text(json.dumps({**json.loads(path.read_text()), "proxies": {"default": {}}}))
    login(str(path), "docker.io", "hubber", "s3")
    login(str(path), "t.example", "<token>", "identity")
    document = json.loads(path.read_text())
    assert set(document["auths"]) == {"r.example", HUB_KEY, "t.example"} and "proxies" in document
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keychain = Keychain(RegistrySettings(auth_files=(str(path),)))
    found = keychain.find("docker.io"), keychain.find("t.example")
    assert found[0] is not None and found[0].password == "s3"
    assert found[1] is not None and found[1].identity_token == "identity"
    assert logout(str(path), "https://index.docker.io/v1/") and not logout(str(path), "docker.io")
    assert set(json.loads(path.read_text())["auths"]) == {"r.example", "t.example"}
    assert [item.name for item in path.parent.iterdir()] == ["config.json"]


def test_logins_at_once_keep_every_entry(tmp_path: Path) -> None:
    path = tmp_path / "docker/config.json"
    hosts = [f"r{number}.example" for number in range(24)]
    threads = [threading.Thread(target=login, args=(str(path), host, "me", "pw")) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(json.loads(path.read_text())["auths"]) == set(hosts)
    assert os.listdir(path.parent) == ["config.json"]


def test_logging_out_where_nobody_logged_in_makes_nothing(tmp_path: Path) -> None:
    assert not logout(str(tmp_path / "docker/config.json"), "r.example")
    assert os.listdir(tmp_path) == []


def test_login_gives_the_secret_to_the_helper_and_not_to_the_file(tmp_path: Path) -> None:
    helper(tmp_path, "vault", f'cat > {tmp_path}/$1')
    path = write(tmp_path / "config.json", {"credsStore": "vault"})
    where = login(path, "r.example", "me", "pw", f"{tmp_path}:/usr/bin:/bin", {"PATH": "/usr/bin:/bin"})
    assert where == "docker-credential-vault"
    assert json.loads((tmp_path / "store").read_text()) == {"ServerURL": "r.example", "Username": "me", "Secret": "pw"}
    assert json.loads(Path(path).read_text())["auths"] == {"r.example": {}}
    assert logout(path, "r.example", f"{tmp_path}:/usr/bin:/bin", {"PATH": "/usr/bin:/bin"})
    assert (tmp_path / "erase").read_text() == "https://r.example"  # the last of all spellings


def test_logging_out_erases_every_spelling_that_a_helper_may_have(tmp_path: Path) -> None:
    helper(tmp_path, "vault", f'read server; echo "$1 $server" >> {tmp_path}/asked; [ "$server" != r.example ]')
    path, place = write(tmp_path / "config.json", {"credsStore": "vault"}), f"{tmp_path}:/usr/bin:/bin"
    logout(path, "r.example", place, {"PATH": "/usr/bin:/bin"})
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["erase r.example", "erase http://r.example", "erase https://r.example"]
    helper(tmp_path, "vault", "exit 1")
    with pytest.raises(UsageError, match="failed with status 1"):
        logout(path, "r.example", place, {"PATH": "/usr/bin:/bin"})
