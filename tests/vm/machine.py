"""A virtual machine that runs scripts: QEMU, a kernel given to it, and a virtio port to the runner inside."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from support.places import cache_directory

from vm.guest import Guest, ensure_guest, make_data, make_share

BOOT_SECONDS = 600.0  # on a machine with much else to do
TRIAL_SECONDS = 30.0
ACCELERATORS = {
    "kvm": ["-accel", "kvm", "-cpu", "host"],
    "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"],
}
DISKS = ("disk", "share", "data")  # the file system, this checkout, an empty one
COMMAND_LINE = (
    "root=/dev/vda rw console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off net.ifnames=0 "
    "apparmor=1 security=apparmor systemd.unified_cgroup_hierarchy=1 systemd.show_status=no random.trust_cpu=on"
)


class VmError(RuntimeError):
    """The machine did not do what was asked; the text ends with what its console said."""


@dataclass(frozen=True)
class Result:
    """How a script ended (-1: it took too long), and what it wrote to standard output and error."""

    code: int
    output: str


class Machine:
    """A machine that runs until `close`. Nothing on its disks outlives it, but all outlives its reboots."""

    def __init__(self, place: Path, guest: Guest, accelerator: str) -> None:
        self.place, self.accelerator, self._guest = place, accelerator, guest
        self._number = 0
        self._start()

    def _start(self) -> None:
        self._pending = b""
        self.boot_seconds = 0.0
        with open(self.place / "qemu", "wb") as log:
            self.process = subprocess.Popen(
                command_line(self.place, self._guest, self.accelerator),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connect()

    def _connect(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                self._socket.connect(str(self.place / "port"))
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise VmError(f"qemu does not start: {(self.place / 'qemu').read_text()}") from None
                time.sleep(0.05)

    def wait_for_boot(self, seconds: float = BOOT_SECONDS) -> None:
        """Return when the runner inside says hello."""
        began = time.monotonic()
        while "hello" not in self._message(began + seconds):
            pass
        self.boot_seconds = time.monotonic() - began

    def run(self, script: str, user: str = "root", timeout: float = 400) -> Result:
        """Run a script in a login session of `user`, which ends with it."""
        self._number += 1
        request = {"id": self._number, "script": script, "user": user, "timeout": timeout}
        self._socket.settimeout(max(30, timeout))
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = {}
        end = time.monotonic() + timeout + 60
        while answer.get("id") != self._number:
            answer = self._message(end)
        return Result(answer["code"], answer["output"])

    def check(self, script: str, user: str = "root", timeout: float = 400) -> str:
        """Run a script that must succeed, and return what it wrote, without the last line's end."""
        result = self.run(script, user, timeout)
        assert result.code == 0, f"{user}: exit {result.code}\n{script}\n--- output\n{result.output}"
        return result.output.rstrip("\n")

    def reboot(self, how: Literal["orderly", "power"] = "orderly") -> None:
        """Shut down and boot again, in order or as if the power had failed (after a sync)."""
        script = "systemctl reboot" if how == "orderly" else "sync; echo b >/proc/sysrq-trigger"
        request = {"id": 0, "script": script, "user": "root", "timeout": 60}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        # An emulated machine that is reset hangs where it loads its drivers, so each boot is one of a new emulator.
        try:
            self.process.wait(BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            raise VmError(f"the machine does not end; its console:\n{self.console()}") from None
        self._socket.close()
        self._start()
        self.wait_for_boot()

    def _message(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if left <= 0:
                raise VmError(f"the machine says nothing; its console:\n{self.console()}")
            self._socket.settimeout(left)
            try:
                got = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except ConnectionResetError:
                got = b""
            if not got:
                raise VmError(f"the machine is gone: {(self.place / 'qemu').read_text()}\n{self.console()}")
            self._pending += got
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:  # it was cut off by a reboot
            return {}
        return message

    def console(self) -> str:
        """Return the end of what the machine wrote to its console."""
        console = self.place / "console"
        return console.read_text(errors="replace")[-3000:] if console.exists() else ""

    def close(self) -> None:
        """Switch it off."""
        self._socket.close()
        self.process.kill()
        self.process.wait()


def command_line(place: Path, guest: Guest, accelerator: str) -> list[str]:
    """Return the command that boots the machine: a console and a port, three disks, no network."""
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-no-reboot"]
    command += [*ACCELERATORS[accelerator], "-smp", "2", "-m", "2048"]
    command += ["-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", COMMAND_LINE]
    for index, name in enumerate(DISKS):
        command += ["-drive", f"id=disk{index},file={place / name},format=raw,if=none,cache=unsafe"]
        command += ["-device", f"virtio-blk-pci,drive=disk{index}"]
    command += ["-serial", f"file:{place}/console", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    command += ["-chardev", f"socket,id=port,path={place}/port,server=on,wait=off"]
    return [*command, "-device", "virtserialport,chardev=port,name=firkin"]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start_machine(place: Path) -> Machine:
    """Boot a machine whose files are in `place`, with KVM where a trial boot works with it."""
    guest = ensure_guest()
    make_share(place / "share")
    make_data(place / "data")
    _copy_disk(place, guest)
    if _kvm_may_work():
        machine = Machine(place, guest, "kvm")
        try:
            machine.wait_for_boot(TRIAL_SECONDS)
            return machine
        except VmError:
            machine.close()
            _copy_disk(place, guest)
            _trial_file().write_text(_boot_id())
    machine = Machine(place, guest, "tcg")
    try:
        machine.wait_for_boot()
    except BaseException:
        machine.close()
        raise
    return machine


def _copy_disk(place: Path, guest: Guest) -> None:
    # With its holes: most of it is empty.
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", guest.disk, place / DISKS[0]], check=True)


def _kvm_may_work() -> bool:
    """Say whether there is a KVM that this boot of this machine has not failed with yet."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    return not _trial_file().exists() or _trial_file().read_text() != _boot_id()


def _trial_file() -> Path:
    return cache_directory() / "vm" / "kvm-failed"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def temporary_place() -> Path:
    """Return a new directory with a short path, for the machine's socket."""
    return Path(tempfile.mkdtemp(prefix="vm-"))


def remove_place(place: Path) -> None:
    """Remove it again."""
    shutil.rmtree(place, ignore_errors=True)
