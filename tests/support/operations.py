"""Python that runs as an account, in its engine: what no command line tells is seen at the operations themselves."""

import textwrap

from support.accounts import Firkin, installation

PRELUDE = """
import json, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from firkin.containers import exec as execs
from firkin.containers.link.attach import AttachTo, attach
from firkin.containers.documents.config import *
from firkin.containers.create import create
from firkin.containers.opening import open_engine
from firkin.containers.keeping.image import image_for
from firkin.containers.link.connection import connect
from firkin.containers.pause import pause, unpause
from firkin.containers.remove import remove
from firkin.containers.start import start
from firkin.containers.stop import kill, restart, stop
from firkin.containers.wait import wait
from firkin.errors import ContainerError

engine = open_engine(sys.argv[1], runtime=os.environ["XDG_RUNTIME_DIR"])
home = engine.home

def make(*argv, host=HostConfig(network_mode="none"), **config):
    return create(engine, CreateRequest(Config(image="box:1", cmd=argv, **config), host), image_for(engine, "box:1")).id

def events(id):
    lines = open(engine.root + "/events.jsonl").read().splitlines()
    return [each["Action"] for each in map(json.loads, lines) if each["Actor"]["ID"] == id]

def output(attached):
    text = b""
    while (found := attached.read()) is not None:
        text += found[1]
    return text.decode(), attached.exit

def until(true):
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)

def ended(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True

def clean():
    for id in home.ids():
        try:
            kill(engine, id)
        except ContainerError:
            pass
        remove(engine, id, volumes=True)
"""


def run_script(firkin: Firkin, text: str, *, prelude: str = "") -> str:
    """Run Python in the account's engine, which has `box:1`, after PRELUDE and `prelude`; its asserts are the test."""
    whole = f"{PRELUDE}\n{prelude}\ntry:\n{textwrap.indent(textwrap.dedent(text), '    ')}\nfinally:\n    clean()\n"
    result = firkin.account.run(
        [installation(firkin.account.uid).python, "-c", whole, str(firkin.store)], env=firkin.environment(),
        cwd=firkin.place, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return str(result.stdout)
