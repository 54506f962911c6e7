"""The lists of commands, as docker prints them. Pure. `cli.main` only, loaded when one is asked for."""

from firkin.cli.commands import ALIASES, COMMANDS, group_of

_GROUPS = {
    "builder": "Manage builds",
    "builds": "Look at earlier builds",
    "buildx": "Build as `docker buildx` does",
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Manage image manifests and manifest lists",
    "system": "Manage the store",
    "volume": "Manage volumes",
}
_ABOUT = "Build container images and work with them, with no daemon and no privileges"


def command_list(program: str) -> str:
    """Return the text of `firkin --help`."""
    from firkin.cli.before import ROWS

    listed = {name: summary for name, (_, summary) in COMMANDS.items() if " " not in name}
    groups = {group: _GROUPS.get(group, f"Commands of {group}") for group in group_names()}
    options = {", ".join(sorted(row.flags, key=len)) + f" {row.metavar}".rstrip(): row.help for row in ROWS if row.dest}
    return (
        f"Usage:  {program} [OPTIONS] COMMAND\n\n{_ABOUT}\n\n"
        f"{_table('Commands', listed)}\n{_table('Management Commands', groups)}\n{_table('Global Options', options)}\n"
        f"Run '{program} COMMAND --help' for more information on a command.\n"
    )


def group_list(program: str, group: list[str]) -> str:
    """Return the text of `firkin GROUP --help`."""
    words = " ".join((program, *group))
    about = _GROUPS.get(" ".join(group), f"Commands of {' '.join(group)}")
    return (
        f"Usage:  {words} COMMAND\n\n{about}\n\n{_table('Commands', group_of(group))}\n"
        f"Run '{words} COMMAND --help' for more information on a command.\n"
    )


def group_names() -> list[str]:
    """Return the first words of the commands of several words, in order."""
    first = {name.partition(" ")[0] for name in (*COMMANDS, *ALIASES) if " " in name}
    return sorted(first)


def _table(heading: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows), default=0)
    return f"{heading}:\n" + "".join(f"  {name:<{width}}  {about}\n" for name, about in sorted(rows.items()))
