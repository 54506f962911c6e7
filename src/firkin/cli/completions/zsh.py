"""The completion script for zsh, a function of its compsys. Pure. `cli` only."""

from __future__ import annotations

from firkin.cli.command import Command
from firkin.cli.completions.words import (
    BEFORE_WITH_VALUE,
    Commands,
    about,
    ask,
    fixed_words,
    groups,
    known_paths,
    operands,
    quoted,
    shown,
    spelled,
    value_kind,
)
from firkin.cli.options import Option


def zsh(commands: Commands, program: str = "firkin") -> str:
    """Return the script."""
    listed = "".join(
        f"    {quoted(group)}) listed=({' '.join(_described(group, word) for word in words)});;\n"
        for group, words in groups().items()
    )
    cases = "".join(_case(name, command, program) for name, (_, command) in commands.items())
    return (
        f"#compdef {program}\n"
        f"# zsh completion; put it into a directory of $fpath as _{program}\n"
        f"_{program}_images() {{\n"
        "  local -a images\n"
        f'  images=("${{(@f)$({ask(program)})}}")\n'
        "  compadd -a images\n"
        "}\n"
        f"_{program}_both() {{ _{program}_images; _files }}\n"
        f"_{program}() {{\n"
        "  local name='' next at=2\n"
        "  local -a listed\n"
        "  while (( at < CURRENT )); do\n"
        '    next="${name:+$name }${words[at]}"\n'
        "    case $next in\n"
        f"      {'|'.join(BEFORE_WITH_VALUE)}) (( at++ ));;\n"
        "      -*) ;;\n"
        f"      {'|'.join(map(quoted, known_paths()))}) name=$next;;\n"
        "      *) break;;\n"
        "    esac\n"
        "    (( at++ ))\n"
        "  done\n"
        f"  case $name in\n{listed}  esac\n"
        f"  if (( at >= CURRENT && $#listed )); then _describe -t commands '{program} command' listed; return; fi\n"
        "  (( at -= 2 )); shift $at words; (( CURRENT -= at ))\n"
        f"  case $name in\n{cases}  esac\n"
        "}\n"
        # compinit loads this as the body of the function; a shell that sources it must register the function.
        f'if [ "$funcstack[1]" = _{program} ]; then _{program} "$@"; else compdef _{program} {program}; fi\n'
    )


def _described(group: str, word: str) -> str:
    text = about(group, word)
    return quoted(f"{word}:{_plain(text)}" if text else word)


def _case(name: str, command: Command, program: str) -> str:
    specs = [_option(row) for row in shown(command.OPTIONS)]
    first = fixed_words(command)
    if first:
        specs.append(f"'1:word:({' '.join(first)})'")
    actions = {"images": f"_{program}_images", "files": "_files", "both": f"_{program}_both"}
    kind = operands(command)
    if kind != "nothing":
        specs.append(f"'*:{kind}:{actions[kind]}'")
    lines = " \\\n        ".join(specs)
    return f"    {'|'.join(map(quoted, spelled(name)))})\n      _arguments -s -S : \\\n        {lines};;\n"


def _option(row: Option) -> str:
    """Return the specs of an option, one for each spelling. Spec: zshcompsys(1), _arguments."""
    help = f"[{_plain(row.help)}]"
    value = ""
    if row.wants_value:
        action = f"({' '.join(row.choices)})" if row.choices else "_files" if value_kind(row) == "files" else " "
        value = f":{_plain(row.metavar)}:{action}"
    specs = []
    for flag in row.flags:
        joined = "" if not row.wants_value else "=" if flag.startswith("--") else "+"
        specs.append(quoted(f"*{flag}{joined}{help}{value}"))
    return " ".join(specs)


def _plain(text: str) -> str:
    """Return the text without the characters that are special to _arguments and _describe."""
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text.replace("`", "")
