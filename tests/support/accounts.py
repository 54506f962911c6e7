"""Run firkin as root and as ordinary users.

When the tests run as root, the users `firkin-test` (with subordinate ids) and `firkin-plain` (without) are made on
first use. Otherwise the user who runs the tests is the ordinary user, and there is no root account.
"""

import contextlib
import functools
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firkin.cli.commands import ALIASES, COMMANDS
from support.places import REPOSITORY, locked

ORDINARY, PLAIN = "firkin-test", "firkin-plain"
FIRST_SUBORDINATE_ID = 1_000_000
SUBORDINATE_IDS = 65536


@dataclass(frozen=True)
class Account:
    """A user who runs firkin."""

    name: str
    uid: int
    gid: int

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    def give(self, path: Path) -> None:
        """Give a path and everything beneath it to this account."""
        if os.geteuid() != 0:
            return
        os.lchown(path, self.uid, self.gid)
        for place, directories, files in os.walk(path):
            for name in (*directories, *files):
                os.lchown(os.path.join(place, name), self.uid, self.gid)

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command as this account."""
        return subprocess.Popen(command, **self._identity(), **options)

    def run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as this account and return its output."""
        options = {"capture_output": True, "text": True, "errors": "surrogateescape", **options}
        return subprocess.run(command, **self._identity(), **options)

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account(kind: str) -> Account:
    """Return the account of a kind: root, user (subordinate ids) or plain (none)."""
    if kind == "root":
        if os.geteuid() != 0:
            raise LookupError("these tests do not run as root")
        return Account("root", 0, 0)
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
        if kind == "plain" and has_subordinate_ids(entry.pw_name):
            raise LookupError("this account has subordinate ids")
        if kind == "user" and not has_subordinate_ids(entry.pw_name):
            raise LookupError("this account has no subordinate ids")
    else:
        entry = _ensure_user(ORDINARY if kind == "user" else PLAIN, subordinate=kind == "user")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def has_subordinate_ids(name: str) -> bool:
    """Tell whether /etc/subuid has a range for a user."""
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        return False
    return any(line.partition(":")[0] == name for line in lines)


@functools.cache
def _ensure_user(name: str, *, subordinate: bool) -> pwd.struct_passwd:
    with locked(Path("/var/tmp/firkin-tests-accounts.lock")):
        try:
            pwd.getpwnam(name)
        except KeyError:
            # No home below /home: every test makes one.
            subprocess.run(
                [
                    "useradd",
                    "--system",
                    "--user-group",
                    "--shell",
                    "/bin/sh",
                    "--no-create-home",
                    "--home-dir",
                    "/nonexistent",
                    name,
                ],
                check=True,
                capture_output=True,
            )
        if subordinate and not has_subordinate_ids(name):
            first = _free_range()
            span = f"{first}-{first + SUBORDINATE_IDS - 1}"
            subprocess.run(["usermod", "--add-subuids", span, "--add-subgids", span, name], check=True)
    return pwd.getpwnam(name)


def _free_range() -> int:
    first = FIRST_SUBORDINATE_ID
    for file in ("/etc/subuid", "/etc/subgid"):
        text = Path(file).read_text() if Path(file).exists() else ""
        for line in text.split():
            _, start, count = line.split(":")
            first = max(first, int(start) + int(count))
    return first


# --- a firkin that the account can start -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """An interpreter, and the paths where it finds firkin and its libraries."""

    python: str
    search: tuple[str, ...] = ()


@functools.cache
def installation(uid: int) -> Installation:
    """Return a firkin that an account can start: the checkout's own, or a copy in a world-readable place."""
    own = Installation(sys.executable)
    if uid == os.geteuid() or _starts(own, uid):
        return own
    base = os.path.realpath(sys.executable)
    python = next((p for p in (base, "/usr/bin/python3", "/usr/local/bin/python3") if _same_version(p, uid)), "")
    if not python:
        raise LookupError(f"no Python {sys.version_info.major}.{sys.version_info.minor} that every user may run")
    copied = Installation(python, (str(_copy("src", REPOSITORY / "src")), str(_copy("site", _site_packages()))))
    if not _starts(copied, uid):
        raise LookupError("firkin does not start for an ordinary user, not even from a copy")
    return copied


def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["platlib"])


