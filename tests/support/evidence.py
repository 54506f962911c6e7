"""What containers can do in each environment: commands and options as small scripts, run as root, as users, in pods.

A script succeeds only where the thing is really there: a limit is read back, a file is found. In an environment where
containers cannot run in the background, what needs one ends as the attempt to start it.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.accounts import Firkin, make_firkin
from support.container import Bind, Container, checkout_binds, image_files

ENVIRONMENTS = {
    "root": "root",
    "user": "a user with subordinate ids",
    "plain": "a user without subordinate ids",
    "pod": "root in a container without rights",
    "pod-user": "a user in a container without rights",
}
POD_UID = 4321


@dataclass(frozen=True)
class Row:
    """One thing that is tried. `own_limits`: what comes of it depends on the control groups of the machine."""

    about: str
    script: str
    own_limits: bool = False


def _limit(option: str, see: str = "true") -> Row:
    return Row(f"`run {option}`", f"run {option} box:1 {see}", own_limits=True)


_MEMORY = "sh -c 'grep -q 67108864 /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes'"

COMMANDS = (
    Row("`run`", "run box:1 sh -c 'test -e /bin/busybox'"),
    Row("`run -i`", "echo typed | run -i box:1 grep typed"),
    Row("`run -d`", "up; firkin rm -f $(firkin run -d --network none box:1 sleep 100)"),
    Row("`create`", "firkin rm $(firkin create box:1 true)"),
    Row("`start`", "firkin start $(firkin create box:1 true)"),
    Row("`start -a`", "firkin start -a $(firkin create box:1 echo hi)"),
    Row("`start --restored`", "up; firkin start --restored"),
    Row("`attach`", "up; firkin run -d --name aa --network none box:1 sleep 5; firkin attach --no-stdin aa"),
    Row("`exec`", "up; test $(firkin exec cc echo hi) = hi"),
    Row("`ps`", "firkin create --name listed box:1 true; firkin ps -a | grep listed"),
    Row("`inspect`", "firkin inspect $(firkin create box:1 true)"),
    Row("`logs`", "up; firkin logs cc | grep ready"),
    Row("`top`", "up; firkin top cc | grep sleep"),
    Row("`stats`", "up; firkin stats --no-stream cc | grep iB"),
    Row("`wait`", "up; test $(firkin wait $(firkin run -d --network none box:1 sh -c 'exit 3')) = 3"),
    Row("`stop`", "up; firkin stop -t 0 $(firkin run -d --network none box:1 sleep 100)"),
    Row("`kill`", "up; firkin kill $(firkin run -d --network none box:1 sleep 100)"),
    Row("`restart`", "up; firkin restart -t 0 cc; test $(firkin inspect -f '{{.State.Running}}' cc) = true"),
    Row("`rename`", "firkin rename $(firkin create box:1 true) other$ROW; firkin inspect other$ROW"),
    Row("`rm -f -v`", "firkin rm -f -v $(firkin create -v /x box:1 true)"),
    Row("`container prune`",
        "id=$(firkin create -l row=$ROW box:1 true); firkin container prune -f --filter label=row=$ROW | grep $id"),
    Row("`port`", "up; test -z \"$(firkin port cc)\""),
    Row("`pause`, `unpause`", "up; firkin pause cc; firkin unpause cc"),
    Row("`update -m` of a running one", "up; id=$(firkin run -d --network none box:1 sleep 9);"
        " firkin update -m 64m --memory-swap 64m $id", own_limits=True),
    Row("`update --restart`", "up; firkin update --restart on-failure:3 cc; firkin update --restart no cc"),
    Row("`cp` into one", "firkin cp /etc/passwd $(firkin create box:1 true):/copied"),
    Row("`cp` out of one", "firkin cp $(firkin create box:1 true):/bin/busybox out-$ROW"),
    Row("`diff`", "up; firkin exec cc touch /touched; firkin diff cc | grep touched"),
    Row("`export`", "firkin export -o x$ROW $(firkin create box:1 true); tar -tf x$ROW | grep busybox"),
    Row("`commit`", "firkin commit $(firkin create box:1 true) committed:1"),
    Row("`events`", "firkin events --since 1h --until 0s"),
    Row("`system df`", "firkin system df | grep Containers"),
    Row("`volume create`, `inspect`, `ls`, `rm`",
        "firkin volume create v$ROW; firkin volume inspect v$ROW; firkin volume ls | grep v$ROW; firkin volume rm v$ROW"),
    Row("`volume prune`", "firkin volume create --label row=$ROW v$ROW; firkin volume prune -a -f --filter label=row=$ROW | grep v$ROW"),
)  # fmt: skip
OPTIONS = (
    Row("`run -e -w --entrypoint -l --name`",
        "run -e A=b -w /tmp -l x=y --name nn --entrypoint sh box:1 -c 'test $A$PWD = b/tmp'"),
    Row("`run -u 1000`", "run -u 1000 box:1 sh -c 'test $(id -u) = 1000'"),
    Row("`run --group-add 7`", "run --group-add 7 box:1 sh -c 'id | grep 7'"),
    Row("`run -h`", "run -h there box:1 sh -c 'test $(hostname) = there'"),
    Row("`run -t`", "run -t box:1 true"),
    Row("`run --network none`", "firkin run --rm --network none box:1 sh -c 'test $(ls /sys/class/net) = lo'"),
    Row("`run --network host`", "firkin run --rm --network host box:1 true"),
    Row("`run`, no `--network`", "firkin run --rm box:1 true"),
    Row("`run --network container:`", "up; firkin run --rm --network container:cc box:1 true"),
    Row("`run --network NAME`", "firkin run --rm --network mine box:1 true"),
    Row("`run -p`", "firkin run --rm -p 8099:80 box:1 true"),
    Row("`run --network none -p`", "firkin run --rm --network none -p 8099:80 box:1 true"),
    Row("`run --dns`", "run --dns 10.9.8.7 box:1 grep 10.9.8.7 /etc/resolv.conf"),
    Row("`run --add-host`", "run --add-host db:10.0.0.1 box:1 grep '10.0.0.1.*db' /etc/hosts"),
    Row("`run -v DIR:DIR`", "mkdir b$ROW; echo hi >b$ROW/f; run -v $PWD/b$ROW:/b box:1 grep hi /b/f"),
    Row("`run -v NAME:DIR`", "run -v kept$ROW:/v box:1 touch /v/f"),
    Row("`run --volumes-from`", "up; run --volumes-from cc box:1 grep ' /kept ' /proc/mounts"),
    Row("`run --mount type=image`", "run --mount type=image,source=box:1,target=/i box:1 test -e /i/bin/busybox"),
    Row("`run --tmpfs`", "run --tmpfs /t box:1 grep ' /t tmpfs' /proc/mounts"),
    Row("`run --read-only`", "run --read-only box:1 sh -c '! touch /x 2>/dev/null'"),
    Row("`run --shm-size`", "run --shm-size 8m box:1 grep -q size=8192k /proc/mounts"),
    Row("`run --storage-opt`", "run --storage-opt size=1g box:1 true"),
    Row("`run --device`", "run --device /dev/zero:/dev/nil box:1 head -c 1 /dev/nil"),
    Row("`run --device-cgroup-rule`", "run --device-cgroup-rule 'c 13:* rwm' box:1 true", own_limits=True),
    Row("`run --gpus`", "run --gpus all box:1 true"),
    Row("`run --privileged`", "run --privileged box:1 true"),
    Row("`run --cap-add`", "run --cap-add SYS_PTRACE box:1 true"),
    Row("`run --cap-drop`", "run --cap-drop ALL box:1 true"),
    Row("`run --security-opt no-new-privileges`",
        "run --security-opt no-new-privileges box:1 grep -q 'NoNewPrivs:.1' /proc/self/status"),
    Row("`run --security-opt seccomp=unconfined`", "run --security-opt seccomp=unconfined box:1 true"),
    Row("`run --security-opt seccomp=FILE`",
        """echo '{"defaultAction":"SCMP_ACT_ALLOW"}' >s$ROW; run --security-opt seccomp=s$ROW box:1 true"""),
    Row("`run --pid host`", "run --pid host box:1 true"),
    Row("`run --pid container:`", "up; run --pid container:cc box:1 grep sleep /proc/1/comm"),
    Row("`run --ipc host`", "run --ipc host box:1 true"),
    Row("`run --ipc container:`",
        "up; id=$(firkin run -d --network none --ipc shareable box:1 sleep 9); run --ipc container:$id box:1 true"),
    Row("`run --ipc none`", "run --ipc none box:1 sh -c '! grep /dev/shm /proc/mounts'"),
    Row("`run --uts host`", "run --uts host box:1 sh -c \"test \\$(hostname) = $(cat /proc/sys/kernel/hostname)\""),
    Row("`run --userns host`", "run --userns host box:1 true"),
    Row("`run --cgroupns host`", "run --cgroupns host box:1 true"),
    Row("`run --cgroupns private`", "run --cgroupns private box:1 true"),
    Row("`run --sysctl`", "run --sysctl kernel.msgmax=9000 box:1 grep 9000 /proc/sys/kernel/msgmax"),
    Row("`run --init`", "run --init box:1 true"),
    Row("`run --ulimit`", "run --ulimit nofile=99 box:1 sh -c 'test $(ulimit -n) = 99'"),
    Row("`run --stop-signal`", "run --stop-signal INT box:1 true"),
    Row("`run --env-file`", "echo A=b >e$ROW; run --env-file e$ROW box:1 sh -c 'test $A = b'"),
    Row("`run --cidfile`", "run --cidfile c$ROW box:1 true; test -s c$ROW"),
    Row("`run --oom-score-adj 500`", "run --oom-score-adj 500 box:1 grep 500 /proc/self/oom_score_adj"),
    Row("`run --restart`", "firkin run -d --restart on-failure:1 --network none box:1 true"),
    Row("`run --health-cmd`", "firkin run -d --health-cmd true --network none box:1 true"),
    Row("`run --log-driver json-file`", "run --log-driver json-file --log-opt max-size=1m box:1 true"),
    Row("`run --log-driver local`", "run --log-driver local box:1 true"),
    Row("`run --log-driver syslog`", "run --log-driver syslog box:1 true"),
)  # fmt: skip
LIMITS = (
    _limit("-m 64m", _MEMORY),
    _limit("--cpus 0.5"),
    _limit("-c 512"),
    _limit("--cpuset-cpus 0"),
    _limit("--pids-limit 50"),
    _limit("--blkio-weight 100"),
    _limit("--cgroup-parent /firkin-tests"),
    _limit("-m 64m --limits warn"),
)
SECTIONS = {"Commands": COMMANDS, "Options of `run` and `create`": OPTIONS, "Limits": LIMITS}
ROWS = tuple(row for rows in SECTIONS.values() for row in rows)


@dataclass(frozen=True)
class Outcome:
    """What came of a row: exit code 0, or what was said to be in the way, and the hints."""

    code: int
    error: str = ""
    hints: tuple[str, ...] = field(default=())

    @property
    def works(self) -> bool:
        return self.code == 0


# What runs in the environment: argv is a place to work in, the image's archive, and the words of firkin; standard
# input has the scripts.
_RUNNER = r"""
import json, os, shutil, subprocess, sys
place, archive, *firkin = sys.argv[1:]
os.makedirs(place, exist_ok=True)
os.chdir(place)
quoted = " ".join("'" + word + "'" for word in firkin)
prelude = 'firkin() { ' + quoted + ' "$@"; }\nrun() { firkin run --rm --network "${NETWORK:-none}" "$@"; }\n'
prelude += 'up() { [ "$UP" = 0 ] || { cat up.err >&2; exit "$UP"; }; }\n'
environment = {**os.environ, "FIRKIN_ROOT": place + "/store", "TMPDIR": place, "UP": "0"}
def call(script, **more):
    done = subprocess.run(["bash", "-o", "pipefail", "-ec", prelude + script], env={**environment, **more}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=100)
    return done.returncode, done.stdout, done.stderr
