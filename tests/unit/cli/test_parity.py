"""No option of docker, buildx, skopeo or crane without an answer: it works, is refused or ignored, or has a reason."""

import shutil

import pytest
from support.parity import REASONS, TOOLS, asked, entry_of, here_as, listed, page, unexplained
from support.places import REPOSITORY

EVERY = [(tool, command) for tool in TOOLS for command in listed(tool)]


@pytest.mark.parametrize(("tool", "command"), EVERY, ids=[f"{tool}-{command}" for tool, command in EVERY])
def test_every_option_has_an_answer(tool, command):
    missing = unexplained(tool, command, listed(tool)[command])
    assert missing == []


@pytest.mark.parametrize("tool", ["docker", "skopeo"])
def test_every_option_of_the_installed_tool_has_an_answer(tool):
    """Whatever its version: what it has beyond the list is an option like the others."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    found = {command: options for command, options in asked([tool]) if not command.startswith(("help", "buildx"))}
    assert len(found) > 8
    missing = {command: unexplained(tool, command, options) for command, options in found.items()}
    assert {name: why for name, why in missing.items() if why} == {}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_table_speaks_of_what_is_there(tool):
    commands, reasons = listed(tool), REASONS[tool]
    first = {command.partition(" ")[0] for command in commands}
    assert [name for name in reasons["commands"] if name not in commands and name not in first] == []
    known = {f"{command} {option}" for command, options in commands.items() for option in (*options, "*")}
    assert [option for option in reasons["options"] if option not in known] == []


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_called_absent_that_is_here(tool):
    here = [command for command in listed(tool) if "absent" in entry_of(tool, command)]
    prefix = ["buildx"] if tool == "buildx" else []
    assert [name for name in here if here_as([*prefix, *name.split()])] == []


def test_the_page_is_up_to_date():
    written = (REPOSITORY / "docs/coming-from-docker.md").read_text()
    assert written == page(), "in tests/, run `python -m support.parity > ../docs/coming-from-docker.md`"
