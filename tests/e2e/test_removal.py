"""Removing, pruning and counting, with docker's words, as root and as an ordinary user."""

from __future__ import annotations

import json

import pytest
from support.accounts import Firkin

pytestmark = pytest.mark.registry


@pytest.fixture
def built(firkin: Firkin) -> Firkin:
    """A firkin whose store holds app:1 and, without a name, the image that had it before."""
    context = firkin.directory("context")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\nLABEL keep=1\n")
    for text in ("one\n", "two\n"):
        (context / "hello").write_text(text * 1000)
        firkin.account.give(context)
        firkin.run("build", "-t", "app:1", context)
    return firkin


def blobs(firkin: Firkin) -> int:
    return len(list((firkin.store / "oci/blobs/sha256").iterdir()))


def test_removing_by_name_and_id(built: Firkin) -> None:
    id = built.run("images", "-q", "--no-trunc", "app:1").stdout.strip()
    built.run("tag", "app:1", "app:2")
    assert built.run("rmi", "app:2").stdout == "Untagged: app:2\n"
    built.run("tag", "app:1", "other:2")
    refused = built.run("rmi", id, check=False)
    assert refused.returncode == 1 and refused.stdout == ""
    assert f"conflict: unable to delete {id[7:19]} (must be forced) - image is referenced in multiple" in refused.stderr
    assert "app:1, other:2" in refused.stderr
    result = built.run("rmi", "nothing:1", "app:1", "nothing:2", check=False)
    assert (result.returncode, result.stdout) == (1, "Untagged: app:1\n")
    assert "No such image: nothing:1" in result.stderr and "No such image: nothing:2" in result.stderr
    before = blobs(built)
    assert built.run("image", "rm", id[7:17]).stdout.splitlines()[:2] == ["Untagged: other:2", f"Deleted: {id}"]
    assert blobs(built) < before
    assert built.run("rmi", "-f", "app:1").returncode == 0


def test_a_question_that_is_declined_is_no_failure(built: Firkin) -> None:
    for answer in ("", "n\n", "yes\n"):
        result = built.run("image", "prune", input=answer)
        assert result.stderr == "" and result.stdout == (
            "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
        )
    assert "Total reclaimed space: " in built.run("image", "prune", input="y\n").stdout
    assert built.run("image", "prune", "-f").stdout == "Total reclaimed space: 0B\n"


def test_pruning_images(built: Firkin) -> None:
    told = built.run("image", "prune", "-f", "--filter", "label!=keep")
    assert told.stdout == "Total reclaimed space: 0B\n"
    assert built.run("image", "prune", "-f", "--filter", "until=1h").stdout == "Total reclaimed space: 0B\n"
    pruned = built.run("image", "prune", "-f", "--filter", "label=keep=1").stdout.splitlines()
    assert pruned[0] == "Deleted Images:" and pruned[1].startswith("deleted: sha256:")
    assert pruned[-2] == "" and pruned[-1].startswith("Total reclaimed space: ") and pruned[-1] != "Total reclaimed space: 0B"
    assert "untagged: app:1" in built.run("image", "prune", "-af").stdout
    refused = built.run("image", "prune", "-f", "--filter", "reference=app", check=False)
    assert refused.returncode == 1 and "invalid filter 'reference'" in refused.stderr


def test_the_filters_of_dockers_configuration_count(built: Firkin) -> None:
    folder = built.directory("docker")
    (folder / "config.json").write_text('{"pruneFilters": ["label!=keep"]}')
    built.account.give(folder)
    result = built.run("image", "prune", "-af", env={"DOCKER_CONFIG": str(folder)})
    assert result.stdout == "Total reclaimed space: 0B\n"


def test_counting(built: Firkin) -> None:
    rows = [line.split() for line in built.run("system", "df").stdout.splitlines()]
    assert rows[0] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert rows[1] == ["Images", "2", "0", "8kB", "8kB", "(100%)"]
    assert rows[4][:4] == ["Build", "Cache", "2", "0"]
    documents = [json.loads(line) for line in built.run("system", "df", "--format", "json").stdout.splitlines()]
    assert [document["Type"] for document in documents] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert built.run("system", "df", "--format", "{{.Type}}={{.TotalCount}}").stdout.splitlines()[0] == "Images=2"
    text = built.run("system", "df", "-v").stdout
    assert text.startswith("Images space usage:\n\nREPOSITORY") and "\nBuild cache usage: " in text
    assert len(json.loads(built.run("system", "df", "-v", "--format", "json").stdout)["Images"]) == 2
    du = built.run("buildx", "du").stdout
    assert du.startswith("ID ") and du.splitlines()[-1].startswith("Total:\t\t")
    assert "COPY hello /hello" in built.run("buildx", "du", "--format", "{{.Description}}").stdout


def test_pruning_the_cache(built: Firkin) -> None:
    assert built.run("buildx", "prune", "-f", "--filter", "until=1h").stdout == "Total:\t0B\n"
    assert built.run("buildx", "prune", input="n\n").stdout == (
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] "
    )
    ids = built.run("buildx", "du", "--format", "{{.ID}}").stdout.split()
    built.run("buildx", "prune", "-f", "--filter", f"id~=^{ids[0]}$")
    left = built.run("buildx", "du", "--format", "{{.ID}}").stdout.split()
    assert len(ids) > 1 and set(left) == set(ids[1:]), "only what fits the filter"
    unknown = built.run("buildx", "prune", "-f", "--filter", "colour=red", check=False)
    assert unknown.returncode == 1 and "invalid filter 'colour'" in unknown.stderr
    told = built.run("builder", "prune", "-af")
    assert not told.stdout.endswith("Total:\t0B\n") and told.stdout.splitlines()[-1].startswith("Total:\t")
    assert not told.stderr and not built.run("buildx", "du", "--format", "{{.ID}}").stdout, "though it was just built"
    refused = built.run("prune", "--older-than", "0s", check=False)
    assert refused.returncode == 1 and "0 has no meaning" in refused.stderr


def test_pruning_everything(built: Firkin) -> None:
    declined = built.run("system", "prune", "-a", "--filter", "label=keep", input="n\n")
    assert "  - all build cache\n" in declined.stdout and "  - label=keep\n" in declined.stdout
    told = built.run("system", "prune", "-af").stdout
    assert "untagged: app:1" in told and told.splitlines()[-1].startswith("Total reclaimed space: ")
    assert built.run("images", "-aq").stdout == ""
    refused = built.run("system", "prune", "--volumes", "--filter", "until=1h", check=False)
    assert refused.returncode == 1 and 'The "until" filter is not supported with "--volumes"' in refused.stderr
