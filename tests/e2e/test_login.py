"""`login` and `logout` with a real registry: what is checked, what is kept, docker's words."""

import base64
import json
import os
import pty
import select
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin
from support.registry import PASSWORD, USER, Registry, running_registry

from firkin.testing.registry import FakeRegistry

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    with running_registry(auth="basic") as registry:
        yield registry


def config_of(firkin: Firkin) -> Path:
    return firkin.home / ".docker/config.json"


def put_config(firkin: Firkin, document: dict[str, object]) -> None:
    config_of(firkin).parent.mkdir(exist_ok=True)
    config_of(firkin).write_text(json.dumps(document))
    firkin.account.give(config_of(firkin).parent)


def put_helper(firkin: Firkin, body: str) -> dict[str, str]:
    """Write docker-credential-vault and return the environment that finds it."""
    place = firkin.directory("bin")
    (place / "docker-credential-vault").write_text(f"#!/bin/sh\n{body}\n")
    (place / "docker-credential-vault").chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}


def test_login_checks_and_keeps_credentials(firkin: Firkin, guarded: Registry) -> None:
    config = config_of(firkin)
    wrong = firkin.run("login", "-u", USER, "--password-stdin", guarded.host, input="wrong\n", check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "") and not config.exists()
    assert "wrong" not in wrong.stderr.replace("wrong credentials", "")
    assert f"hint: `{guarded.host}` does not know this user name and password\n" in wrong.stderr
    assert "come from" not in wrong.stderr
    right = firkin.run("login", "-u", USER, "--password-stdin", guarded.host, input=f"{PASSWORD}\n")
    assert right.stdout == "Login Succeeded\n"
    assert f"stored unencrypted in '{config}'" in right.stderr and PASSWORD not in right.stderr
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert json.loads(config.read_text()) == {"auths": {guarded.host: {"auth": pair}}}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    firkin.run("build", "--push", "-t", guarded.reference("app:1"), context)
    assert firkin.run("pull", guarded.reference("app:1")).returncode == 0
    assert firkin.run("logout", guarded.host).stdout == f"Removing login credentials for {guarded.host}\n"
    assert guarded.host not in config.read_text()
    refused = firkin.run("pull", guarded.reference("app:1"), check=False)
    assert refused.returncode == 1 and "firkin login" in refused.stderr
    again = firkin.run("logout", guarded.host)
    assert (again.stdout, again.stderr) == (f"Removing login credentials for {guarded.host}\n", "")


def test_a_password_on_the_command_line_is_warned_of(firkin: Firkin, guarded: Registry) -> None:
    result = firkin.run("login", "-u", USER, "-p", PASSWORD, guarded.host)
    assert result.stdout == "Login Succeeded\n"
    assert "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n" in result.stderr
    piped = firkin.run("login", "-u", USER, "-p", "-", guarded.host, input=PASSWORD)
    assert piped.stdout == "Login Succeeded\n" and "insecure" not in piped.stderr


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_exactly_one_line_end_is_not_part_of_the_password(firkin: Firkin, guarded: Registry, end: str) -> None:
    login = ("login", "-u", USER, "--password-stdin", guarded.host)
    assert firkin.run(*login, input=PASSWORD + end).stdout == "Login Succeeded\n"
    assert firkin.run(*login, input=f"{PASSWORD}\n{end or chr(10)}", check=False).returncode == 1


@pytest.mark.parametrize(("words", "said"), [
    (("--password-stdin",), "the --password-stdin option requires --username to be set"),
    (("-u", "me", "--password-stdin", "-p", "x"), "cannot specify both --password and --password-stdin"),
    (("-u", "me", "--password-stdin"), "password is empty"),
    (("-u", "", "-p", "x"), "username is empty"),
    (("-u", "me"), "cannot perform an interactive login from a non-TTY device"),
    ((), "cannot perform an interactive login from a non-TTY device"),
    (("a.example",), "takes one registry"),
])  # fmt: skip
def test_what_is_missing_is_said(firkin: Firkin, words: tuple[str, ...], said: str) -> None:
    result = firkin.run("login", *words, "r.invalid", input="", check=False)
    assert (result.returncode, result.stdout) == (1, "") and said in result.stderr
    assert not config_of(firkin).exists()


def test_credentials_that_are_kept_are_tried_first(firkin: Firkin, guarded: Registry) -> None:
    firkin.run("login", "-u", USER, "--password-stdin", guarded.host, input=PASSWORD)
    again = firkin.run("login", guarded.host, input="")
    assert again.stdout == "Login Succeeded\n"
    assert again.stderr == f"Authenticating with existing credentials... [Username: {USER}]\n"
    put_config(firkin, {"auths": {guarded.host: {"auth": base64.b64encode(f"{USER}:old".encode()).decode()}}})
    old = firkin.run("login", guarded.host, input="", check=False)
    assert old.returncode == 1 and "does not accept the credentials that were kept" in old.stderr
    assert "non-TTY device" in old.stderr


