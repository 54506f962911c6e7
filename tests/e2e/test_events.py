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


def test_events_of_an_image_carry_its_labels(firkin: Firkin) -> None:
    """But not the one of its end: then nobody knows them any more."""
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch\nLABEL tier=front name=hidden\nCOPY Dockerfile /\n")
    firkin.account.give(context)
    firkin.run("build", "-t", "app:1", context)
    firkin.run("tag", "app:1", "other:2")
    firkin.run("save", "-o", context / "app.tar", "app:1")
    firkin.run("rmi", "other:2", "app:1")
    firkin.run("load", "-i", context / "app.tar")
    shown = firkin.run("events", "--since", "1h", "--until", "0s", "--filter", "label=tier=front", "--format",
                       "{{.Action}} {{.Actor.Attributes.name}}").stdout.splitlines()  # fmt: skip
    assert shown[:4] == ["tag app:1", "tag other:2", "untag other:2", "untag app:1"]
    assert shown[4].startswith("load sha256:") and len(shown) == 5
    assert "tier=front" in firkin.run("events", "--since", "1h", "--until", "0s", "--filter", "event=load").stdout


def test_times_of_any_size(firkin: Firkin) -> None:
    firkin.run("volume", "create", "data")
    for until in ("9999999999", "999999999999", "9999-12-31T23:59:59Z"):
        process = firkin.popen("events", "--since", "1h", "--until", until, stdout=subprocess.PIPE)
        assert process.stdout is not None and b"volume create data" in process.stdout.readline()
        assert process.poll() is None  # it waits for more
        process.kill()
        process.communicate()
    for since in ("-9999999999", "1900-01-01", "-999999h"):
        firkin.run("events", "--since", since, "--until", "0s")
    for text in ("9" * 400, f"{'9' * 400}h", f"-{'9' * 400}h", "1e400", "nan"):
        for option in ("--since", "--until"):
            result = firkin.run("events", f"{option}={text}", check=False, timeout=20)
            assert result.returncode == 1 and "is no time" in result.stderr, (text, result.stderr)


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
