"""What `firkin events` says of images and volumes, as root and as an ordinary user."""

import json
import re
import subprocess

import pytest
from support.accounts import Firkin


@pytest.fixture
def built(firkin: Firkin) -> Firkin:
    """A firkin whose store holds app:1, made of files only."""
    context = firkin.directory("context")
    (context / "hello").write_text("hello\n")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\n")
    firkin.account.give(context)
    firkin.run("build", "-t", "app:1", context)
    return firkin


def said(firkin: Firkin, *options: str) -> list[str]:
    shown = firkin.run("events", "--since", "1h", "--until", "0s", "--format",
                       "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}", *options)  # fmt: skip
    return shown.stdout.splitlines()


def test_images(built: Firkin) -> None:
    id = json.loads(built.run("inspect", "app:1").stdout)[0]["Id"]
    archives = built.directory("archives")
    built.run("tag", "app:1", "other:2")
    built.run("save", "-o", archives / "app.tar", "app:1")
    built.run("rmi", "app:1")
    built.run("rmi", "other:2")
    built.run("load", "-i", archives / "app.tar")
    (archives / "root.tar").write_bytes(b"\0" * 10240)
    built.account.give(archives)
    built.run("import", archives / "root.tar", "flat:1")
    assert said(built) == [
        "image tag app:1", "image tag other:2", "image save app:1", "image untag app:1", "image untag other:2",
        f"image delete {id}", f"image load {id}", "image import flat:1",
    ]  # fmt: skip
    assert said(built, "-f", "image=app") == ["image tag app:1", "image save app:1", "image untag app:1"]
    assert said(built, "-f", "event=tag", "-f", "event=untag", "-f", "image=other:2") == [
        "image tag other:2", "image untag other:2"
    ]  # fmt: skip
    assert said(built, "-f", "type=volume") == []


def test_lines_as_docker_prints_them(firkin: Firkin) -> None:
    firkin.run("volume", "create", "data")
    line = firkin.run("events", "--since", "1h", "--until", "0s").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) volume create data \(driver=local\)\n", line)
    event = json.loads(firkin.run("events", "--since", "1h", "--until", "0s", "--format", "json").stdout)
    assert list(event) == ["Type", "Action", "Actor", "scope", "time", "timeNano"]
    assert firkin.run("events", "--until", "1h").stdout == ""
    wrong = firkin.run("events", "--filter", "died=1", check=False)
    assert wrong.returncode == 1 and "invalid filter 'died'" in wrong.stderr


def test_whoever_waits_sees_it_at_once(firkin: Firkin) -> None:
    waiting = firkin.popen("events", "--format", "{{.Action}} {{.Actor.ID}}", stdout=subprocess.PIPE)
    assert waiting.stdout is not None
    try:
        firkin.run("events", "--until", "0s")  # as long as the other needs to begin
        seen = []
        for number in range(50):
            firkin.run("volume", "create", f"data{number}")
            if number == 3:
                seen = [waiting.stdout.readline() for _ in range(2)]
                break
        assert [line.split()[0] for line in seen] == [b"create", b"create"]
    finally:
        waiting.terminate()
        waiting.wait(10)
