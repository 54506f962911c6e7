"""Python programs that use firkin, run as the account of a Firkin."""

from __future__ import annotations

import subprocess

from support.accounts import Firkin, installation


def run_python(firkin: Firkin, code: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program with this firkin's store as the default one, and return its output."""
    done = firkin.account.run(
        [installation(firkin.account.uid).python, "-c", code, *words],
        env=firkin.environment({"FIRKIN_ROOT": str(firkin.store)}), cwd=firkin.place, stdin=subprocess.DEVNULL,
        timeout=240,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
