"""The completion script for bash. Pure. `cli` only."""

from __future__ import annotations

from firkin.cli.command import Command
from firkin.cli.completions.words import (
    BEFORE_WITH_VALUE,
    Commands,
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


def bash(commands: Commands, program: str = "firkin") -> str:
    """Return the script. Colons and equals signs end words there, so it removes what stands before a colon."""
    listed = "".join(f"    {quoted(group)}) words='{' '.join(words)}';;\n" for group, words in groups().items())
    cases = "".join(_case(name, command) for name, (_, command) in commands.items())
    return (
        f"# bash completion; put it into ~/.local/share/bash-completion/completions/{program}\n"
        f"_{program}() {{\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" at=1 path=\'\' next\n'
        "  local words='' options='' takes='' first='' typed\n"
        # bash treats `=` as a word of its own
        '  if [ "$word" = = ]; then word=\'\'; elif [ "$before" = = ]; then before="${COMP_WORDS[COMP_CWORD-2]}"; fi\n'
        '  while [ "$at" -lt "$COMP_CWORD" ]; do\n'
        '    next="${path:+$path }${COMP_WORDS[at]}"\n'
        '    case "$next" in\n'
        f"      {'|'.join(BEFORE_WITH_VALUE)}) at=$((at + 1));;\n"
        "      -*) ;;\n"
        f"      {'|'.join(map(quoted, known_paths()))}) path=\"$next\";;\n"
        "      *) break;;\n"
        "    esac\n"
        "    at=$((at + 1))\n"
        "  done\n"
        f'  case "$path" in\n{listed}  esac\n'
        '  if [ "$at" -ge "$COMP_CWORD" ] && [ -n "$words" ]; then\n'
        '    [ -n "$path" ] || words="$words --help --version"\n'
        '    COMPREPLY=($(compgen -W "$words" -- "$word")); return\n'
        "  fi\n"
        f'  case "$path" in\n{cases}    *) return;;\n  esac\n'
        '  typed="${COMP_LINE:0:COMP_POINT}"; typed="${typed##* }"\n'
        '  case "$word" in\n'
        "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")); return;;\n"
        "  esac\n"
        '  if [ -n "$first" ] && [ "$at" -eq "$COMP_CWORD" ]; then\n'
        '    COMPREPLY=($(compgen -W "$first" -- "$word")); return\n'
        "  fi\n"
        '  case "$takes" in\n'
        "    images|both)\n"
        f'      compopt +o filenames 2>/dev/null; COMPREPLY=($(compgen -W "$({ask(program)})" -- "$typed"))\n'
        '      COMPREPLY=("${COMPREPLY[@]#"${typed%"${typed##*:}"}"}");;\n'
        "  esac\n"
        '  case "$takes" in\n'
        '    files|both) [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"));;\n'
        "  esac\n"
        "}\n"
        f"complete -o filenames -F _{program} {program}\n"
    )


def _case(name: str, command: Command) -> str:
    rows = shown(command.OPTIONS)
    words = " ".join(flag for row in rows for flag in row.flags if flag.startswith("--"))
    first = fixed_words(command)
    known = f"options='{words}' takes={operands(command)}" + (f" first='{' '.join(first)}'" if first else "")
    values = _values(rows)
    inner = f'      case "$before" in\n{values}      esac\n' if values else ""
    return f"    {'|'.join(map(quoted, spelled(name)))})\n{inner}      {known};;\n"


def _values(rows: tuple[Option, ...]) -> str:
    """Return the cases of options that take a value: what follows them."""
    lines = [
        f"        {'|'.join(row.flags)}) COMPREPLY=($(compgen -W '{' '.join(row.choices)}' -- \"$word\")); return;;\n"
        for row in rows
        if row.choices
    ]
    plain = [row for row in rows if row.wants_value and not row.choices]
    for kind, action in (("files", 'COMPREPLY=($(compgen -f -- "$word")); return'), ("nothing", "return")):
        flags = [flag for row in plain if value_kind(row) == kind for flag in row.flags]
        lines += [f"        {'|'.join(flags)}) {action};;\n"] if flags else []
    return "".join(lines)