code, out, err = call("firkin load -i '" + archive + "'")
if code:
    sys.exit("no image: " + err)
code, out, err = call("run box:1 true")
if code:  # a network of its own may be what is missing
    environment["NETWORK"] = "host"
start = 'firkin run -d --name cc --network "${NETWORK:-none}" -v /kept box:1 sh -c "echo ready; exec sleep 1000"'
code, out, err = call(start)
environment["UP"] = str(code)
with open("up.err", "w") as file:
    file.write(err)
try:
    print(json.dumps([[code, err] for code, out, err in (
        call(script, ROW=str(number)) for number, script in enumerate(json.load(sys.stdin)))]))
finally:
    call("firkin ps -aq | while read id; do firkin rm -f -v $id; done >/dev/null")
"""


def outcomes(name: str, place: Path, registry_url: str, archive: Path) -> list[Outcome]:
    """Try all rows in one of the environments, and return what came of each."""
    scripts = json.dumps([row.script for row in ROWS])
    if name.startswith("pod"):
        done = _in_pod(name, place, archive, scripts)
    else:
        firkin = make_firkin(name, place, registry_url)
        python = firkin.command("version")[0]
        words = [python, "-c", _RUNNER, str(firkin.place / "work"), str(archive), python, "-m", "firkin"]
        done = firkin.account.run(words, env=firkin.environment(), cwd=firkin.place, input=scripts, timeout=500)
    assert done.returncode == 0, done.stderr
    return [_outcome(code, said, str(place)) for code, said in json.loads(done.stdout.splitlines()[-1])]


def _in_pod(name: str, place: Path, archive: Path, scripts: str) -> "subprocess.CompletedProcess[str]":
    shared = place / "shared"
    shared.mkdir(parents=True)
    shared.chmod(0o1777)
    shutil.copy(archive, shared / "box.tar")
    (shared / "box.tar").chmod(0o644)
    binds = (*checkout_binds(), Bind(shared, "/shared", writable=True))
    container = Container(image_files("python"), place / "c", binds, env={"HOME": "/shared", "TMPDIR": "/shared"})
    if name == "pod-user":
        container = container.as_user(POD_UID)
    words = [sys.executable, "-c", _RUNNER, "/shared/work", "/shared/box.tar", sys.executable, "-m", "firkin"]
    return container.run(words, input=scripts, check=False, timeout=500)


def make_archive(maker: Firkin) -> Path:
    """Write an image with busybox, `box:1`, that every account can load."""
    context = maker.directory("box")
    (context / "Dockerfile").write_text("FROM busybox\nLABEL box=1\n")
    maker.account.give(context)
    archive = context / "box.tar"
    maker.run("build", "-t", "box:1", "-o", f"type=docker,dest={archive}", context)
    archive.chmod(0o644)
    return archive


def maker(place: Path, registry_url: str) -> Firkin:
    """Return the firkin that makes the image."""
    return make_firkin("root", place, registry_url)


def _outcome(code: int, said: str, place: str) -> Outcome:
    lines = said.replace(place, "PLACE").replace("/shared/work", "PLACE/work").splitlines()
    # The first error is what was in the way; words of a shell that went on may follow.
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    told = lines[starts[0] : starts[1] if len(starts) > 1 else None] if starts else []
    hints = tuple(line.strip().removeprefix("hint: ") for line in told if line.strip().startswith("hint: "))
    error = told[0].removeprefix("error: ") if told else " ".join(lines)[-300:] or "it is not there, and nothing is said"
    return Outcome(code, re.sub(r"[0-9a-f]{12,64}|\b(?:uid|id) [0-9]+", "ID", error) if code else "", hints if code else ())


def control_groups() -> str:
    """Say what control groups the machine has: what limits can be set depends on it."""
    return "version 2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "version 1"
