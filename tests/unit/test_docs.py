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