def _starts(candidate: Installation, uid: int) -> bool:
    command = [candidate.python, "-c", "import firkin, pycurl, msgspec, isal"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(candidate.search), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(command, env=environment, user=uid, cwd="/", capture_output=True).returncode == 0
    except OSError:
        return False


def _same_version(python: str, uid: int) -> bool:
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        result = subprocess.run(command, user=uid, cwd="/", capture_output=True, text=True)
    except OSError:
        return False
    return result.returncode == 0 and result.stdout.split() == [str(part) for part in sys.version_info[:2]]


# Large developer tools.
NOT_COPIED = (
    "boto*", "moto*", "mypy*", "pip*", "ruff*", "hypothesis*", "_pytest*", "cryptography*", "fake_gcs*",
)  # fmt: skip


def _copy(name: str, source: Path) -> Path:
    """Copy a directory to a world-readable place, once per state of its files."""
    state = hashlib.sha256()
    for place, directories, files in os.walk(source):
        directories[:] = sorted(d for d in directories if d != "__pycache__")
        for file in sorted(files):
            info = os.lstat(os.path.join(place, file))
            state.update(f"{place}/{file}\0{info.st_size}\0{info.st_mtime_ns}\0".encode())
    target = Path(tempfile.gettempdir()) / f"firkin-tests-{name}-{state.hexdigest()[:12]}"
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            temporary = target.with_suffix(f".tmp-{os.getpid()}")
            shutil.copytree(source, temporary, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
            subprocess.run(["chmod", "-R", "a+rX", str(temporary)], check=True)
            temporary.rename(target)
    return target


# --- one account's firkin --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Firkin:
    """firkin as one account runs it, with its own home and store below `place`."""

    account: Account
    place: Path
    registry_url: str = ""

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def store(self) -> Path:
        return self.place / "store"

    def directory(self, name: str) -> Path:
        """Return a new directory that belongs to the account, for contexts and outputs."""
        path = self.place / name
        path.mkdir(mode=0o755, parents=True)
        self.account.give(path)
        return path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the whole environment in which firkin is started."""
        installed = installation(self.account.uid)
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(self.home),
            "USER": self.account.name,
            "LOGNAME": self.account.name,
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.place / "tmp"),
            "XDG_RUNTIME_DIR": str(self.place / "run"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"PYTHONPATH": ":".join(installed.search)} if installed.search else {}),
            **(extra or {}),
        }

    def command(self, *arguments: str | os.PathLike[str]) -> list[str]:
        """Return the argv of `firkin ARGUMENTS` with this account's store and registry."""
        words = [os.fspath(argument) for argument in arguments]
        first = words[0]
        spellings = (count for count in (3, 2, 1) if " ".join(words[:count]) in {**COMMANDS, **ALIASES})
        name, rest = words[: (count := next(spellings, 1))], words[count:]
        options = [] if first.startswith("-") else ["--root", str(self.store)]
        if self.registry_url and first == "build":
            options += ["--registry-mirror", f"docker.io={self.registry_url}"]
        return [installation(self.account.uid).python, "-m", "firkin", *name, *options, *rest]

    def run(
        self,
        *arguments: str | os.PathLike[str],
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        """Run firkin and return its output; a status other than 0 fails the test unless `check` is false."""
        result = self.account.run(
            self.command(*arguments),
            env=self.environment(env),
            cwd=cwd or self.place,
            timeout=timeout,
            **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}),
        )
        if check and result.returncode:
            told = " ".join(map(str, arguments))
            raise AssertionError(f"`firkin {told}` ended with {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def popen(
        self, *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start firkin without waiting for it."""
        return self.account.popen(
            self.command(*arguments),
            env=self.environment(env),
            **{"cwd": self.place, "stdin": subprocess.DEVNULL, **options},
        )


def make_firkin(kind: str, place: Path, registry_url: str = "") -> Firkin:
    """Return the firkin of an account, with a fresh home and store in a new directory `place`."""
    somebody = account(kind)
    place.mkdir(parents=True, exist_ok=True)
    for name in ("home", "tmp", "run"):
        (place / name).mkdir(mode=0o755)
    somebody.give(place)
    return Firkin(somebody, place, registry_url)


def remove_with_subordinate_ids(path: Path) -> None:
    """Remove a directory in which an account's subordinate ids may own files."""
    if os.geteuid() == 0:
        shutil.rmtree(path, ignore_errors=True)
        return

    def open_up(function: Any, name: str, error: Any) -> None:
        with contextlib.suppress(OSError):  # belongs to a subordinate id
            os.chmod(os.path.dirname(name), stat.S_IRWXU)

    shutil.rmtree(path, onerror=open_up)
    if path.exists() and has_subordinate_ids(pwd.getpwuid(os.geteuid()).pw_name):
        subprocess.run(["unshare", "--map-root-user", "--map-auto", "rm", "-rf", str(path)], check=False)
