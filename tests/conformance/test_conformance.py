"""Every case of the corpus, built as root and as an ordinary user, gives what the reference builder gives.

One store serves all cases of an account, as it would on a developer's machine: bases are unpacked once, and a cache
key that fails to tell two cases apart shows as a failure. The README beside this file describes the cases.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import corpus
from support.accounts import make_firkin, remove_with_subordinate_ids
from support.marks import ROOT_AND_USER
from support.registry import Registry

CASES = {case.name: case for case in corpus.load_cases([], "root")}


@pytest.fixture(scope="module", params=ROOT_AND_USER)
def runner(request: pytest.FixtureRequest, scratch_root: Path, registry: Registry) -> Iterator[tuple[str, Any]]:
    """The corpus's runner for one account, with a store of its own."""
    place = Path(tempfile.mkdtemp(dir=scratch_root))
    place.chmod(0o755)
    before = os.umask(0o022)
    yield request.param, corpus.make_runner(make_firkin(request.param, place / "firkin", registry.url))
    os.umask(before)
    remove_with_subordinate_ids(place)


@pytest.mark.registry
@pytest.mark.parametrize("name", CASES)
def test_case(runner: tuple[str, Any], name: str) -> None:
    kind, judge = runner
    case = CASES[name]
    if kind != "root" and corpus.NEEDS_ROOT & set(case.tags):
        pytest.skip("nobody can make devices in a user namespace")
    outcome = judge.check(case)
    assert not outcome.problems, "\n".join([case.title, *outcome.problems, "", outcome.log[-4000:]])
