"""Agents for RUN: what is passed on, to whom, and for how long."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firkin.builder.graph.ops import SshMount
from firkin.builder.request import SshAgent
from firkin.builder.solve.ssh import SshAgents, forward
from firkin.errors import HostError, UsageError
from firkin.hints import Hint
from firkin.tasks.pools import Pool

IDENTITIES = b"\0\0\0\1\x0b"
ANSWER = b"\0\0\0\5\x0c\0\0\0\0"
REFUSED = b"\0\0\0\1\x05"
PATH = os.environ.get("PATH", "")


class FakeAgent:
    """Answers every question with an empty list of keys, and notes it."""

    def __init__(self, path: str) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        while head := connection.recv(4):
            self.asked.append(connection.recv(int.from_bytes(head, "big")))
            connection.sendall(ANSWER)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool("agent", 4)
    yield made
    made.close(RuntimeError())


@pytest.fixture
def agent(tmp_path: Path) -> FakeAgent:
    return FakeAgent(str(tmp_path / "agent"))


@contextmanager
def connected(place: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(place)
        yield client


def test_questions_pass_and_changes_do_not(agent: FakeAgent, tmp_path: Path, pool: Pool) -> None:
    remove_all = b"\0\0\0\1\x13"
    add = b"\0\0\0\5\x11abcd"
    bind = b"session-bind@openssh.com"
    extension = bytes([27]) + len(bind).to_bytes(4, "big") + bind + b"rest"
    other = bytes([27]) + (5).to_bytes(4, "big") + b"other"
    with forward(str(tmp_path / "agent"), SshMount("default", "/x"), str(tmp_path / "f"), pool) as place:
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
        with connected(place) as first, connected(place) as second:
            second.sendall(IDENTITIES[:3])  # an unfinished question keeps nobody from asking
            first.sendall(IDENTITIES + remove_all + add)
            assert _receive(first, len(ANSWER) + 10) == ANSWER + REFUSED + REFUSED
            second.sendall(IDENTITIES[3:])
            assert _receive(second, len(ANSWER)) == ANSWER
            for body, answer in ((extension, ANSWER), (other, REFUSED)):
                first.sendall(len(body).to_bytes(4, "big") + body)
                assert _receive(first, len(answer)) == answer
    assert agent.asked == [b"\x0b", b"\x0b", extension]
    assert not (tmp_path / "f").exists()
    with pytest.raises(OSError), connected(place):
        pass


def test_nonsense_ends_the_connection(agent: FakeAgent, tmp_path: Path, pool: Pool) -> None:
    with forward(str(tmp_path / "agent"), SshMount("default", "/x"), str(tmp_path / "f"), pool) as place:
        with connected(place) as client:
            client.sendall(b"\xff\xff\xff\xff nonsense")
            assert client.recv(10) == b""
        with connected(place) as client:
            client.sendall(IDENTITIES)
            assert _receive(client, len(ANSWER)) == ANSWER
    assert agent.asked == [b"\x0b"]


def test_an_agent_that_is_gone_ends_the_connection(tmp_path: Path, pool: Pool) -> None:
    with forward(str(tmp_path / "none"), SshMount("default", "/x"), str(tmp_path / "f"), pool) as place:
        with connected(place) as client:
            client.sendall(IDENTITIES)
            assert client.recv(10) == b""


def test_long_paths(tmp_path: Path, pool: Pool) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    here = os.getcwd()
    os.chdir(deep)
    try:
        agent = FakeAgent("agent")
        with forward(str(deep / "agent"), SshMount("default", "/x"), str(deep / "forward"), pool):
            with connected("forward/agent") as client:
                client.sendall(IDENTITIES)
                assert _receive(client, len(ANSWER)) == ANSWER
    finally:
        os.chdir(here)
    assert agent.asked == [b"\x0b"]


def test_what_is_no_agent(tmp_path: Path, agent: FakeAgent) -> None:
    (tmp_path / "key").write_text("key")
    for paths, says in (
        (("absent",), "cannot read"),
        (("",), "neither a socket nor a private key"),
        (("agent", "key"), "not both"),
    ):
        given = (SshAgent("default", tuple(str(tmp_path / path) for path in paths)),)
        with pytest.raises(UsageError, match=says):
            SshAgents(given, str(tmp_path / "scratch"), PATH)
    agents = SshAgents((SshAgent("own", (str(tmp_path / "agent"),)),), str(tmp_path / "scratch"), PATH)
    assert agents.get("own") == str(tmp_path / "agent") and agents.get("other") is None
    agents.close()


def test_keys_need_a_program(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key")
    agents = SshAgents((SshAgent("k", (str(tmp_path / "key"),)),), str(tmp_path / "scratch"), str(tmp_path))
    with pytest.raises(HostError, match="ssh-agent") as caught:
        agents.get("k")
    assert caught.value.hints == (Hint.of("ssh-agent"),)
    agents.close()


@pytest.mark.skipif(not shutil.which("ssh-agent"), reason="openssh-client is not installed")
def test_keys_are_served_until_the_end(tmp_path: Path) -> None:
    for name, passphrase in (("plain", ""), ("locked", "sesame")):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    given = (SshAgent("k", (str(tmp_path / "plain"),)), SshAgent("locked", (str(tmp_path / "locked"),)))
    agents = SshAgents(given, str(tmp_path / "scratch"), PATH)
    place = agents.get("k")
    assert place is not None and agents.get("k") == place
    listed = subprocess.run(["ssh-add", "-l"], env={"PATH": PATH, "SSH_AUTH_SOCK": place}, capture_output=True)
    assert b"plain (ED25519)" in listed.stdout
    with pytest.raises(UsageError, match="cannot be used") as caught:
        agents.get("locked")
    assert caught.value.hints == (Hint.of("ssh-passphrase"),)
    agents.close()
    assert list(tmp_path.glob("scratch*")) == []
    with pytest.raises(OSError), connected(place):
        pass


def _receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(size - len(data))
    return data
