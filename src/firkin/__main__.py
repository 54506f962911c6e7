"""`python -m firkin`: the same as the `firkin` command. Does I/O. Nobody imports it."""

from firkin.cli.main import program

program()
