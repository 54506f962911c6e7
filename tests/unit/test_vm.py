"""What can be said of the virtual machine without booting it (tests/vm, `make test-vm`)."""

import ast
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import REPOSITORY
from vm import guest, machine

VM = REPOSITORY / "tests" / "vm"


def test_the_disk_is_made_anew_when_its_recipe_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = guest.recipe()
    assert before == guest.recipe()
    monkeypatch.setattr(guest, "PACKAGES", (*guest.PACKAGES, "more"))
    assert guest.recipe() != before


def test_hooks_are_shell() -> None:
    for hook in (guest.BEFORE_PACKAGES, guest.AFTER_PACKAGES):
        subprocess.run(["sh", "-n"], input=hook, text=True, check=True)


def test_disks_are_copies_and_a_reset_ends_the_emulator() -> None:
    words = machine.command_line(Path("/p"), guest.Guest(Path("/disk"), Path("/kernel"), Path("/initrd")), "tcg")
    drives = [word for word in words if word.startswith("id=disk")]
    assert len(drives) == 3
    assert all("file=/p/" in drive for drive in drives)
    assert "-no-reboot" in words


def test_the_runner_needs_the_standard_library_only() -> None:
    tree = ast.parse((VM / "runner.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names
    assert names <= sys.stdlib_module_names
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_no_test_of_the_machine_runs_with_the_others() -> None:
    assert list(VM.glob("vm_*.py"))
    assert not list(VM.glob("test_*.py"))
    assert re.search(r"^test-vm:.*\n.*\n.*python_files='vm_\*\.py'", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.root
def test_the_runner_answers(scratch: Path) -> None:
    """A socket in place of the port: scripts run one after the other, as who was asked for, and their end is told."""
    ours, theirs = socket.socketpair()
    here = machine.Machine.__new__(machine.Machine)
    here._socket, here._pending, here._number, here.place = ours, b"", 0, scratch
    source = (VM / "runner.py").read_text().replace("/dev/virtio-ports/firkin", f"/proc/self/fd/{theirs.fileno()}")
    assert source.count("open(PORT, ") == 1
    source = source.replace('open(PORT, "r+b", buffering=0)', f'open({theirs.fileno()}, "r+b", buffering=0)')
    runner = subprocess.Popen([sys.executable, "-I", "-S", "-c", source], pass_fds=(theirs.fileno(),))
    try:
        theirs.close()
        here.wait_for_boot(30)
        result = here.run("echo to stdout; echo to stderr >&2; id -un; exit 3", timeout=30)
        assert (result.code, result.output) == (3, "to stdout\nto stderr\nroot\n")
        assert here.run("sleep 20", timeout=0.5).code == -1
    finally:
        runner.kill()
        runner.wait()
        ours.close()
