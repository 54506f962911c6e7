"""`firkin check` and `firkin build --check/--call`, as a process, without a registry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def firkin(tmp_path):
    def run(*words: str, text: str, check: int = 0) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Dockerfile").write_text(text)
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FIRKIN_ROOT": str(tmp_path / "store")}
        command = [sys.executable, "-m", "firkin", *words]
        result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
        assert result.returncode == check, result.stdout + result.stderr
        return result

    return run


WARNED = "FROM scratch\nCMD echo hi\n"


def test_nothing_to_say(firkin):
    assert firkin("check", text='FROM scratch\nCMD ["a"]\n').stdout == "Check complete, no warnings found.\n"


@pytest.mark.parametrize("words", [("check", "."), ("build", "--check", "."), ("build", "--call=lint", ".")])
def test_warnings_end_with_1(firkin, words):
    found = firkin(*words, text=WARNED, check=1).stdout
    assert found.startswith("Check complete, 1 warning has been found!\n\nWARNING: JSONArgsRecommended - https://")
    assert "Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> CMD echo hi\n" in found


@pytest.mark.parametrize("words", [("check", "--format=json"), ("build", "--call=check,format=json", ".")])
def test_json(firkin, words):
    document = json.loads(firkin(*words, text=WARNED, check=1).stdout)
    assert [warning["ruleName"] for warning in document["warnings"]] == ["JSONArgsRecommended"]


def test_an_error_is_shown_beside_the_warnings(firkin):
    result = firkin("check", text=WARNED + "COPY --from=9 a b\n", check=1)
    assert "invalid stage index 9" in result.stderr
    assert ">>> COPY" in result.stderr
    document = json.loads(firkin("check", "--format=json", text="FROM scratch\nRUNN x\n", check=1).stdout)
    assert "unknown instruction: RUNN (did you mean RUN?)" in document["buildError"]["message"]


def test_what_stands_before_an_error_of_the_text_is_checked(firkin):
    text = "FROM scratch AS Bad\nMAINTAINER me\nBADCMD\nfrom scratch as bad\n"
    result = firkin("check", text=text, check=1)
    assert [line.split(":")[1].split(" - ")[0] for line in result.stdout.splitlines() if "WARNING" in line] == [
        " StageNameCasing", " MaintainerDeprecated",
    ]  # fmt: skip
    assert "unknown instruction: BADCMD" in result.stderr


def test_error_directive(firkin):
    result = firkin("check", text="# check=error=true\n" + WARNED, check=1)
    assert "lint violation found for rules: JSONArgsRecommended" in result.stderr
    assert firkin("check", text="# check=skip=JSONArgsRecommended;error=true\n" + WARNED).stdout


def test_compat(firkin):
    text = 'FROM --platform=$BUILDPLATFORM scratch\nRUN --mount=type=tmpfs,target=/t ["x"]\n'
    found = firkin("check", "--compat=kaniko", text=text, check=1).stdout
    assert "WARNING: KanikoPlatformIgnored" in found
    assert "WARNING: KanikoMountIgnored" in found
    assert "did you" not in firkin("check", text=text).stdout
    assert "known: kaniko" in firkin("check", "--compat=buildah", text=text, check=2).stderr


def test_ignored_copy(firkin, tmp_path: Path):
    (tmp_path / ".dockerignore").write_text("secret\n")
    assert "CopyIgnoredFile" in firkin("check", text="FROM scratch\nCOPY secret /\n", check=1).stdout


def test_targets_and_outline(firkin):
    text = "# app is it\nFROM scratch AS app\n# A says how\nARG A=1\n"
    assert firkin("build", "--call=targets", ".", text=text).stdout == (
        "TARGET         DESCRIPTION\napp (default)  is it\n"
    )
    assert firkin("build", "--call=outline", ".", text=text).stdout == (
        "TARGET:       app\nDESCRIPTION:  is it\n\nBUILD ARG   VALUE   DESCRIPTION\nA           1       says how\n"
    )
    document = json.loads(firkin("build", "--call=outline,format=json", ".", text=text).stdout)
    assert document["args"][0]["value"] == "1"


def test_unknown_call(firkin):
    assert "build, check, outline or targets" in firkin("build", "--call=describe", ".", text=WARNED, check=2).stderr


def test_ignored_status(firkin):
    ignored = firkin("build", "--call=check,ignorestatus", ".", text=WARNED)
    assert "JSONArgsRecommended" in ignored.stdout
    firkin("build", "--call=check,format=json,ignorestatus=true", ".", text=WARNED)
    firkin("build", "--call=check,ignorestatus=false", ".", text=WARNED, check=1)
    assert "or ignorestatus" in firkin("build", "--call=check,ignore", ".", text=WARNED, check=2).stderr


@pytest.mark.parametrize("words", [
    ("check", "missing"), ("build", "--check", "missing"), ("check", "-f", "missing", "."), ("check", "--target=x", "."),
    ("check", "--bogus"), ("build", "--call=check,ignorestatus", "-f", "missing", "."),
])
def test_a_check_that_cannot_be_done_does_not_end_as_one_with_findings(firkin, words):
    assert firkin(*words, text=WARNED, check=2).stdout == ""
