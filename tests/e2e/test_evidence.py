"""Every kind of command and option, as root, as users and in containers without rights: it works, or says why not.

docs/containers-evidence.md is what was seen; it is made anew by `PYTHONPATH=tests python -m e2e.test_evidence`, as root.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.evidence import ENVIRONMENTS, ROWS, SECTIONS, Outcome, control_groups, make_archive, maker, outcomes
from support.places import REPOSITORY
from support.registry import Registry, running_registry

PAGE = REPOSITORY / "docs" / "containers-evidence.md"
HEAD = """# What containers can do, and where

<!-- Made by `PYTHONPATH=tests python -m e2e.test_evidence` as root; tests/support/evidence.py has the scripts. -->

Each row is a script that succeeds only if the thing is there; it was run in five environments. **works**, or **refused**
with the number of the reason below. A container without rights may neither mount nor unshare, as in many CI jobs: there
`run` works in the foreground, for root ([containers.md](containers.md)). Limits are those of a machine with control
groups of {groups} that no service manager shares with users ([limits.md](limits.md)).
"""


@pytest.fixture(scope="module")
def archive(scratch_root: Path, registry: Registry) -> Path:
    return make_archive(maker(scratch_root / "maker", registry.url))


@pytest.mark.root
@pytest.mark.userns
@pytest.mark.registry
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_seen_is_what_the_page_says(name: str, scratch: Path, registry: Registry, archive: Path) -> None:
    seen = outcomes(name, scratch / "firkin", registry.url, archive)
    lines = PAGE.read_text()
    same_groups = f"groups of {control_groups()} " in lines
    told = _told(lines, list(ENVIRONMENTS).index(name))
    differ = [
        f"{row.about}: {cell}, not {told.get(row.about)}"
        for row, outcome in zip(ROWS, seen, strict=True)
        if (same_groups or not row.own_limits) and (cell := _cell(outcome)) != told.get(row.about)
    ]
    assert not differ, "\n".join(differ)


def test_each_refusal_names_a_way_out() -> None:
    reasons = [line for line in PAGE.read_text().splitlines() if line[:1].isdigit()]
    assert reasons
    assert not [line for line in reasons if "; hint: " not in line and ": WARNING: " not in line]


def _cell(outcome: Outcome) -> str:
    """Return what came of a row, as the page has it when the number of the reason is filled in."""
    if outcome.works:
        return "works"
    return "; ".join([f"exit code {outcome.code}: {outcome.error}", *(f"hint: {hint}" for hint in outcome.hints)])


def _told(page: str, column: int) -> dict[str, str]:
    """Return what the page says in a column: row → cell, with the reason in the place of its number."""
    lines = page.splitlines()
    reasons = dict(line.split(". ", 1) for line in lines if line[:1].isdigit())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {
        cells[0]: "works" if cells[column + 1] == "works" else reasons[cells[column + 1].removeprefix("refused ")]
        for cells in rows
    }


def page(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the page: environment → what came of each row."""
    reasons: dict[str, int] = {}

    def shown(outcome: Outcome) -> str:
        if outcome.works:
            return "works"
        return f"refused {reasons.setdefault(_cell(outcome), len(reasons) + 1)}"

    lines = [HEAD.format(groups=control_groups())]
    numbers = {row.about: number for number, row in enumerate(ROWS)}
    for title, rows in SECTIONS.items():
        lines += [f"## {title}", "", f"| | {' | '.join(ENVIRONMENTS.values())} |", "| --- " * (len(found) + 1) + "|"]
        for row in rows:
            cells = " | ".join(shown(found[name][numbers[row.about]]) for name in ENVIRONMENTS)
            lines.append(f"| {row.about} | {cells} |")
        lines.append("")
    lines += ["## Reasons", "", *(f"{number}. {text}" for text, number in reasons.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run everything and write the page."""
    place = Path(tempfile.mkdtemp(prefix="s-"))
    place.chmod(0o755)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    try:
        with running_registry() as registry:
            registry.seed_bases("busybox")
            image = make_archive(maker(place / "maker", registry.url))
            found = {name: outcomes(name, place / name, registry.url, image) for name in ENVIRONMENTS}
        PAGE.write_text(page(found))
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
