"""The unit of systemd that starts containers when the machine does, or the user's systemd. Does I/O.

    installed = install(asked)      writes and enables it; may be repeated
    report(asked)                   what is there
    uninstall(asked)                takes it away

The unit runs once at start, and keeps nothing alive: a container belongs to its monitor, and stays when the unit is
stopped. Spec: systemd.unit(5), systemd.service(5), systemd.exec(5); loginctl(1) on lingering.
"""

from __future__ import annotations

import os
from binascii import crc32
from contextlib import suppress
from typing import NamedTuple

from firkin.errors import HostError
from firkin.hints import Hint

_BOOTED = "/run/systemd/system"  # there when systemd is the init system, sd_booted(3)
_LINGER = "/var/lib/systemd/linger"
_PATIENCE_S = 90.0  # of an emulated machine that is starting


class Asked(NamedTuple):
    """Which unit is meant.

    `command` is how this firkin is called, without arguments. `root` is the store, "" the usual one of the user.
    `user` is the name of a user whose own systemd has the unit, "" for the machine's. `config` is the directory of
    units: /etc/systemd/system, or .config/systemd/user in the user's home. `settings` is the config.toml that was
    named, "" for the usual ones.
    """

    command: tuple[str, ...]
    root: str
    user: str
    config: str
    settings: str = ""


class Report(NamedTuple):
    """`state` and `enabled` are systemd's words; `current`: the unit is as this firkin writes it.

    `lingers`: the user's systemd runs from the machine's start on; None for the machine's own.
    """

    unit: str
    path: str
    installed: bool
    current: bool
    enabled: str
    state: str
    lingers: bool | None


def unit_name(asked: Asked) -> str:
    """Return the unit's name, one for each store. Pure."""
    return f"firkin-{crc32(os.fsencode(asked.root)):08x}.service" if asked.root else "firkin.service"


def unit_text(asked: Asked) -> str:
    """Return the unit. Pure."""
    options = (("--root", asked.root), ("--config", asked.settings))
    words = (*asked.command, "start", *(word for pair in options if pair[1] for word in pair), "--restored")
    unit = [f"Description=Containers of firkin{f' in {_plain(asked.root)}' if asked.root else ''}"]
    if not asked.user:
        unit += ["Wants=network-online.target", "After=network-online.target nss-user-lookup.target"]
    if asked.root:
        unit.append(f"RequiresMountsFor={_quoted(asked.root)}")
    service = [
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={' '.join(map(_quoted, words))}",
        "TimeoutStartSec=infinity",
        "# Containers are not this unit's: they go on when it is stopped, and when one of them is out of memory.",
        "KillMode=process",
        "OOMPolicy=continue",
        "Delegate=yes",
        "TasksMax=infinity",
    ]
    install = [f"WantedBy={'default.target' if asked.user else 'multi-user.target'}"]
    head = "# Written by `firkin service install`, removed by `firkin service uninstall`.\n"
    sections = (("Unit", unit), ("Service", service), ("Install", install))
    return head + "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)


def _quoted(word: str) -> str:
    """Return a word of a command line of systemd: nothing in it is expanded."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def install(asked: Asked) -> Report:
    """Write the unit and enable it, for a user with lingering if that is allowed; it is not started.

    What it would start runs already, or was stopped on purpose. Raises HostError where systemd is not there.
    """
    _check_systemd()
    for text in (asked.root, asked.settings, *asked.command):
        if "\n" in text:
            raise HostError("a unit of systemd cannot name a path with a line break", code="service-path")
    path = f"{asked.config}/{unit_name(asked)}"
    text = unit_text(asked)
    if _read(path) != text:
        _write(path, text)
        _systemctl(asked, "daemon-reload")
    _systemctl(asked, "enable", unit_name(asked))
    if asked.user and not _lingers(asked.user):
        with suppress(HostError):  # the report says that it does not linger
            _run(["loginctl", "enable-linger", asked.user])
    return report(asked)


def uninstall(asked: Asked) -> str:
    """Take the unit away, and return where it was, "" if it was not there. Containers that run go on; lingering stays.

    Raises HostError.
    """
    _check_systemd()
    path = f"{asked.config}/{unit_name(asked)}"
    if not os.path.lexists(path):
        return ""
    _systemctl(asked, "disable", "--now", unit_name(asked))
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # somebody else was faster
    except OSError as error:
        raise _failed(path, error) from error
    _systemctl(asked, "daemon-reload")
    return path


def report(asked: Asked) -> Report:
    """Return what is there. Raises HostError where systemd is not there."""
    _check_systemd()
    unit = unit_name(asked)
    path = f"{asked.config}/{unit}"
    text = _read(path)
    enabled = _word(asked, "is-enabled", unit)
    return Report(
        unit, path, text is not None, text == unit_text(asked),
        enabled if enabled and text is not None else "not-found",
        _word(asked, "is-active", unit) or "unknown",
        _lingers(asked.user) if asked.user else None,
    )  # fmt: skip


def _check_systemd() -> None:
    if not os.path.isdir(_BOOTED):
        raise HostError("this machine does not run systemd", code="no-systemd", hints=(Hint.of("service-by-hand"),))


def _lingers(user: str) -> bool:
    return os.path.exists(f"{_LINGER}/{user}")


def _systemctl(asked: Asked, *words: str) -> None:
    _run(["systemctl", *_whose(asked), "--quiet", *words])


def _word(asked: Asked, *words: str) -> str:
    """Return the state that systemctl prints; its exit code says the same."""
    return _run(["systemctl", *_whose(asked), *words], check=False)


def _whose(asked: Asked) -> list[str]:
    return ["--user"] if asked.user else []


def _run(argv: list[str], *, check: bool = True) -> str:
    """Return what a program of systemd printed. Raises HostError with what it said against it."""
    import subprocess

    from firkin.linux.programs import run_program

    try:
        done = run_program(argv, timeout_s=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise HostError(f"{argv[0]} did not answer in {_PATIENCE_S:.0f} seconds", code="systemd") from None
    except OSError as error:
        raise HostError(f"cannot run {argv[0]}: {(error.strerror or '').lower()}", code="systemd") from error
    if check and done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        hints = (Hint.of("service-session"),) if "bus" in said else ()
        raise HostError(f"{' '.join(argv)}: {said or f'exit code {done.returncode}'}", code="systemd", hints=hints)
    return done.stdout.decode(errors="replace").strip()


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(path, error) from error


def _write(path: str, text: str) -> None:
    temporary = f"{path}.new"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.rename(temporary, path)
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: str, error: OSError) -> HostError:
    return HostError(f"{path}: {(error.strerror or '').lower()}", code="service-file")
