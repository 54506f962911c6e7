"""The platform of this machine."""

import os

import pytest

from firkin.linux.machine import this_platform


def test_the_kernel_names_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "#1", "aarch64")))
    assert str(this_platform()) == "linux/arm64"
