"""Completion scripts for shells, made from the rows of options; one file a shell. Pure. `cli` only.

A script holds everything but the names of images: for these the shell runs `firkin completion --names`.
"""

from __future__ import annotations

from firkin.cli.completions.bash import bash
from firkin.cli.completions.fish import fish
from firkin.cli.completions.zsh import zsh

SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
"""shell → the function from commands, and the name that the command line is called by, to a script"""
