"""Steps and whoever else there is on this machine: neither reaches the other, and steps do what they like with their own."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.pairs import Pair
from support.programs import ACTOR, NEIGHBOUR, OLD_SOCKETS, compiled

from firkin.linux.syscalls import landlock_abi

pytestmark = [pytest.mark.root]

EPERM, ESRCH, EFAULT, EAFNOSUPPORT = 1, 3, 14, 97
OWN = {
    "own abstract socket": 0, "trace own": 0, "read own": 0, "signal own": 0, "limit own": 0, "internet": 0, "raw icmp": 0,
}  # fmt: skip
REFUSED = {"packets": EPERM, "raw tcp": EPERM, "vsock": EAFNOSUPPORT, "uring": EPERM}
needs_scopes = pytest.mark.skipif(landlock_abi() < 6, reason="the kernel's Landlock has no scopes: Linux 6.12 has")


class Neighbours:
    """Abstract sockets and processes outside of any step."""

    def __init__(self) -> None:
        self.stream, self.datagrams = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.names = [f"neighbour-{os.getpid()}-{kind}" for kind in ("stream", "datagrams")]
        for each, name in zip((self.stream, self.datagrams), self.names, strict=True):
            each.bind(f"\0{name}")
        self.stream.listen()
        wait = "import time; time.sleep(600)"
        self.processes = [
            subprocess.Popen([sys.executable, "-I", "-S", "-c", wait], user=uid, group=uid) for uid in (0, 1001)
        ]

    def arguments(self) -> str:
        return " ".join([*self.names, *(str(process.pid) for process in self.processes)])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.stream.close()
        self.datagrams.close()


@pytest.fixture
def neighbours() -> Iterator[Neighbours]:
    found = Neighbours()
    yield found
    found.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair("namespaces", tmp_path_factory.mktemp("confine"))


def attempts(said: str) -> list[dict[str, int]]:
    """Return what each step met: attempt → errno. Attempts on several processes count together: 0 if one went well."""
    steps: dict[str, dict[str, int]] = {}
    for step, what, number in re.findall(r"^#(\d+) \d+\.\d+ ([a-z ]+) (\d+)$", said, re.M):
        met = steps.setdefault(step, {})
        met[what] = int(number) if met.get(what, 1) else 0
    return list(steps.values())


@needs_scopes
@pytest.mark.parametrize("isolation", ["namespaces", "chroot"])
def test_steps_reach_their_own_only(pair: Pair, neighbours: Neighbours, isolation: str) -> None:
    dockerfile = "FROM busybox\nCOPY it /it\nRUN /it {0}\nUSER 1001:1001\nRUN /it {0}\n".format(neighbours.arguments())
    built = pair.build(dockerfile, {"it": compiled(NEIGHBOUR)}, "--isolation", isolation, "--no-cache")
    as_root, as_user = attempts(built.said)
    unseen = ESRCH if isolation == "namespaces" else EPERM  # another PID namespace, or another domain
    theirs = {
        "their abstract socket": EPERM, "their abstract datagrams": EPERM,
        "trace them": unseen, "read them": unseen, "signal them": unseen, "limit them": unseen,
    }  # fmt: skip
    assert as_root == {**theirs, **OWN, **REFUSED}
    assert as_user == {**theirs, **OWN, **REFUSED, "raw icmp": EPERM}
    assert [process.poll() for process in neighbours.processes] == [None, None]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86-64 runs programs of this kind")
@pytest.mark.parametrize("isolation", ["namespaces", "chroot"])
def test_sockets_of_32_bit_programs(pair: Pair, isolation: str) -> None:
    """Their arguments lie in memory, where no filter sees them; refusing the call would break their network."""
    dockerfile = "FROM busybox\nCOPY it /it\nRUN /it\nUSER 1001\nRUN /it\n"
    said = pair.build(dockerfile, {"it": compiled(OLD_SOCKETS)}, "--isolation", isolation, "--no-cache").said
    works = ("internet", "stream", "closed by exec", "kept by exec", "unix", "netlink")
    expected = {
        "packets": EPERM, "packets by the old name": EPERM, "raw tcp": EPERM, "vsock": EAFNOSUPPORT,
        "crypto": EAFNOSUPPORT, "bad address": EFAULT, **dict.fromkeys(works, 0),
    }  # fmt: skip
    assert attempts(said) == [expected, expected]


@needs_scopes
def test_an_insecure_step_is_not_kept_apart(pair: Pair, neighbours: Neighbours) -> None:
    dockerfile = f"FROM busybox\nCOPY it /it\nRUN --security=insecure /it {' '.join(neighbours.names)}\n"
    built = pair.build(dockerfile, {"it": compiled(NEIGHBOUR)}, "--allow", "security.insecure", "--no-cache")
    (met,) = attempts(built.said)
    assert (met["their abstract socket"], met["packets"], met["uring"]) == (0, 0, 0)


SETUID = "FROM busybox\nCOPY actor /\nRUN chmod 4755 /actor\nUSER 1001:1001\nRUN /actor\n"


@pytest.mark.parametrize("isolation", ["namespaces", "chroot"])
def test_setuid_programs_work(pair: Pair, isolation: str) -> None:
    built = pair.build(SETUID, {"actor": compiled(ACTOR)}, "--isolation", isolation, "--no-cache")
    assert re.findall("acts as [0-9]+", built.said) == ["acts as 0"]


@pytest.mark.parametrize("name", ["chroot", "inplace"])
def test_in_a_container(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without CAP_SYS_ADMIN the kernel confines only who has no_new_privs; setuid programs matter more to builds."""
    pod = Pair(name, tmp_path_factory.mktemp(name))
    dockerfile = f"{SETUID}USER 0\nCOPY it /it\nRUN /it\n"
    files = {"actor": compiled(ACTOR), "it": compiled(NEIGHBOUR)}
    said = pod.build(dockerfile, files, "--no-cache").said
    assert "acts as 0" in said
    assert attempts(said)[-1]["packets"] == 0
    pod.container = replace(pod.container, no_new_privs=True)
    said = pod.build(dockerfile, files, "--no-cache").said
    assert "acts as 1001" in said
    assert attempts(said)[-1] == {**OWN, **REFUSED}
