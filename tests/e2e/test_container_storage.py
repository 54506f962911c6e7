"""Containers on disk by the command line, as root and as an ordinary user: names, volumes, images in use, sizes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin, make_firkin
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.userns]


def create(box: Firkin, *words: str) -> str:
    return box.run("create", "--network", "none", *words).stdout.strip()


def finish(box: Firkin, name: str) -> int:
    """Start a container and wait for its end."""
    box.run("restart", name)
    return int(box.run("wait", name).stdout)


def shown(box: Firkin, *words: str) -> dict[str, Any]:
    (document,) = json.loads(box.run(*words).stdout)
    assert isinstance(document, dict)
    return document


def volumes(box: Firkin) -> list[str]:
    return box.run("volume", "ls", "-q").stdout.split()


def test_a_new_volume_gets_what_the_image_has_and_outlives_its_containers(box: Firkin) -> None:
    create(box, "--name", "one", "-v", "tools:/bin", "-v", "empty:/none", "box:1", "sh", "-c", "echo 1 >/bin/mine")
    place = Path(shown(box, "volume", "inspect", "tools")["Mountpoint"])
    assert (place / "sh").is_symlink() or (place / "sh").exists()
    assert finish(box, "one") == 0
    box.run("rm", "-v", "one")
    assert volumes(box) == ["empty", "tools"], "named ones stay"
    create(box, "--name", "two", "-v", "tools:/bin:ro", "box:1", "sh", "-c", "cat /bin/mine; echo 2 >/bin/mine")
    assert finish(box, "two") == 1
    assert box.run("logs", "two").stdout == "1\n"
    result = box.run("volume", "rm", "tools", check=False)
    id = shown(box, "inspect", "two")["Id"]
    assert result.returncode == 1 and f"remove tools: volume is in use - [{id}]" in result.stderr
    box.run("rm", "two")
    box.run("volume", "rm", "tools", "empty")
    assert volumes(box) == []


def test_anonymous_volumes_go_with_v_only(box: Firkin) -> None:
    create(box, "--name", "one", "-v", "/data", "box:1", "true")
    (kept,) = volumes(box)
    assert shown(box, "inspect", "one")["Mounts"][0]["Name"] == kept
    box.run("rm", "one")
    assert volumes(box) == [kept]
    create(box, "--name", "one", "-v", "/data", "box:1", "true")
    box.run("rm", "-v", "one")
    assert volumes(box) == [kept]
    assert kept in box.run("volume", "prune", "-f").stdout
    assert volumes(box) == []


def test_files_of_other_ids_are_removed_as_well(box: Firkin) -> None:
    script = "mkdir -p /srv/deep && chown 1000:1000 /srv/deep && chmod 700 /srv/deep /data && echo x >/data/f && chown 5 /data"
    create(box, "--name", "one", "-v", "/data", "box:1", "sh", "-c", script)
    assert finish(box, "one") == 0
    box.run("rm", "-v", "one")
    assert volumes(box) == []
    assert {*os.listdir(box.store / "containers")} == {"lock", "names"}


def test_a_running_one_is_removed_by_force_only(box: Firkin) -> None:
    create(box, "--name", "one", "box:1", "sleep", "1000")
    box.run("restart", "one")
    refused = box.run("rm", "one", check=False)
    assert refused.returncode == 1
    assert 'cannot remove container "/one": container is running' in refused.stderr
    pid = shown(box, "inspect", "one")["State"]["Pid"]
    assert box.run("rm", "-f", "one").stdout == "one\n"
    assert not Path(f"/proc/{pid}/root/bin").exists()
    assert box.run("ps", "-aq").stdout == ""
    actions = box.run("events", "--since", "1h", "--until", "0s", "-f", "container=one", "--format", "{{.Action}}")
    assert actions.stdout.split()[-3:] == ["kill", "die", "destroy"]


def test_one_of_twenty_gets_the_name(box: Firkin) -> None:
    words = ("create", "--name", "one", "--network", "none", "-v", "/data", "box:1", "true")
    makers = [box.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(20)]
    said = [maker.communicate() for maker in makers]
    assert sorted(maker.returncode for maker in makers)[:2] == [0, 1]
    (id,) = [out.decode().strip() for out, _ in said if out]
    lost = [err.decode() for out, err in said if not out]
    assert all(f'"/one" is already in use by container "{id}"' in text for text in lost)
    assert len(volumes(box)) == 1 and box.run("ps", "-aq", "--no-trunc").stdout.split() == [id]


def test_renamed_while_it_runs(box: Firkin) -> None:
    create(box, "--name", "one", "box:1", "sleep", "1000")
    box.run("restart", "one")
    box.run("rename", "one", "two")
    assert box.run("ps", "--format", "{{.Names}}").stdout == "two\n"
    box.run("rm", "-f", "two")
    last = box.run("events", "--since", "1h", "--until", "0s", "--format", "{{.Actor.Attributes.name}}").stdout
    assert last.split()[-1] == "two", "its monitor knows the new name"


def test_the_image_of_a_container_stays(box: Firkin) -> None:
    id = create(box, "--name", "one", "box:1", "sh", "-c", "ls /bin/sh")
    image = shown(box, "inspect", "box:1")["Id"]
    refused = box.run("rmi", "box:1", check=False)
    assert refused.returncode == 1
    assert (
        f'conflict: unable to remove repository reference "box:1" (must force) - container {id[:12]} is using its '
        f"referenced image {image[7:19]}"
    ) in refused.stderr
    box.run("image", "prune", "-af")
    box.run("prune", "--all", check=False)
    box.run("rmi", "-f", "box:1")
    assert finish(box, "one") == 0, "its layers are there"
    box.run("rm", "one")


def test_prune_tells_what_it_freed(box: Firkin) -> None:
    create(box, "--name", "old", "--label", "tier=tin", "box:1", "sh", "-c", "head -c 100000 /dev/zero >/big")
    create(box, "--name", "new", "--label", "tier=gold", "box:1", "sleep", "1000")
    assert finish(box, "old") == 0
    box.run("restart", "new")
    rows = box.run("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}").stdout
    assert "Containers 2 1 100kB 100kB (100%)\n" in rows
    old = shown(box, "inspect", "old")["Id"]
    assert box.run("container", "prune", "-f", "--filter", "label=tier=gold").stdout == "Total reclaimed space: 0B\n"
    assert box.run("container", "prune", "-f", "--filter", "until=1h").stdout == "Total reclaimed space: 0B\n"
    assert box.run("container", "prune", "-f").stdout == f"Deleted Containers:\n{old}\n\nTotal reclaimed space: 100kB\n"
    assert box.run("ps", "-a", "--format", "{{.Names}}").stdout == "new\n"
    box.run("kill", "new")
    box.run("volume", "create")
    pruned = box.run("system", "prune", "-f", "--volumes").stdout
    assert pruned.startswith("Deleted Containers:\n") and "Deleted Volumes:\n" in pruned
    assert box.run("ps", "-aq").stdout == "" and volumes(box) == []


LOOK = r"""cd /; find . -path ./proc -prune -o -path ./sys -prune -o -path ./dev -prune -o -path "./etc/host*" -o -path ./.dockerenv -o -path ./etc/mtab -o \
-path ./etc/resolv.conf -o -print | grep -v -x . | sort | while read -r name; do stat -c '%n %F %a %u %g %s %Y' "$name"; done"""
BUILT = r"""FROM busybox
RUN mkdir -m 1777 /open && mkdir -m 700 /closed && echo secret >/closed/file && chmod 4755 /closed/file && \
    chown 7:8 /closed && ln -s file /closed/link && ln /closed/file /closed/twin && mkdir /gone /opaque && echo x >/opaque/old
