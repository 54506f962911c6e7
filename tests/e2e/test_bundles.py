"""The same containers by firkin and by runc, from one record: what is seen inside is the same."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin, make_firkin, remove_with_subordinate_ids
from support.contained import Running
from support.registry import Registry

from firkin.containers.bundle import write_bundle
from firkin.containers.create import create
from firkin.containers.documents.config import Config, CreateRequest, Device, HostConfig, Ulimit
from firkin.containers.documents.record import Record
from firkin.containers.home.engine import Engine
from firkin.containers.keeping.image import image_for
from firkin.containers.limits.devices import DEFAULT_RULES
from firkin.containers.limits.facts import read_cgroups
from firkin.containers.opening import open_engine
from firkin.containers.planning.plan import Place, plan_container
from firkin.containers.remove import remove

pytestmark = pytest.mark.clients

MIB = 1 << 20
LOOK = r"""
echo "ids $(id)"
echo "cwd $(pwd)"
env | grep -v -e ^SHLVL= -e ^_= -e ^PWD= -e ^HOSTNAME= -e ^OLDPWD= | sort
grep -e ^Cap -e ^NoNewPrivs -e ^Groups -e ^Seccomp /proc/self/status
unshare -U true 2>&1 | sed 's/.*: /refused: /'
mkdir /tmp/made 2>&1 | sed 's/.*: /refused: /'
echo "umask $(umask)"
echo "host $(hostname)"
echo "oom $(cat /proc/self/oom_score_adj)"
ulimit -n
for path in /proc/kcore /proc/keys /proc/timer_list /sys/firmware; do
  [ -e $path ] && echo "masked $path $(head -c 1 $path 2>/dev/null | wc -c) $(ls $path 2>/dev/null | grep -c -v $path)"
done
for path in /proc/sys /proc/irq /proc/bus; do (echo x >$path/nothing) 2>/dev/null || echo "closed $path"; done
for name in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$name; done
ls /dev | grep -v -e console -e core -e initctl | sort
for path in /dev/fd /dev/stdin /dev/ptmx; do readlink $path; done
awk '$5 ~ "^/(proc|dev|dev/pts|dev/shm|dev/mqueue|sys|etc/hosts|etc/hostname|etc/resolv.conf|data|scratch)$" {
  gsub(/relatime|,$/, "", $6); gsub(/,,/, ",", $6); gsub(/,$/, "", $6); split($0, s, " - "); split(s[2], f, " ");
  print "mount", $5, $6, f[1] }' /proc/self/mountinfo | sort
cat /etc/hosts /etc/hostname
ls /
"""


@pytest.fixture(scope="module")
def engine(scratch_root: Path, registry: Registry) -> Iterator[Engine]:
    place = scratch_root / f"bundles-{secrets.token_hex(4)}"
    place.mkdir(mode=0o755)
    firkin: Firkin = make_firkin("root", place / "firkin", registry.url)
    firkin.run("pull", f"{registry.host}/library/busybox:latest")
    firkin.run("tag", f"{registry.host}/library/busybox:latest", "box:1")
    yield open_engine(str(firkin.store))
    remove_with_subordinate_ids(place)


class Pair:
    """One container of firkin's and its bundle."""

    def __init__(self, engine: Engine, place: Path, config: dict[str, Any], host: dict[str, Any]) -> None:
        asked = Config(**{"cmd": ("sh", "-c", LOOK), "hostname": "pair", **config})
        request = CreateRequest(asked, HostConfig(**{"network_mode": "none", **host}))
        self.engine, self.place = engine, place
        self.record: Record = engine.home.find(create(engine, request, image_for(engine, "box:1")).id)
        write_bundle(engine, self.record, str(place))

    def by_firkin(self) -> str:
        place = Place(self.engine.home.directory(self.record.id), f"{self.engine.root}/trees", os.uname().machine,
                      guarded=True, cgroups=read_cgroups(uid=0).version)  # fmt: skip
        plan = plan_container(self.record, place)
        ended = Running(plan.plan, plan.maps).wait()
        assert ended.code == 0, ended
        return ended.out

    def by_runc(self, *words: str) -> str:
        name = f"firkin-test-{secrets.token_hex(4)}"
        command = ["runc", "--root", f"{self.place}-runc", "run", "--bundle", str(self.place), name]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done
        return done.stdout

    def close(self) -> None:
        remove(self.engine, self.record.id, force=True, volumes=True)


