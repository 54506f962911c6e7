"""Names of containers: which are allowed, how one is made up, and who has one."""

import os
from pathlib import Path

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import Record
from firkin.containers.home.finder import is_id
from firkin.containers.home.home import Home
from firkin.containers.home.names import check_name, is_name, made_up, new_id, take
from firkin.errors import ContainerError

HOLDER, OTHER = "a" * 64, "b" * 64


def home_with(place: Path, name: str) -> Home:
    """Return a home in which a container has a name in its record."""
    home = Home(str(place))
    os.makedirs(home.directory(HOLDER))
    os.makedirs(f"{home.containers}/names")
    home.write_record(Record(1, HOLDER, name, "", "", Config(), HostConfig(), "sh", (), ()))
    return home


@pytest.mark.parametrize("name", ["ab", "Web-1", "0.", "a_", "x" * 255])
def test_allowed_names(name: str) -> None:
    assert is_name(name)
    assert check_name(name) == check_name(f"/{name}") == name


@pytest.mark.parametrize("name", ["", "a", ".a", "-a", "_a", "a b", "a/b", "//ab", "..", "aé", "a\n", "x" * 256])
def test_refused_names(name: str) -> None:
    """None leads out of the directory that names are links in, and none is an option of a command."""
    with pytest.raises(ContainerError, match="Invalid container name") as raised:
        check_name(name)
    assert raised.value.kind == "invalid"
    assert "\n" not in raised.value.message


def test_made_up_names_are_allowed_and_get_a_digit_when_they_are_rare() -> None:
    for _ in range(200):
        assert is_name(made_up(0)) and made_up(0).count("_") == 1
        assert made_up(1)[-1].isdigit() and not made_up(0)[-1].isdigit()


def test_an_id_is_no_number_as_a_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [bytes.fromhex("123456789012" + "ab" * 26), bytes.fromhex("12345678901a" + "ab" * 26)]
    monkeypatch.setattr(os, "urandom", lambda size: drawn.pop(0))
    id = new_id()
    assert id == "12345678901a" + "ab" * 26
    assert is_id(id)


def test_a_name_belongs_to_one_container(tmp_path: Path) -> None:
    home = home_with(tmp_path, "web")
    take(home, "web", HOLDER)
    assert home.named("web") == HOLDER
    with pytest.raises(ContainerError, match=f'The container name "/web" is already in use by container "{HOLDER}"'):
        take(home, "web", OTHER)
    assert home.named("web") == HOLDER


def test_a_name_that_a_death_left_behind_is_free(tmp_path: Path) -> None:
    """The link is there, and the container has another name by now, or is gone."""
    home = home_with(tmp_path, "renamed")
    for id in (HOLDER, OTHER):
        os.symlink(id, f"{home.containers}/names/web")
        assert home.named("web") == ""
        take(home, "web", OTHER)
        assert os.readlink(f"{home.containers}/names/web") == OTHER
        os.unlink(f"{home.containers}/names/web")


def test_a_link_to_something_else_names_nobody(tmp_path: Path) -> None:
    home = home_with(tmp_path, "web")
    os.symlink(f"../containers/{HOLDER}", f"{home.containers}/names/web")
    assert home.named("web") == ""
    assert home.named("../names/web") == ""
