"""Git contexts over ssh: OpenSSH's own server and client, and a program of the user's choice."""

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.accounts import Firkin

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(not (os.path.exists(SSHD) and shutil.which("git")), reason="sshd or git is not installed"),
]


class SshServer(NamedTuple):
    """A running sshd; `login` is the account's own name, `key` may log in, `known` is a line of known_hosts."""

    port: int
    login: str
    key: Path
    known: str


@pytest.fixture
def repository(firkin: Firkin) -> Path:
    """A repository with a Dockerfile, and another one that asks for RUN's environment."""
    place = firkin.directory("repository.git")
    (place / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /from-git\n")
    (place / "env").mkdir()
    (place / "env/Dockerfile").write_text("FROM busybox\nRUN env\n")
    firkin.account.give(place)
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(firkin.home)}
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        made = firkin.account.run(["git", *command], cwd=place, env=environ)
        assert made.returncode == 0, made.stderr
    return place


@pytest.fixture
def server(firkin: Firkin) -> Iterator[SshServer]:
    """An sshd of the account's own, which nobody but it can log in to."""
    place = firkin.directory("sshd")
    for name in ("host", "login"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
        assert firkin.account.run(command).returncode == 0
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (place / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {place}/host\nAuthorizedKeysFile {place}/login.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
        f"SetEnv PATH={os.environ['PATH']}\n"
    )
    if firkin.account.is_root:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = open(place / "log", "wb")
    running = firkin.account.popen([SSHD, "-D", "-e", "-f", str(place / "config")], stderr=log)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert running.poll() is None, (place / "log").read_text()
                time.sleep(0.05)
        host = " ".join((place / "host.pub").read_text().split()[:2])
        yield SshServer(port, firkin.account.name, place / "login", f"[127.0.0.1]:{port} {host}\n")
    finally:
        running.terminate()
        running.wait(10)
        log.close()


def address(server: SshServer, repository: Path) -> str:
    return f"ssh://{server.login}@127.0.0.1:{server.port}{repository}"


def test_the_users_key_and_known_hosts(firkin: Firkin, server: SshServer, repository: Path) -> None:
    place = firkin.home / ".ssh"
    place.mkdir(mode=0o700)
    shutil.copy(server.key, place / "id_ed25519")
    (place / "known_hosts").write_text(server.known)
    firkin.account.give(place)
    told = firkin.run("build", "-o", "out", address(server, repository), check=False)
    if firkin.account.is_root:  # ssh looks in root's own home, which these tests leave alone
        assert "Host key verification failed" in told.stderr or told.returncode == 0, told.stderr
        return
    assert told.returncode == 0, told.stderr
    assert (firkin.place / "out/from-git").exists()


def test_an_agent_and_a_configured_command(firkin: Firkin, server: SshServer, repository: Path) -> None:
    place = firkin.directory("client")
    (place / "known_hosts").write_text(server.known)
    firkin.account.give(place)
    agent = firkin.account.popen(["ssh-agent", "-D", "-a", str(place / "agent")], stdout=subprocess.DEVNULL)
    try:
        environ = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": str(place / "agent"), "HOME": str(place)}
        for _ in range(100):
            added = firkin.account.run(["ssh-add", "-q", str(server.key)], env=environ)
            if added.returncode == 0:
                break
        ssh = {"GIT_SSH_COMMAND": f"ssh -o UserKnownHostsFile={place}/known_hosts", "GIT_TOKEN": "sesame"}
        there = address(server, repository)
        firkin.run("build", "-o", "agent", there, env={**ssh, "SSH_AUTH_SOCK": str(place / "agent")})
        firkin.run("build", "-o", "flag", "--ssh", f"default={place}/agent", there, env=ssh)
        assert (firkin.place / "flag/from-git").exists()
        given = {**ssh, "SSH_AUTH_SOCK": str(place / "agent")}
        told = firkin.run("build", "--progress", "plain", "--no-cache", f"{there}#main:env", env=given)
        everything = told.stdout + told.stderr
        assert "PATH=" in everything
        assert not any(word in everything for word in ("GIT_", "SSH_", "sesame"))
        told = firkin.run("build", there, env=ssh, check=False)
        assert told.returncode == 1 and "Permission denied" in told.stderr, told.stderr
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_server_that_is_not_known_is_refused(firkin: Firkin, server: SshServer, repository: Path) -> None:
    told = firkin.run("build", address(server, repository), check=False)
    assert told.returncode == 1 and "Host key verification failed" in told.stderr, told.stderr


def test_a_program_instead_of_ssh(firkin: Firkin, repository: Path) -> None:
    program = firkin.directory("program") / "local"
    program.write_text(f"#!/bin/sh\nfor last; do :; done\nPATH={shlex.quote(os.environ['PATH'])}\nexec sh -c \"$last\"\n")
    program.chmod(0o755)
    firkin.run("build", "-o", "out", f"ssh://git@nowhere.example{repository}", env={"GIT_SSH_COMMAND": str(program)})
    assert (firkin.place / "out/from-git").exists()
