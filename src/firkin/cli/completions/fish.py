"""The completion script for fish. Pure. `cli` only."""

from __future__ import annotations

from firkin.cli.completions.words import (
    BEFORE_WITH_VALUE,
    Commands,
    about,
    ask,
    fixed_words,
    groups,
    known_paths,
    operands,
    shown,
    spelled,
    value_kind,
)
from firkin.cli.options import Option


def fish(commands: Commands, program: str = "firkin") -> str:
    """Return the script. The two conditions are asked once for each group and command: fish remembers the answers."""
    lines = [
        f"# fish completion; put it into ~/.config/fish/completions/{program}.fish",
        f"set -g __{program}_known {' '.join(map(_quoted, known_paths()))}",
        f"function __{program}_path  # the words of the command, then how many words were typed after them",
        "    set -l path",
        "    set -l skip no",
        "    set -l more 0",
        "    for word in (commandline -opc)[2..]",
        '        set -l next (string join -- " " $path $word)',
        '        if test $skip = yes; set skip no; continue; end',
        f"        if contains -- $next {' '.join(BEFORE_WITH_VALUE)}; set skip yes; continue; end",
        '        if test $more = 0; and test -z "$path"; and string match -q -- "-*" $word; continue; end',
        f"        if test $more = 0; and contains -- $next $__{program}_known",
        "            set path $path $word",
        "        else",
        "            set more (math $more + 1)",
        "        end",
        "    end",
        '    string join -- " " $path',
        "    return (test $more = 0; and echo 0; or echo 1)",
        "end",
        f"function __{program}_is",
        f'    contains -- "$(__{program}_path)" $argv',
        "end",
        f"function __{program}_at",
        f"    set -l path (__{program}_path); and test \"$path\" = $argv[1]",
        "end",
        f"complete -c {program} -f",
    ]
    for group, words in groups().items():
        when = f"complete -c {program} -n '__{program}_at \"{group}\"' -a"
        lines += [f"{when} {word} -d {_quoted(about(group, word))}" for word in words]
    for name, (_, command) in commands.items():
        names = " ".join(f'"{spelling}"' for spelling in spelled(name))
        when = f"complete -c {program} -n '__{program}_is {names}'"
        lines += [f"{when} {_option(row)}" for row in shown(command.OPTIONS)]
        kind = operands(command)
        if kind in ("images", "both"):
            lines.append(f"{when} -a {_quoted(f'({ask(program)})')}")
        if kind in ("files", "both"):
            lines.append(f"{when} -F")
        first = fixed_words(command)
        if first:
            lines += [f"complete -c {program} -n '__{program}_at \"{word}\"' -a '{' '.join(first)}'"
                      for word in spelled(name)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _option(row: Option) -> str:
    words = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in row.flags]
    if row.choices:
        words.append(f"-x -a '{' '.join(row.choices)}'")
    elif row.wants_value:
        words.append("-r -F" if value_kind(row) == "files" else "-x")
    return " ".join((*words, "-d", _quoted(row.help)))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("`", "") + "'"
