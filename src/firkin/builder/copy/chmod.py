"""--chmod: octal and symbolic modes. Pure. The copy planner imports it.

Mirrors: tonistiigi/dchapes-mode (BSD setmode, except that X works as in chmod(1)). BuildKit's copier gives it the
umask 0, so a clause without a class means the same as one with `a`.
"""

from __future__ import annotations

from typing import NamedTuple

_STANDARD = 0o6777
_SETUID, _SETGID, _STICKY = 0o4000, 0o2000, 0o1000
_EVERY = 0o7777


class _Command(NamedTuple):
    """`bits` to set (+), clear (-) or set where executable (X); or a class (u, g, o) to copy with `operator`."""

    kind: str
    bits: int
    operator: str = ""
    classes: str = ""


class Chmod(NamedTuple):
    """A change of mode. `octal` is the new mode, or None where `commands` compute it from the old one."""

    octal: int | None
    commands: tuple[_Command, ...] = ()

    @property
    def made_dir_mode(self) -> int:
        """The mode of directories that a copy makes for its destination, without special bits."""
        return 0o755 if self.octal is None else self.octal & 0o777

    def apply(self, mode: int, is_dir: bool) -> int:
        """Return the mode (07777) that a file or directory of `mode` gets."""
        if self.octal is not None:
            return self.octal
        new = mode
        for command in self.commands:
            match command.kind:
                case "+":
                    new |= command.bits
                case "-":
                    new &= ~command.bits
                case "X":
                    if is_dir or mode & 0o111:
                        new |= command.bits
                case source:
                    value = new >> {"u": 6, "g": 3, "o": 0}[source] & 7
                    for who in command.classes:
                        shift = {"u": 6, "g": 3, "o": 0}[who]
                        if command.operator in "-=":
                            new &= ~((7 if command.operator == "=" else value) << shift & command.bits)
                        if command.operator in "+=":
                            new |= value << shift & command.bits
        return new & 0o7777


def parse_chmod(text: str) -> Chmod:
    """Read an octal (0 to 07777) or symbolic (`u+rwX,go=`) mode; raises ValueError with the reason."""
    if text[:1].isdigit():
        if not set(text) <= set("01234567") or int(text, 8) > 0o7777:
            raise ValueError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        return Chmod(int(text, 8))
    commands: list[_Command] = []
    for clause in text.split(","):
        commands += _parse_clause(clause, text)
    return Chmod(None, tuple(commands))


def _parse_clause(clause: str, text: str) -> list[_Command]:
    """Read `[ugoa…](op[perm…])…`. Without a class, an operator applies to all classes; `=` keeps the sticky bit."""
    rest = clause.lstrip("ugoa")
    classes = clause[: len(clause) - len(rest)]
    who = 0
    for letter in classes:
        who |= {"a": _STANDARD, "u": _SETUID | 0o700, "g": _SETGID | 0o070, "o": 0o007}[letter]
    if not rest or rest[0] not in "+-=":
        raise ValueError(f"invalid chmod parameter: '{text}'. it should be octal or symbolic (as in u=rwx,go=rX)")
    commands: list[_Command] = []
    while rest:
        operator, rest = rest[0], rest[1:]
        tail = rest.lstrip("rwxXstugo")
        letters, rest = rest[: len(rest) - len(tail)], tail
        if rest and rest[0] not in "+-=":
            raise ValueError(f"invalid chmod parameter: '{text}': unknown character '{rest[0]}'")
        who &= ~_STICKY
        reading = _Permissions(operator, who)
        for letter in letters:
            reading.take(letter)
        reading.flush(final=True)
        commands += reading.commands
        who = reading.who
    return commands


_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": 0o111}


class _Permissions:
    """The commands of one operator, while its letters are read. `who` is the bits of its classes; `t` adds one."""

    def __init__(self, operator: str, who: int) -> None:
        self.commands: list[_Command] = []
        self.who = who
        self._operator = operator
        self._bits = 0
        self._if_executable = 0
        self._cleared = False  # whether `=` has cleared the old bits

    def take(self, letter: str) -> None:
        """Take one letter of `rwxXstugo`."""
        if letter == "X" and self._operator != "-":  # `-X` is `-x`: without an x bit there is none to clear
            self._if_executable = 0o111
        elif letter in "rwxX":
            self._bits |= _PERMISSIONS[letter.lower()]
        elif letter in "st":
            self._special(letter)
        else:
            self._copy(letter)

    def _special(self, letter: str) -> None:
        if self.who and not self.who & ~0o007:
            return  # the class `o` alone has no setuid, setgid or sticky bit
        if letter == "s":
            self._bits |= _SETUID | _SETGID
        else:
            self.who |= _STICKY
            self._bits |= _STICKY

    def _copy(self, source: str) -> None:
        """Take a class (u, g, o) whose permissions are copied."""
        self.flush(final=False)
        if self._operator == "=":
            self._cleared = True
        classes = "".join(name for name, bit in (("u", 0o400), ("g", 0o040), ("o", 0o004)) if self.who & bit)
        self.commands.append(_Command(source, _EVERY, self._operator, classes if self.who else "ugo"))

    def flush(self, *, final: bool) -> None:
        """Add the commands of the letters so far; at the end, `=` without letters clears all bits."""
        every = self.who or _EVERY
        if self._bits or (final and self._operator == "=" and not self._cleared):
            if self._operator == "=":
                self.commands.append(_Command("-", self.who or _STANDARD))
                self._cleared = True
            self.commands.append(_Command("-" if self._operator == "-" else "+", self._bits & every))
            self._bits = 0
        if self._if_executable:
            self.commands.append(_Command("X", self._if_executable & every))
            self._if_executable = 0
