"""The unit of systemd that starts containers with the machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.hints import hints_of

from firkin.containers import service
from firkin.containers.service import Asked, install, report, uninstall, unit_name, unit_text
from firkin.errors import HostError

PROGRAM = ("/opt/my tools/python3", "-P", "-m", "firkin")


def asked(place: Path, *, root: str = "", user: str = "", settings: str = "") -> Asked:
    return Asked(PROGRAM, root, user, str(place), settings)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a loginctl that write down how they are called."""
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "calls"
    log.touch()
    for name in ("systemctl", "loginctl"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{log}\ncase $* in *--quiet*) ;; *is-enabled*) echo enabled;; esac\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(service, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(service, "_LINGER", str(tmp_path))
    return log


def test_each_store_has_its_own_unit(tmp_path: Path) -> None:
    names = {unit_name(asked(tmp_path, root=root)) for root in ("", "/a", "/b")}
    assert len(names) == 3
    assert "firkin.service" in names


def test_the_unit_kills_no_containers(tmp_path: Path) -> None:
    for user in ("", "dev"):
        text = unit_text(asked(tmp_path, user=user))
        assert {"KillMode=process", "Delegate=yes", "OOMPolicy=continue", "RemainAfterExit=yes"} <= set(text.splitlines())
        assert text.endswith("WantedBy=default.target\n" if user else "WantedBy=multi-user.target\n")


def test_systemd_expands_nothing_in_paths(tmp_path: Path) -> None:
    text = unit_text(asked(tmp_path, root='/a b%h$HOME"\\'))
    assert r'ExecStart="/opt/my tools/python3" "-P" "-m" "firkin" "start" "--root" "/a b%%h$$HOME\"\\" "--restored"' in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("user", ["", "dev"])
def test_systemd_understands_the_unit(tmp_path: Path, user: str) -> None:
    place = asked(tmp_path, root="/", user=user)._replace(command=("/usr/bin/env", "-i"))
    path = tmp_path / unit_name(place)
    path.write_text(unit_text(place))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True)
    assert unit_name(place) not in done.stderr
    assert "nknown" not in done.stderr


def test_installed_twice_it_is_the_same(tmp_path: Path, calls: Path) -> None:
    place = asked(tmp_path / "units", user="dev")
    install(place)
    assert calls.read_text().splitlines()[:3] == [
        "systemctl --user --quiet daemon-reload", "systemctl --user --quiet enable firkin.service", "loginctl enable-linger dev",
    ]  # fmt: skip
    before = (tmp_path / "units" / "firkin.service").stat()
    calls.write_text("")
    (tmp_path / "dev").touch()  # now it lingers
    found = install(place)
    assert (found.installed, found.current, found.enabled, found.lingers) == (True, True, "enabled", True)
    assert (tmp_path / "units" / "firkin.service").stat().st_ino == before.st_ino
    assert "daemon-reload" not in calls.read_text()
    assert "loginctl" not in calls.read_text()
    assert os.listdir(tmp_path / "units") == ["firkin.service"]


def test_a_unit_of_another_firkin_is_told_and_replaced(tmp_path: Path, calls: Path) -> None:
    install(asked(tmp_path)._replace(command=("/old/firkin",)))
    assert not report(asked(tmp_path)).current
    assert install(asked(tmp_path)).current


def test_taken_away(tmp_path: Path, calls: Path) -> None:
    assert uninstall(asked(tmp_path)) == ""
    install(asked(tmp_path))
    assert uninstall(asked(tmp_path)) == str(tmp_path / "firkin.service")
    assert not report(asked(tmp_path)).installed
    assert report(asked(tmp_path)).enabled == "not-found"


def test_what_systemd_says_is_told(tmp_path: Path, calls: Path) -> None:
    program = calls.parent / "programs" / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    with pytest.raises(HostError, match="Failed to connect to bus") as caught:
        install(asked(tmp_path, user="dev"))
    assert "loginctl enable-linger" in hints_of(caught.value)[0]


def test_without_systemd_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_BOOTED", str(tmp_path / "missing"))
    for operation in (install, uninstall, report):
        with pytest.raises(HostError, match="does not run systemd") as caught:
            operation(asked(tmp_path))
        assert "firkin start --restored" in hints_of(caught.value)[0]
    assert os.listdir(tmp_path) == []


def test_a_path_with_a_line_break_is_refused(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(HostError, match="line break"):
        install(asked(tmp_path, root="/a\nExecStart=/bin/sh"))
