"""--chmod: octal and symbolic modes. Pure. Solve and whoever checks flags may import it.

Mirrors: tonistiigi/dchapes-mode (BSD setmode, but for X as chmod(1) has it), with the umask 0 that BuildKit's copier
gives it: a clause without a class is as one with `a`.
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
        """The mode of directories that a copy makes for its destination: special bits are lost there."""
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
    """Read `[ugoa…](op[perm…])…`. Without a class, all bits count that an operator names; `=` leaves the sticky one."""
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
        who = _permissions(commands, operator, letters, who)
    return commands


def _permissions(commands: list[_Command], operator: str, letters: str, who: int) -> int:
    """Add the commands of one operator; return `who`, which `t` widens."""
    bits = executable = 0
    cleared = False

    def flush(final: bool) -> None:
        nonlocal bits, executable, cleared
        if bits or (final and operator == "=" and not cleared):
            if operator == "=":
                commands.append(_Command("-", who or _STANDARD))
                cleared = True
            commands.append(_Command("-" if operator == "-" else "+", bits & (who or _EVERY)))
            bits = 0
        if executable:
            commands.append(_Command("X", executable & (who or _EVERY)))
            executable = 0

    for letter in letters:
        match letter:
            case "r":
                bits |= 0o444
            case "w":
                bits |= 0o222
            case "x":
                bits |= 0o111
            case "X" if operator == "-":  # what is not executable has nothing to lose
                bits |= 0o111
            case "X":
                executable |= 0o111
            case "s":
                bits |= _SETUID | _SETGID if not who or who & ~0o007 else 0
            case "t":
                if not who or who & ~0o007:
                    who |= _STICKY
                    bits |= _STICKY
            case source:
                flush(final=False)
                if operator == "=":
                    cleared = True
                classes = "".join(name for name, bit in (("u", 0o400), ("g", 0o040), ("o", 0o004)) if who & bit)
                commands.append(_Command(source, 0o7777 if who else _EVERY, operator, classes if who else "ugo"))
    flush(final=True)
    return who
