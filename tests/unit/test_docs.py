"""The pages of docs/: listed, linked, and without dead ends."""

import re
from pathlib import Path

import pytest
from support.places import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def links(page: Path) -> list[Path]:
    """Return the files that a page links to."""
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    return [(page.parent / target).resolve() for target in targets]


@pytest.mark.parametrize("page", [*PAGES, *REPOSITORY.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert [target for target in links(page) if not target.exists()] == []


def test_the_index_lists_every_page():
    assert set(PAGES) - set(links(DOCS / "README.md")) == {DOCS / "README.md"}


def test_the_readme_leads_to_the_index():
    assert "docs/README.md" in (REPOSITORY / "README.md").read_text()


def test_claims_of_security_are_held_by_tests_that_exist():
    """Every name of a test in docs/security.md is that of a test; every table of claims has one in each row."""
    page = (DOCS / "security.md").read_text()
    sources = [path.read_text() for path in (REPOSITORY / "tests").glob("**/test_*.py")]
    defined = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30 and named - defined == set()
    assert [name for name in re.findall(r"`(tests/[\w/]+\.py)`", page) if not (REPOSITORY / name).exists()] == []
    for header, rows in re.findall(r"^(\| claim.*)\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        assert header.endswith("held by |")
        assert [row for row in rows.splitlines() if "`test" not in row.split("|")[-2]] == []
