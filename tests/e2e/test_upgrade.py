"""A store of an earlier version is taken up as it is: what was built is cached, what was named is there."""

import re
import subprocess
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.marks import ROOT_AND_USER
from support.old_stores import BUILDS, make_context, old_stores, unpack_store


@pytest.fixture(params=ROOT_AND_USER)
def firkin(request: pytest.FixtureRequest, scratch: Path) -> Firkin:
    return make_firkin(request.param, scratch / "firkin")


@pytest.mark.parametrize("version", sorted(old_stores()))
def test_a_build_after_an_upgrade_is_cached(firkin: Firkin, scratch: Path, version: int) -> None:
    unpack_store(version, firkin.place)
    account = firkin.account
    subprocess.run(["chown", "-hR", f"{account.uid}:{account.gid}", str(firkin.store)], check=True)
    context = make_context(scratch / "context")
    before = firkin.run("images", "--digests", "--no-trunc").stdout
    assert {name for name, _, _ in BUILDS} == {":".join(line.split()[:2]) for line in before.splitlines()[1:]}
    for name, file, platforms in BUILDS:
        arguments = ("-t", name, "-f", context / file, "--platform", platforms, "--require-cached", context)
        said = firkin.run("build", "--progress=plain", *arguments).stderr
        steps = set(re.findall(r"^#(\d+) \[", said, re.MULTILINE))
        assert steps and steps == set(re.findall(r"^#(\d+) CACHED", said, re.MULTILINE))
        assert "empty now" not in said
    assert firkin.run("images", "--digests", "--no-trunc").stdout == before
    pruned = firkin.run("prune").stdout
    assert "cache mount" in pruned
    assert firkin.run("images", "--digests", "--no-trunc").stdout == before
    assert (firkin.store / "version").read_text() != f"{version}\n"
