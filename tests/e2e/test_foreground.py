"""Containers where nothing can be mounted or unshared: by chroot, in the foreground, in a copy that is thrown away."""

import json
import subprocess
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.containers import make_box
from support.plain_chroot import chrooted
from support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.registry]

# The program of a front that runs one container.
PROGRAM = """
import json, os, sys
from firkin.containers.opening import open_engine
from firkin.containers.documents.config import Config, CreateRequest, HostConfig
from firkin.containers.create import create
from firkin.containers.foreground import run_foreground
from firkin.containers.keeping.image import image_for
from firkin.errors import FirkinError
import msgspec

root, config, host = sys.argv[1:]
engine = open_engine(root)
try:
    assert engine.backend().sandbox != "namespaces"
    request = CreateRequest(msgspec.json.decode(config, type=Config), msgspec.json.decode(host, type=HostConfig))
    id = create(engine, request, image_for(engine, "box:1")).id
    code = run_foreground(engine, id, stdin=0, on_output=lambda data: os.write(1, data), on_error=lambda data: os.write(2, data))
    state = None if not os.path.exists(engine.home.directory(id)) else engine.home.state(id)
    os.write(2, f"state {None if state is None else state.exit_code}\\n".encode())
except FirkinError as error:
    os.write(2, f"{error.message}\\n".encode())
    code = error.exit_code
sys.exit(code)
"""


@pytest.fixture
def firkin(scratch: Path, registry: Registry) -> Firkin:
    made = make_firkin("root", scratch / "firkin", registry.url)
    make_box(made)
    return made


def run(firkin: Firkin, *argv: str, stdin: str = "", host: dict[str, object] | None = None, **config: object) -> "subprocess.CompletedProcess[str]":
    """Run a container where nothing can be mounted or unshared."""
    config_text = json.dumps({"Image": "box:1", "Cmd": argv, **config})
    python = firkin.command("version")[0]
    command, environment = chrooted(firkin, python, "-c", PROGRAM, str(firkin.store), config_text, json.dumps(host or {}))
    return subprocess.run(
        command, env=environment, cwd=firkin.place, capture_output=True, text=True, timeout=100, input=stdin
    )


def test_output_input_and_exit_code(firkin: Firkin) -> None:
    done = run(firkin, "sh", "-c", "echo out; cat; echo err >&2; exit 7", stdin="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\ntyped\n", "err\nstate 7\n")


def test_the_configuration_counts(firkin: Firkin) -> None:
    done = run(firkin, "sh", "-c", 'echo "$A $(pwd) $(id -u):$(id -g) $HOME"',
               Env=["A=b"], WorkingDir="/new/place", User="1234:5678")  # fmt: skip
    assert done.stdout == "b /new/place 1234:5678 /\n", done.stderr


def test_the_image_stays_as_it_is(firkin: Firkin) -> None:
    assert run(firkin, "sh", "-c", "echo >/written && rm /bin/busybox").returncode == 0
    done = run(firkin, "sh", "-c", "ls /written; ls /bin/busybox")
    assert done.stdout == "/bin/busybox\n"
    scratch = firkin.store
    assert not [path for path in scratch.rglob("root-*") if path.is_dir()]


def test_one_to_be_removed_is(firkin: Firkin) -> None:
    assert run(firkin, "true", host={"AutoRemove": True}).stderr == "state None\n"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [(("no-such",), 127, "executable file not found in $PATH"), (("/etc",), 126, "permission denied")],
)
def test_what_cannot_be_run(firkin: Firkin, argv: tuple[str, ...], code: int, words: str) -> None:
    done = run(firkin, *argv)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ({"NetworkMode": "none"}, "a network of its own"),
        ({"Binds": ["/tmp:/x"]}, "a volume or a mount"), ({"Privileged": True}, "a privileged container"),
        ({"ReadonlyRootfs": True}, "a read-only root"), ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}, "a restart"),
    ],
)  # fmt: skip
def test_what_it_cannot_have_is_refused(firkin: Firkin, host: dict[str, object], what: str) -> None:
    done = run(firkin, "true", host=host)
    assert done.returncode == 125
    assert what in done.stderr


def test_the_command_line(firkin: Firkin) -> None:
    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command, environment = chrooted(firkin, *firkin.command(*arguments))
        return subprocess.run(
            command, env=environment, cwd=firkin.place, capture_output=True, text=True, timeout=100, input="typed\n"
        )

    done = call("run", "--rm", "-i", "-e", "A=b", "box:1", "sh", "-c", "echo $A; cat; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (9, "b\ntyped\n", "err")
    assert call("run", "--rm", "box:1", "no-such").returncode == 127
    for refused, what in (("-d", "in the background"), ("-m=64m", "a limit of memory"), ("--network=none", "a network")):
        done = call("run", "--rm", refused, "box:1", "true")
        assert done.returncode == 125
        assert what in done.stderr, done.stderr
    assert call("ps", "-aq").stdout == ""
