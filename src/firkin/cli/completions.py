"""Completion scripts for shells, made from the rows of options. Pure. `cli` only.

The shell runs `firkin images --names` to complete names of images.
"""

from __future__ import annotations

from collections.abc import Mapping

from firkin.cli.command import Command
from firkin.cli.commands import group_of, spellings
from firkin.cli.options import Option

Commands = Mapping[str, tuple[str, Command]]
"""name → (its summary, the command)"""

_FILES = ("FILE", "PATH", "DIR")
# Words before a command, as in docker: `image ls`.
_GROUPS = {group: tuple(group_of([group])) for group in ("builder", "buildx", "image", "system")}
_ASK = "firkin images --names 2>/dev/null"


def shown(rows: tuple[Option, ...]) -> tuple[Option, ...]:
    """Return the options that have an effect."""
    return tuple(row for row in rows if row.dest)


def takes_images(command: Command) -> bool:
    """Tell whether the operands of a command are images of the store."""
    words = command.USAGE.split()
    return len(words) > 1 and words[1].rstrip(".") == "IMAGE"


def bash(commands: Commands) -> str:
    """Return a completion script for bash. Colons end words there, so it removes what stands before one."""
    cases = []
    for name, (_, command) in commands.items():
        rows = shown(command.OPTIONS)
        words = " ".join(flag for row in rows for flag in row.flags if flag.startswith("--"))
        choices = "".join(
            f"        {'|'.join(row.flags)})\n"
            f"          COMPREPLY=($(compgen -W '{' '.join(row.choices)}' -- \"$word\")); return;;\n"
            for row in rows
            if row.choices
        )
        inner = f'      case "$before" in\n{choices}      esac\n' if choices else ""
        images = " images=yes" if takes_images(command) else ""
        cases.append(f"    {_pattern(name)})\n{inner}      options='{words}'{images};;\n")
    groups = "".join(f"    {group}) words='{' '.join(words)}';;\n" for group, words in _GROUPS.items())
    return (
        "# bash completion for firkin; put it into ~/.local/share/bash-completion/completions/firkin\n"
        "_firkin() {\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" options=\'\' images=\'\' typed\n'
        "  local name=\"${COMP_WORDS[1]}\" words=''\n"
        # bash treats `=` as a word of its own
        '  if [ "$word" = = ]; then word=\'\'; elif [ "$before" = = ]; then before="${COMP_WORDS[COMP_CWORD-2]}"; fi\n'
        "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        f"    COMPREPLY=($(compgen -W '{' '.join(commands)} --help --version' -- \"$word\")); return\n"
        "  fi\n"
        f'  case "$name" in\n{groups}  esac\n'
        '  if [ -n "$words" ]; then\n'
        '    if [ "$COMP_CWORD" -eq 2 ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); return; fi\n'
        '    name="$name ${COMP_WORDS[2]}"\n'
        "  fi\n"
        f"  case \"$name\" in\n{''.join(cases)}"
        "  esac\n"
        '  typed="${COMP_LINE:0:COMP_POINT}"; typed="${typed##* }"\n'
        '  case "$word" in\n'
        "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\"));;\n"
        '    *) if [ -n "$images" ]; then\n'
        f'         compopt +o filenames 2>/dev/null; COMPREPLY=($(compgen -W "$({_ASK})" -- "$typed"))\n'
        '         COMPREPLY=("${COMPREPLY[@]#"${typed%"${typed##*:}"}"}")\n'
        '       else COMPREPLY=($(compgen -f -- "$word")); fi;;\n'
        "  esac\n"
        "}\n"
        "complete -o filenames -F _firkin firkin\n"
    )


def zsh(commands: Commands) -> str:
    """Return a completion script for zsh, a function of its compsys."""
    listed = " ".join(_quoted(f"{name}:{_plain(summary)}") for name, (summary, _) in commands.items())
    cases = []
    for name, (_, command) in commands.items():
        specs = [_zsh_option(row) for row in shown(command.OPTIONS)]
        specs.append("'*:image:_firkin_images'" if takes_images(command) else "'*:file:_files'")
        lines = " \\\n        ".join(specs)
        cases.append(f"    {_pattern(name)})\n      _arguments -s -S : \\\n        {lines};;\n")
    groups = "".join(f"    {group}) words_of_group=({' '.join(words)});;\n" for group, words in _GROUPS.items())
    return (
        "#compdef firkin\n"
        "# zsh completion for firkin; put it into a directory of $fpath as _firkin\n"
        "_firkin_images() {\n"
        "  local -a images\n"
        f'  images=("${{(@f)$({_ASK})}}")\n'
        '  compadd -a images\n'
        "}\n"
        "_firkin() {\n"
        "  local -a commands words_of_group\n"
        f"  commands=({listed})\n"
        "  if (( CURRENT == 2 )); then _describe -t commands 'firkin command' commands; return; fi\n"
        "  local name=${words[2]}\n"
        "  shift words; (( CURRENT-- ))\n"
        f"  case $name in\n{groups}  esac\n"
        "  if (( $#words_of_group )); then\n"
        "    if (( CURRENT == 2 )); then compadd -a words_of_group; return; fi\n"
        '    name="$name ${words[2]}"; shift words; (( CURRENT-- ))\n'
        "  fi\n"
        "  case $name in\n"
        f"{''.join(cases)}"
        "  esac\n"
        "}\n"
        # compinit loads this as the body of the function; a shell that sources it must register the function.
        'if [ "$funcstack[1]" = _firkin ]; then _firkin "$@"; else compdef _firkin firkin; fi\n'
    )


def fish(commands: Commands) -> str:
    """Return a completion script for fish."""
    place = "~/.config/fish/completions/firkin.fish"
    lines = [
        f"# fish completion for firkin; put it into {place}",
        "function __firkin_is",
        "    set -l words (commandline -opc)",
        "    set -l name $words[2]",
        f"    contains -- \"$name\" {' '.join(_GROUPS)}; and set name \"$name $words[3]\"",
        '    contains -- "$name" $argv',
        "end",
        "complete -c firkin -f",
    ]
    for name, (summary, _) in commands.items():
        lines.append(f"complete -c firkin -n __fish_use_subcommand -a {name} -d {_fish(summary)}")
    for group, follow in _GROUPS.items():
        lines.append(f"""complete -c firkin -n '__firkin_is "{group} "' -a '{' '.join(follow)}'""")
    for name, (_, command) in commands.items():
        names = " ".join(f'"{spelling}"' for spelling in (name, *spellings(name)))
        when = f"complete -c firkin -n '__firkin_is {names}'"
        lines += [f"{when} {_fish_option(row)}" for row in shown(command.OPTIONS)]
        lines.append(f"{when} -a {_fish(f'({_ASK})')}" if takes_images(command) else f"{when} -F")
    return "\n".join(lines) + "\n"


def _pattern(name: str) -> str:
    """Return the pattern of a shell's `case` that matches all spellings of a command."""
    return "|".join((name, *(f"'{spelling}'" for spelling in spellings(name))))


def _is_file(row: Option) -> bool:
    return any(word in row.metavar for word in _FILES)


def _zsh_option(row: Option) -> str:
    """Return the specs of an option, one for each spelling. Spec: zshcompsys(1), _arguments."""
    about = f"[{_plain(row.help)}]"
    value = ""
    if row.wants_value:
        action = f"({' '.join(row.choices)})" if row.choices else "_files" if _is_file(row) else " "
        value = f":{_plain(row.metavar)}:{action}"
    specs = []
    for flag in row.flags:
        joined = "" if not row.wants_value else "=" if flag.startswith("--") else "+"
        specs.append(_quoted(f"*{flag}{joined}{about}{value}"))
    return " ".join(specs)


def _fish_option(row: Option) -> str:
    words = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in row.flags]
    if row.choices:
        words.append(f"-x -a '{' '.join(row.choices)}'")
    elif row.wants_value:
        words.append("-r -F" if _is_file(row) else "-x")
    return " ".join((*words, "-d", _fish(row.help)))


def _plain(text: str) -> str:
    """Return the text without the characters that are special to _arguments and _describe."""
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text.replace("`", "")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("`", "") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
