"""RUN --mount=type=ssh with OpenSSH's own agent, in every way that RUN can run here."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin

pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(not shutil.which("ssh-agent"), reason="openssh-client is not installed"),
]

# Asks for keys (11) and to forget them all (19), and tells what came back: 12 is a list, 5 a refusal.
ASK = """\
use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0);
connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die "no agent: $!\\n";
sub ask { syswrite S, pack("NC", 1, $_[0]); sysread S, $h, 4; sysread S, $b, unpack("N", $h); return $b }
my ($type, $count) = unpack("CN", ask(11)); print "list $type of $count, ";
print "removal ", unpack("C", ask(19)), ", left ", unpack("xN", ask(11)), "\\n";
"""


@pytest.fixture
def agent(firkin: Firkin) -> Iterator[Path]:
    """The socket of a running agent of the account's, with one key."""
    place = firkin.directory("agent")
    socket, key = place / "socket", place / "key"
    environ = {"PATH": firkin.environment()["PATH"], "SSH_AUTH_SOCK": str(socket), "HOME": str(place)}
    server = firkin.account.popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        made = firkin.account.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], env=environ)
        assert made.returncode == 0, made.stderr
        for _ in range(100):
            added = firkin.account.run(["ssh-add", "-q", str(key)], env=environ)
            if added.returncode == 0:
                break
        assert added.returncode == 0, added.stderr
        yield socket
    finally:
        server.terminate()
        server.wait(10)


def build(firkin: Firkin, dockerfile: str, *options: str, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Build from a Dockerfile with `ask.pl` beside it; return what firkin printed."""
    context = firkin.place / "context"
    if not context.exists():
        firkin.directory("context")
    (context / "Dockerfile").write_text(dockerfile)
    (context / "ask.pl").write_text(ASK)
    result = firkin.run("build", "--progress", "plain", "--no-cache", *options, context, check=check, env=env)
    return f"{result.stdout}{result.stderr}"


RUN = "FROM debian:bookworm\nRUN --mount=target=/c --mount=type=ssh{} perl /c/ask.pl\n"


def test_the_users_agent(firkin: Firkin, agent: Path) -> None:
    told = build(firkin, RUN.format(""), "--ssh", "default", env={"SSH_AUTH_SOCK": str(agent)})
    assert "list 12 of 1, removal 5, left 1" in told
    told = build(firkin, RUN.format(",id=other"), "--ssh", f"other={agent}")
    assert "list 12 of 1, removal 5, left 1" in told


def test_keys_from_files(firkin: Firkin, agent: Path) -> None:
    first = agent.parent / "key"
    second = agent.parent / "second"
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(second)]
    assert firkin.account.run(command).returncode == 0
    told = build(firkin, RUN.format(""), "--ssh", f"default={first},{second}")
    assert "list 12 of 2, removal 5, left 2" in told
    assert list((firkin.store / "tmp").iterdir()) == []
    # Of this account only: the same test may be running for another one.
    search = ["pgrep", "-u", str(firkin.account.uid), "-f", "ssh-agent -a agent sh"]
    running = subprocess.run(search, capture_output=True, text=True).stdout
    assert running == ""
    (firkin.place / "context/bad").write_text("no key")
    told = build(firkin, RUN.format(""), "--ssh", f"default={firkin.place}/context/bad", check=False)
    assert "cannot be used as a private key" in told


def test_another_user_may_be_given_the_socket(firkin: Firkin, agent: Path) -> None:
    text = RUN.replace("\n", "\nUSER 1234:1234\n", 1).replace("perl", "ls -ln $SSH_AUTH_SOCK; perl")
    given = f"default={agent}"
    told = build(firkin, text.format(",uid=1234,gid=1234,mode=0400,target=/run/mine"), "--ssh", given, check=False)
    assert "srw" not in told and "sr--------" in told and "1234 1234" in told
    told = build(firkin, text.format(",uid=1234,gid=1234"), "--ssh", given)
    assert "srw-------" in told and "list 12 of 1" in told
    told = build(firkin, text.format(""), "--ssh", given, check=False)
    assert "no agent: Permission denied" in told


def test_an_agent_that_was_not_given(firkin: Firkin) -> None:
    told = build(
        firkin, "FROM debian:bookworm\nRUN --mount=type=ssh test ! -e $SSH_AUTH_SOCK && echo without $SSH_AUTH_SOCK\n"
    )
    assert "without /run/buildkit/ssh_agent.0" in told
    told = build(firkin, RUN.format(",required=true"), check=False)
    assert "unset ssh forward key default" in told and "--ssh default" in told


@pytest.mark.parametrize("isolation", [pytest.param("chroot", marks=pytest.mark.chroot)])
def test_without_namespaces(firkin: Firkin, agent: Path, isolation: str) -> None:
    if not firkin.account.is_root:
        pytest.skip("needs root")
    told = build(firkin, RUN.format(""), "--ssh", f"default={agent}", "--isolation", isolation)
    assert "list 12 of 1, removal 5, left 1" in told


def test_nothing_stays_in_the_image(firkin: Firkin, agent: Path) -> None:
    text = RUN.format("") + "RUN test ! -e /run/buildkit && ! env | grep SSH\n"
    build(firkin, text, "--ssh", f"default={agent}")
