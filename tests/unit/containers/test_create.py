"""Containers are made, found, renamed and removed: as files, with nothing running."""

import fcntl
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.boxes import make, open_box

from firkin.containers.documents.record import ZERO_TIME
from firkin.containers.home.engine import Engine
from firkin.containers.remove import remove
from firkin.containers.rename import rename
from firkin.errors import ContainerError
from firkin.store.gc import prune


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_box(tmp_path)


def events(engine: Engine) -> list[str]:
    lines = Path(engine.root, "events.jsonl").read_text().splitlines()
    return [f"{event['Type']} {event['Action']}" for event in map(json.loads, lines)]


def rest(engine: Engine) -> list[str]:
    """What is left in the directories that containers and volumes use."""
    places = ("containers", "containers/names", "volumes", "references")
    kept = {"lock", "names", ".lock"}
    return [f"{place}/{name}" for place in places if os.path.isdir(f"{engine.root}/{place}")
            for name in os.listdir(f"{engine.root}/{place}") if name not in kept]  # fmt: skip


def test_a_container_is_all_that_was_asked(engine: Engine) -> None:
    id = make(engine, "/web", env=("A=b",), working_dir="/srv")
    record = engine.home.find("web")
    assert (record.id, record.name, record.path, record.args) == (id, "web", "sh", ())
    assert record.config.hostname == id[:12]
    assert record.config.env == ("A=b",)
    state = engine.home.state(id)
    assert (state.running, state.started_at) == (False, ZERO_TIME)
    assert Path(engine.home.directory(id), "hostname").read_text() == f"{id[:12]}\n"
    assert events(engine) == ["container create"]


def test_found_by_id_name_slash_and_beginning(engine: Engine) -> None:
    id = make(engine, "web")
    for text in (id, "web", "/web", id[:12], id[0]):
        assert engine.home.find(text).id == engine.finder.identify(text) == id


@pytest.mark.parametrize("text", ["", "none", "0" * 64, "f" * 12, "a/b", "..", "x"])
def test_whoever_finds_without_reading_says_the_same(engine: Engine, text: str) -> None:
    found = make(engine, "web"), make(engine, "other")
    texts = [text, *{id[:1] for id in found}, found[0][:63], found[0] + "0"]
    assert [answer_of(engine.home.find, each) for each in texts] == [
        answer_of(engine.finder.identify, each) for each in texts
    ]


def answer_of(find: Callable[[str], object], text: str) -> tuple[object, ...]:
    try:
        found = find(text)
    except ContainerError as error:
        return error.kind, error.code, error.message
    return (getattr(found, "id", found),)


def test_what_a_death_left_of_a_rename_is_no_name(engine: Engine) -> None:
    id = make(engine, "web")
    os.symlink(id, f"{engine.root}/containers/names/other")
    for text in ("other", "/other"):
        with pytest.raises(ContainerError):
            engine.finder.identify(text)
    assert engine.finder.identify("web") == id


def test_a_record_that_cannot_be_read_is_told_of(engine: Engine) -> None:
    id = make(engine, "web")
    path = f"{engine.home.directory(id)}/config.json"
    for damaged in (b"", b"{", b"[" * 100_000, b"[]", b'"x"', b"\xff", b"{}"):
        Path(path).write_bytes(damaged)
        told = answer_of(engine.finder.identify, id)
        assert (told, told[0]) == (answer_of(engine.home.find, id), "failed")


def test_a_name_that_looks_like_the_beginning_of_an_id_is_a_name(engine: Engine) -> None:
    other = make(engine)
    id = make(engine, other[:12])
    assert engine.home.find(other[:12]).id == id


def test_not_found(engine: Engine) -> None:
    with pytest.raises(ContainerError, match="No such container: nobody") as caught:
        engine.home.find("nobody")
    assert caught.value.kind == "missing"
    with pytest.raises(ContainerError, match="value is empty"):
        engine.home.find("")


def test_a_beginning_that_fits_two_is_refused(engine: Engine) -> None:
    ids = [make(engine) for _ in range(17)]
    double = next(first for first in "0123456789abcdef" if sum(id.startswith(first) for id in ids) > 1)
    with pytest.raises(ContainerError, match="multiple IDs found") as caught:
        engine.home.find(double)
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize("name", ["a", "-ab", "a b", "a/b", "ä1", "x" * 256])
def test_names_that_cannot_be(engine: Engine, name: str) -> None:
    with pytest.raises(ContainerError, match="Invalid container name"):
        make(engine, name)
    assert rest(engine) == []


def test_a_taken_name_says_who_has_it_and_leaves_nothing(engine: Engine) -> None:
    id = make(engine, "web")
    before = rest(engine)
    with pytest.raises(ContainerError, match=f'"/web" is already in use by container "{id}"') as caught:
        make(engine, "web", volumes={"/data": {}})
    assert caught.value.kind == "conflict"
    assert rest(engine) == before


def test_one_of_twenty_makers_gets_the_name(engine: Engine) -> None:
    won, lost = [], []

    def run() -> None:
        try:
            won.append(make(engine, "web", volumes={"/data": {}}))
        except ContainerError as error:
            lost.append(error.kind)

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lost == ["conflict"] * 19
    assert engine.home.ids() == won
    assert len(os.listdir(f"{engine.root}/volumes")) == 2  # the lock, and the volume of the one
    assert len(os.listdir(f"{engine.root}/references")) == 1