RUN rm -r /gone /opaque /closed/link && mkdir /opaque && echo y >/opaque/new
COPY --chown=5:6 Dockerfile /open/Dockerfile
"""


def test_what_a_build_made_is_not_unpacked_again(box: Firkin, registry: Registry) -> None:
    """Its trees serve the container, which sees what another store's sees that unpacked the layers."""
    context = box.directory("context")
    (context / "Dockerfile").write_text(BUILT)
    box.account.give(context)
    box.run("build", "-t", "built:1", context)
    trees = box.store / "trees"
    before = {path.name for path in trees.iterdir()}
    here = box.run("run", "--rm", "--network", "none", "built:1", "sh", "-c", LOOK).stdout
    made = {path.name for path in trees.iterdir()} - before
    assert len(made) == 3  # those of two RUN, and what COPY has as a blob only
    assert [path.stat().st_nlink for path in trees.glob("*/fs/closed/twin") if path.parts[-4] in made] == [4]
    box.run("save", "-o", context / "built.tar", "built:1")
    other = make_firkin("root" if box.account.uid == 0 else "user", box.place / "other", registry.url)
    other.run("load", "-i", context / "built.tar")
    there = other.run("run", "--rm", "--network", "none", "built:1", "sh", "-c", LOOK).stdout
    assert set(here.splitlines()) ^ set(there.splitlines()) == set() and "./closed/twin" in here and "./gone" not in here