@pytest.mark.parametrize("spelling", ["{}", "{}/", "http://{}", "https://{}/v2/", "{}/team/app"])
def test_a_registry_is_known_by_its_host(firkin: Firkin, guarded: Registry, spelling: str) -> None:
    """Trap 31: trailing slash, scheme or path: all the same registry."""
    firkin.run("login", "-u", USER, "--password-stdin", spelling.format(guarded.host), input=PASSWORD)
    assert list(json.loads(config_of(firkin).read_text())["auths"]) == [guarded.host]
    firkin.run("logout", spelling.format(guarded.host))
    assert json.loads(config_of(firkin).read_text())["auths"] == {}


@pytest.mark.parametrize("spelling", ["", "docker.io", "index.docker.io", "registry-1.docker.io/", "https://docker.io"])
def test_the_hub_has_one_key(firkin: Firkin, spelling: str) -> None:
    """Trap 31: all names of Docker Hub mean the key that docker has for it."""
    put_config(firkin, {"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "r.example": {"auth": "YTpi"}}})
    told = firkin.run("logout", *([spelling] if spelling else []))
    assert told.stdout == "Removing login credentials for https://index.docker.io/v1/\n"
    assert list(json.loads(config_of(firkin).read_text())["auths"]) == ["r.example"]


def test_a_helper_keeps_what_the_file_does_not(firkin: Firkin, guarded: Registry) -> None:
    put_config(firkin, {"credsStore": "vault", "HttpHeaders": {"X": "y"}})
    environ = put_helper(firkin, f'[ "$1" = get ] && cat {firkin.home}/kept || cat > {firkin.home}/"$1"')
    result = firkin.run("login", "-u", USER, "--password-stdin", guarded.host, input=PASSWORD, env=environ)
    assert (result.stdout, result.stderr) == ("Login Succeeded\n", "")
    kept = json.loads((firkin.home / "store").read_text())
    assert kept == {"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD}
    document = json.loads(config_of(firkin).read_text())
    assert document["auths"] == {guarded.host: {}} and document["HttpHeaders"] == {"X": "y"}
    (firkin.home / "kept").write_text(json.dumps(kept))
    again = firkin.run("login", guarded.host, env=environ)
    assert again.stdout == "Login Succeeded\n" and f"[Username: {USER}]" in again.stderr


def test_a_helper_that_fails_at_logout_is_a_warning(firkin: Firkin) -> None:
    put_config(firkin, {"credHelpers": {"r.example": "vault"}})
    environ = put_helper(firkin, "echo locked; exit 1")
    result = firkin.run("logout", "r.example", env=environ)
    assert result.stdout == "Removing login credentials for r.example\n"
    assert "WARNING: could not erase credentials:\nr.example: " in result.stderr and "locked" in result.stderr


def test_the_environment_takes_precedence_and_this_is_said(firkin: Firkin, guarded: Registry) -> None:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    environ = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {guarded.host: {"auth": pair}}})}
    result = firkin.run("login", guarded.host, env=environ)
    assert result.stdout == "Login Succeeded\n" and "DOCKER_AUTH_CONFIG is set and takes precedence" in result.stderr
    assert "DOCKER_AUTH_CONFIG is set" in firkin.run("logout", guarded.host, env=environ).stderr


def test_the_identity_token_of_a_registry_replaces_the_password(firkin: Firkin) -> None:
    with FakeRegistry(auth="token") as registry:
        registry.identity_token = "lasting"
        words = ("login", "--insecure-registry", registry.host, registry.host)
        result = firkin.run(*words, "-u", registry.user, "--password-stdin", input=registry.password)
        assert result.stdout == "Login Succeeded\n"
        assert json.loads(config_of(firkin).read_text()) == {"auths": {registry.host: {"identitytoken": "lasting"}}}
        assert firkin.run(*words).stdout == "Login Succeeded\n"


def test_on_a_terminal_it_asks(firkin: Firkin, guarded: Registry) -> None:
    shown = typed(firkin, ["login", guarded.host], {"Username: ": USER, "Password: ": PASSWORD})
    assert "Login Succeeded" in shown and PASSWORD not in shown
    put_config(firkin, {"auths": {guarded.host: {"auth": base64.b64encode(f"{USER}:old".encode()).decode()}}})
    assert "Login Succeeded" in typed(firkin, ["login", guarded.host], {f"({USER}): ": "", "Password: ": PASSWORD})
    assert "Login Succeeded" in typed(firkin, ["login", "-u", USER, guarded.host], {"Password: ": PASSWORD})


def typed(firkin: Firkin, words: list[str], answers: dict[str, str]) -> str:
    """Run a command on a terminal, answer its questions, and return what the terminal showed."""
    outer, inner = pty.openpty()
    process = firkin.account.popen(
        firkin.command(*words), env=firkin.environment(), stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    shown, left = "", dict(answers)
    try:
        while select.select([outer], [], [], 30)[0]:
            shown += os.read(outer, 4096).decode()
            question = next(iter(left), None)
            if question is not None and question in shown.rpartition("\n")[2]:
                os.write(outer, f"{left.pop(question)}\n".encode())
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(outer)
    assert process.wait(30) == 0 and left == {}, shown
    return shown
