"""Volumes by the command line, as root and as an ordinary user."""

import json
from pathlib import Path

from support.accounts import Firkin

WARNING = "WARNING! This will remove anonymous local volumes not used by at least one container."


def names(firkin: Firkin, *words: str) -> list[str]:
    return firkin.run("volume", "ls", "-q", *words).stdout.split()


def test_made_listed_shown_and_removed(firkin: Firkin) -> None:
    assert firkin.run("volume", "create", "data", "--label", "tier=gold", "-d", "local").stdout == "data\n"
    anonymous = firkin.run("volume", "create").stdout.strip()
    assert len(anonymous) == 64
    assert firkin.run("volume", "create", "data", "--label", "other").stdout == "data\n"  # it stays as it is
    assert names(firkin) == sorted(("data", anonymous))
    assert firkin.run("volume", "ls").stdout.split()[:3] == ["DRIVER", "VOLUME", "NAME"]
    shown = firkin.run("volume", "inspect", "data", "nothing", check=False)
    assert shown.returncode == 1 and "no such volume" in shown.stderr
    (document,) = json.loads(shown.stdout)
    assert list(document) == ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"]
    assert document["Labels"] == {"tier": "gold"} and document["Options"] is None
    assert Path(document["Mountpoint"]).is_dir()
    labels = firkin.run("volume", "inspect", "-f", "{{json .Labels}}", anonymous).stdout
    assert labels == '{"com.docker.volume.anonymous":""}\n'
    assert firkin.run("volume", "rm", "data").stdout == "data\n"
    assert not Path(document["Mountpoint"]).exists()
    missing = firkin.run("volume", "rm", "data", check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert firkin.run("volume", "rm", "-f", "data").stdout == "data\n"


def test_filters(firkin: Firkin) -> None:
    firkin.run("volume", "create", "one", "--label", "tier=gold")
    firkin.run("volume", "create", "two", "--label", "tier=tin")
    assert names(firkin, "-f", "label=tier") == ["one", "two"]
    assert names(firkin, "-f", "label=tier=gold") == ["one"]
    assert names(firkin, "-f", "name=^t") == ["two"]
    assert names(firkin, "-f", "dangling=false") == []
    assert names(firkin, "-f", "driver=other") == []
    assert firkin.run("volume", "ls", "-f", "size=1", check=False).returncode == 1
    assert firkin.run("volume", "ls", "--format", "{{.Name}}={{.Labels}}").stdout == "one=tier=gold\ntwo=tier=tin\n"


def test_wrong_names_drivers_and_options(firkin: Firkin) -> None:
    for words, said in (
        (("a",), "includes invalid characters for a local volume name"),
        (("a/b",), "includes invalid characters for a local volume name"),
        (("-d", "nfs", "data"), 'plugin "nfs" not found'),
        (("-o", "what=1", "data"), 'invalid option: "what"'),
        (("-o", "o=bind", "data"), 'missing required option: "device"'),
    ):
        result = firkin.run("volume", "create", *words, check=False)
        assert result.returncode == 1 and said in result.stderr, words
    assert names(firkin) == []


def test_prune_asks_and_spares_names(firkin: Firkin) -> None:
    anonymous = firkin.run("volume", "create").stdout.strip()
    firkin.run("volume", "create", "named")
    firkin.run("volume", "create", "mounted", "-o", "type=none", "-o", "device=/srv", "-o", "o=bind")
    asked = firkin.run("volume", "prune", input="n\n")
    assert asked.stdout == f"{WARNING}\nAre you sure you want to continue? [y/N] "
    pruned = firkin.run("volume", "prune", "-f").stdout
    assert pruned == f"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B\n"
    assert firkin.run("volume", "prune", "-f", "--filter", "all=true", "--filter", "label!=x").stdout.split()[2] == "named"
    assert names(firkin) == ["mounted"]


def test_commands_of_containers_that_are_not_there(firkin: Firkin) -> None:
    for words in (("rm", "nobody"), ("rename", "nobody", "other")):
        result = firkin.run(*words, check=False)
        assert result.returncode == 1 and "No such container: nobody" in result.stderr
    assert firkin.run("rm", "-f", "nobody").returncode == 0
    assert firkin.run("container", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