@pytest.fixture
def pair(engine: Engine, tmp_path: Path) -> Iterator[Any]:
    made: list[Pair] = []

    def make(config: dict[str, Any] | None = None, **host: Any) -> Pair:
        made.append(Pair(engine, tmp_path / f"bundle-{len(made)}", config or {}, host))
        return made[-1]

    yield make
    for one in made:
        one.close()


# No program may make a directory (by either call), or ask for the time of another process's clock.
OWN_FILTER = json.dumps({
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["clock_gettime"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 100, "op": "SCMP_CMP_GE"}], "excludes": {"caps": ["CAP_SYS_TIME"]}},
    ],
})  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "usual": ({}, {}),
    "user": ({"user": "1000:50", "working_dir": "/made/here", "env": ("A=b c", "PATH=/bin")}, {"group_add": ("7",)}),
    "rights": ({}, {"cap_drop": ("ALL",), "cap_add": ("NET_ADMIN",), "security_opt": ("no-new-privileges",)}),
    "read-only": ({}, {"readonly_rootfs": True, "tmpfs": {"/scratch": "size=1m,mode=700"}, "shm_size": MIB}),
    "numbers": ({}, {"ulimits": (Ulimit("nofile", 100, 200),), "oom_score_adj": 500,
                     "sysctls": {"net.ipv4.ip_forward": "1"}}),
    "bare paths": ({}, {"masked_paths": (), "readonly_paths": ()}),
    "device": ({}, {"devices": (Device("/dev/null", "/dev/other", "r"),)}),
    "bind": ({}, {"binds": ("{tmp}/data:/data:ro",)}),
    "no filter": ({}, {"security_opt": ("seccomp=unconfined",)}),
    "filter of its own": ({}, {"security_opt": (f"seccomp={OWN_FILTER}",)}),
    "host names": ({"hostname": ""}, {"uts_mode": "host"}),
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("case", list(CASES))
def test_the_same_inside(pair: Any, tmp_path: Path, case: str) -> None:
    config, host = CASES[case]
    (tmp_path / "data").mkdir()
    if "binds" in host:
        host = {**host, "binds": tuple(text.format(tmp=tmp_path) for text in host["binds"])}
    both = pair(config, **host)
    assert both.by_runc().splitlines() == both.by_firkin().splitlines()


@pytest.mark.root
def test_limits_are_those_of_the_groups(pair: Any) -> None:
    """Version 1 shows them at /sys/fs/cgroup in both."""
    if read_cgroups(uid=0).version != 1:
        pytest.skip("needs control groups of version 1")
    files = "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max cpuset/cpuset.cpus"
    both = pair(
        {"cmd": ("sh", "-c", f"cd /sys/fs/cgroup; cat {files}; cat devices/devices.list | sort")},
        memory=64 * MIB, nano_cpus=500_000_000, pids_limit=20, cpuset_cpus="0",
    )  # fmt: skip
    lines = both.by_runc().splitlines()
    assert lines[:5] == [str(64 * MIB), str(128 * MIB), "50000", "20", "0"]
    assert lines[5:] == sorted(DEFAULT_RULES)


def test_create_writes_a_bundle(shared_firkin: Firkin, registry: Registry) -> None:
    firkin = shared_firkin
    firkin.run("pull", f"{registry.host}/library/busybox:latest")
    place = firkin.directory("out") / "bundle"
    id = firkin.run(
        "create", "--bundle", place, "--network", "none", f"{registry.host}/library/busybox:latest", "id"
    ).stdout.strip()
    assert sorted(path.name for path in place.iterdir()) == [
        "config.json",
        "hostname",
        "hosts",
        "resolv.conf",
        "rootfs",
    ]
    config = json.loads((place / "config.json").read_text())
    assert config["process"]["args"] == ["id"] and config["hostname"] == id[:12]
    name = f"firkin-test-{secrets.token_hex(4)}"
    done = firkin.account.run(["runc", "--root", f"{place}-runc", "run", "--bundle", str(place), name],
                              stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})  # fmt: skip
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "uid=0(root)"), done
    again = firkin.run("create", "--bundle", place, f"{registry.host}/library/busybox:latest", check=False)
    assert again.returncode == 1 and "is not empty" in again.stderr
    assert firkin.run("rm", id).stdout.strip() == id
    assert not list((firkin.store / "containers").glob("?" * 64))
