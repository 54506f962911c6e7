"""`client.containers` and `client.volumes`, as root and as an ordinary user; the manual's examples run."""

import re
from collections.abc import Iterator

import pytest
from support.accounts import Firkin
from support.containers import make_box
from support.places import REPOSITORY
from support.scripts import run_python

pytestmark = pytest.mark.registry

EXAMPLES = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/python-containers.md").read_text(), re.DOTALL)
_LEFT = """
import firkin
client = firkin.connect()
names = [container.name for container in client.containers.list(all=True)]
for container in client.containers.list(all=True):
    if container.status in ("running", "paused"):
        container.kill()
        container.wait()
    container.remove(v=True, force=True)
for volume in client.volumes.list():
    volume.remove(force=True)
print(names)
"""


@pytest.fixture(scope="module")
def python_box(shared_firkin: Firkin) -> Iterator[Firkin]:
    make_box(shared_firkin)
    shared_firkin.run("tag", "box:1", "app:1")
    yield shared_firkin
    run_python(shared_firkin, _LEFT)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_manual(python_box: Firkin, number: int) -> None:
    said = run_python(python_box, EXAMPLES[number]).stdout
    expected = ("hello", "greeting 5", "No such container: nobody")
    assert expected[number] in said
    assert run_python(python_box, _LEFT).stdout == "[]\n"


_LIFE = """
import firkin
client = firkin.connect()
box = client.containers.create("app:1", ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"], name="life",
                               network_mode="none", tty=False)
assert box.status == "created" and client.containers.list() == [] and client.containers.list(all=True) == [box]
assert client.containers.get(box.short_id) == box == client.containers.get("life") and len({box, box}) == 1
box.start()
box.reload()
assert box.status == "running" and box.image.tags and box.health == "unknown"
result = box.exec_run("sh -c 'echo a; echo b >&2; exit 7'", demux=True)
assert result == (7, (b"a\\n", b"b\\n")), result
assert box.exec_run("id -u", user=5).output == b"5\\n"
assert box.exec_run("pwd", workdir="/tmp").output == b"/tmp\\n"
assert b"".join(box.exec_run("seq 3", stream=True).output) == b"1\\n2\\n3\\n"
assert sorted(box.logs().splitlines()) == [b"err", b"out"]
assert box.logs(stderr=False) == b"out\\n" and box.logs(tail=0) == b""
assert "PID" in box.top()["Titles"]
assert box.stats(stream=False)["name"] == "/life"
box.pause()
box.reload()
assert box.status == "paused"
box.unpause()
box.rename("living")
box.reload()
assert box.name == "living"
pieces, found = box.get_archive("/etc/passwd", chunk_size=100)
first = next(pieces)
assert len(first) == 100 and found["name"] == "passwd"
pieces.close()
try:
    box.get_archive("/nothing")
except firkin.NotFound:
    pass
else:
    raise AssertionError
try:
    client.containers.create("app:1", name="living")
except firkin.ContainerError as error:
    assert error.kind == "conflict" and "already in use" in error.message
else:
    raise AssertionError
try:
    client.containers.create("nothing:1")
except firkin.ImageNotFound:
    pass
else:
    raise AssertionError
box.stop(timeout=0)
assert box.wait()["StatusCode"] == 137
box.remove()
try:
    box.reload()
except firkin.NotFound:
    pass
else:
    raise AssertionError
assert list(client.containers.run("app:1", "seq 2", stream=True, network_mode="none", remove=True))
assert client.containers.run("app:1", "sh -c 'echo e >&2'", stderr=True, network_mode="none", remove=True) == b"e\\n"
try:
    client.containers.run("app:1", "nothing-here", network_mode="none", remove=True)
except firkin.ContainerError as error:
    assert error.exit_code == 127, error.exit_code
else:
    raise AssertionError
client.containers.create("app:1", "true", network_mode="none")
pruned = client.containers.prune()
assert len(pruned["ContainersDeleted"]) == 1, pruned
kept = client.volumes.create("kept", labels={"a": "b"})
assert client.volumes.create("kept") == kept == client.volumes.get("kept")
assert client.volumes.list(filters={"label": "a=b"}) == [kept] and client.volumes.list(filters={"label": "c"}) == []
assert client.volumes.prune()["VolumesDeleted"] == []
assert client.volumes.prune({"all": True})["VolumesDeleted"] == ["kept"]
try:
    kept.reload()
except firkin.NotFound:
    pass
else:
    raise AssertionError
"""


def test_a_life(python_box: Firkin) -> None:
    run_python(python_box, _LIFE)