def test_removed_with_everything(engine: Engine) -> None:
    id = make(engine, "web", volumes={"/data": {}})
    assert remove(engine, "web", volumes=True) == id
    assert rest(engine) == []
    assert events(engine)[-2:] == ["volume destroy", "container destroy"]
    with pytest.raises(ContainerError, match="No such container: web"):
        remove(engine, "web")


def test_volumes_stay_unless_asked(engine: Engine) -> None:
    make(engine, "web", volumes={"/data": {}}, binds=("named:/srv",))
    remove(engine, "web")
    assert len(os.listdir(f"{engine.root}/volumes")) == 3
    make(engine, "web", binds=("named:/srv",), volumes={"/data": {}})
    remove(engine, "web", volumes=True)
    assert len(os.listdir(f"{engine.root}/volumes")) == 3  # the named one has its name from the user


def test_one_of_many_removers_does_it(engine: Engine) -> None:
    make(engine, "web")
    said = []

    def run() -> None:
        try:
            remove(engine, "web")
            said.append("done")
        except ContainerError as error:
            said.append(error.kind)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("done") == 1
    assert set(said) <= {"done", "missing", "conflict"}
    assert rest(engine) == []


def test_a_running_container_stays(engine: Engine) -> None:
    id = make(engine, "web")
    engine.home.write_state(id, msgspec.structs.replace(engine.home.state(id), running=True, started_at="2026-01-01T00:00:00Z"))
    with (Path(engine.home.directory(id)) / "monitor.lock").open("w") as file:
        fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        with pytest.raises(ContainerError, match='cannot remove container "/web": container is running') as caught:
            remove(engine, "web")
        assert caught.value.kind == "conflict"
        assert engine.home.state(id).running


def test_whose_monitor_died_ended_with_255(engine: Engine) -> None:
    id = make(engine, "web")
    engine.home.write_state(id, msgspec.structs.replace(engine.home.state(id), running=True, started_at="2026-01-01T00:00:00Z"))
    assert [entry.state.exit_code for entry in engine.home.entries()] == [255]
    assert not engine.home.state(id).running
    assert events(engine)[-1] == "container die"


def test_renamed(engine: Engine) -> None:
    id = make(engine, "web")
    rename(engine, "web", "/old")
    assert engine.home.find("old").id == id
    with pytest.raises(ContainerError, match="No such container"):
        engine.home.find("web")
    make(engine, "web")
    with pytest.raises(ContainerError, match="already in use") as caught:
        rename(engine, "old", "web")
    assert caught.value.kind == "conflict"
    with pytest.raises(ContainerError, match="same name"):
        rename(engine, "old", "old")


def test_killed_in_a_rename_the_record_decides(engine: Engine) -> None:
    id = make(engine, "web")
    os.symlink(id, f"{engine.root}/containers/names/next")  # the next step would be the record
    with pytest.raises(ContainerError, match="No such container"):
        engine.home.find("next")
    assert engine.home.find("web").id == id
    other = make(engine, "next")
    assert engine.home.find("next").id == other


def test_what_a_killed_maker_left_goes_with_the_next_command(engine: Engine) -> None:
    id = make(engine, "web", volumes={"/data": {}})
    place = engine.home.containers
    os.rename(f"{place}/{id}", f"{place}/new-{id}")
    make(engine, "web")
    assert not os.path.exists(f"{place}/new-{id}")
    assert len(os.listdir(f"{engine.root}/references")) == 1
    assert os.listdir(f"{engine.root}/volumes") == [".lock"]


def test_what_a_killed_remover_left_goes_with_the_next_command(engine: Engine) -> None:
    id = make(engine, "web", volumes={"/data": {}})
    place = engine.home.containers
    os.rename(f"{place}/{id}", f"{place}/gone-{id}")
    make(engine, "web")
    assert not os.path.exists(f"{place}/gone-{id}")
    assert len(os.listdir(f"{engine.root}/volumes")) == 2  # without -v it stays
    assert "container destroy" in events(engine)


def test_layers_of_a_container_are_held(engine: Engine) -> None:
    id = make(engine, "web")
    (tree,) = engine.home.record(id).trees
    with engine.store() as store:
        prune(store, now=time.time() + 10**6, recent=True)
        assert store.trees.has(tree)
    remove(engine, id)
    with engine.store() as store:
        prune(store, now=time.time() + 10**6, recent=True)
        assert not store.trees.has(tree)


def test_a_record_that_a_power_failure_took(engine: Engine) -> None:
    id = make(engine, "web", auto_remove=True, volumes={"/data": {}})
    os.truncate(f"{engine.home.directory(id)}/config.json", 0)
    (reference,) = Path(engine.root, "references").iterdir()
    os.truncate(reference, 0)
    other = make(engine, "web")
    assert engine.home.ids() == [other]
    assert os.listdir(f"{engine.root}/references") != [reference.name]
    assert len(os.listdir(f"{engine.root}/references")) == 1


def test_a_container_whose_renaming_was_killed_leaves_no_name(engine: Engine) -> None:
    other, id = make(engine, "other"), make(engine, "web")
    names = Path(engine.home.containers, "names")
    (names / "next").symlink_to(id)  # the link comes first, then the record says it
    remove(engine, "web")
    assert os.listdir(names) == ["other"] and engine.home.find("other").id == other
