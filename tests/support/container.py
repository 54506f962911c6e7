"""Unprivileged containers, as a pod or `docker run` gives them: Docker's capabilities, no mounts, no new namespaces.

`runc` runs them on an overlay of a base image's files. The mount namespace ends with the run, so nothing stays
mounted. The network is the host's, for the tests' registry. Needs root.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support import layouts
from support.bases import ensure_base
from support.places import REPOSITORY, cache_directory, locked

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
)  # fmt: skip
# The part of Docker's default profile that refuses what a sandbox of namespaces would need.
DENIED_CALLS = (
    "mount", "umount", "umount2", "pivot_root", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd",
    "kexec_load", "open_by_handle_at", "reboot", "swapon", "swapoff", "init_module", "finit_module",
)  # fmt: skip
NAMESPACE_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
MASKED = ("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware")
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PATH_ENV = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Bind:
    """A directory or file of the host that the container sees."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Container:
    """A container that can be run. `files` is its image; its changes go to `place`, which outlives it."""

    files: Path
    place: Path
    binds: tuple[Bind, ...] = ()
    uid: int = 0
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    no_new_privs: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def written(self) -> Path:
        """The changes to the root, as an overlay's upper directory."""
        return self.place / "upper"

    def as_user(self, uid: int) -> "Container":
        """Return the same container without rights: a user, no capabilities, no way to gain any."""
        return replace(self, uid=uid, capabilities=(), no_new_privs=True)

    def command(self, argv: list[str], *, cwd: str = "/", env: Mapping[str, str] | None = None) -> list[str]:
        """Return the host's command that runs `argv` inside."""
        bundle = Path(tempfile.mkdtemp(prefix="bundle-", dir=self._prepared()))
        rootfs = bundle / "rootfs"
        rootfs.mkdir()
        environment = {"PATH": PATH_ENV, "HOME": "/root", **self.env, **(env or {})}
        (bundle / "config.json").write_text(json.dumps(self._config(argv, cwd, environment)))
        options = f"lowerdir={self.files},upperdir={self.written},workdir={self.place / 'work'}"
        name = f"firkin-test-{os.getpid()}-{bundle.name}"
        script = (
            f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(rootfs))} && "
            f"exec runc --root {shlex.quote(str(self.place / 'runc'))} run --bundle {shlex.quote(str(bundle))} {name}"
        )
        return ["unshare", "--mount", "sh", "-c", script]

    def run(
        self,
        argv: list[str],
        *,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 240,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and return its output; a status other than 0 fails unless `check` is false."""
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        result = subprocess.run(
            self.command(argv, cwd=cwd, env=env),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            **options,
        )
        if check and result.returncode:
            raise AssertionError(f"{argv} ended with {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def kill(self) -> None:
        """Kill all processes of all commands that run inside, at once."""
        root = str(self.place / "runc")
        listed = subprocess.run(["runc", "--root", root, "list", "-q"], capture_output=True, text=True)
        for name in listed.stdout.split():
            subprocess.run(["runc", "--root", root, "delete", "--force", name], capture_output=True)

    def _prepared(self) -> Path:
        for name in ("upper", "work", "runc"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        self.place.chmod(0o755)
        return self.place

    def _config(self, argv: list[str], cwd: str, env: Mapping[str, str]) -> dict[str, Any]:
        sets = ("bounding", "effective", "permitted") if self.uid == 0 else ("bounding",)
        return {
            "ociVersion": "1.0.2",
            "process": {
                "args": argv,
                "cwd": cwd,
                "env": [f"{key}={value}" for key, value in env.items()],
                "user": {"uid": self.uid, "gid": self.uid and 0},
                "capabilities": {name: list(self.capabilities) for name in sets},
                "noNewPrivileges": self.no_new_privs,
            },
            "root": {"path": "rootfs", "readonly": False},
            "hostname": "pod",
            "mounts": [*_SYSTEM_MOUNTS, *(_bind(bind) for bind in self.binds)],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "seccomp": seccomp_profile(),
                "maskedPaths": list(MASKED),
                "readonlyPaths": list(READONLY),
                "resources": {"devices": _DEVICE_RULES},
            },
        }


_SYSTEM_MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777"],
    },
    {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]},
    {
        "destination": "/etc/resolv.conf",
        "type": "bind",
        "source": "/etc/resolv.conf",
        "options": ["bind", "rprivate"],
    },
    {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "rprivate"]},
]
# As in Docker: any device file may be made, only the harmless ones may be opened.
_DEVICE_RULES: list[dict[str, Any]] = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"} for minor in (3, 5, 7, 8, 9)),
    *({"allow": True, "type": "c", "major": 5, "minor": minor, "access": "rwm"} for minor in (0, 1, 2)),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
]


def _bind(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "rprivate", "rw" if bind.writable else "ro"]
    return {"destination": bind.target, "type": "bind", "source": str(bind.source), "options": options}


def seccomp_profile() -> dict[str, Any]:
    """Return a profile that refuses mounts and namespaces, in the form of the OCI runtime specification."""
    machine = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "aarch64": ["SCMP_ARCH_AARCH64"]}
    refused = {"action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": machine.get(os.uname().machine, []),
        "syscalls": [
            {"names": list(DENIED_CALLS), **refused},
            *(
                {
                    "names": ["clone"],
                    "args": [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}],
                    **refused,
                }
                for flag in NAMESPACE_FLAGS
            ),
            # A filter cannot read its flags; glibc then falls back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


def image_files(key: str) -> Path:
    """Return the unpacked files of a base image of the tests, made once; they must not be changed."""
    layout = ensure_base(key)
    place = cache_directory() / "files" / layout.name
    if not (place / "done").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.with_suffix(".lock")):
            if not (place / "done").exists():
                shutil.rmtree(place, ignore_errors=True)
                (place / "fs").mkdir(parents=True)
                _, raw = layouts.read_manifest(layout)
                for layer in json.loads(raw)["layers"]:
                    blob = layout / "blobs/sha256" / layer["digest"].partition(":")[2]
                    subprocess.run(["tar", "-xpf", str(blob), "-C", str(place / "fs")], check=True)
                (place / "done").touch()
    return place / "fs"


def checkout_binds() -> tuple[Bind, ...]:
    """Return binds that show the interpreter of these tests and firkin's sources under their own paths."""
    prefix = Path(sys.prefix)
    binds = [Bind(REPOSITORY, str(REPOSITORY))]
    if not prefix.is_relative_to(REPOSITORY):
        binds.append(Bind(prefix, str(prefix)))
    return tuple(binds)
