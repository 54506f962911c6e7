"""Options before the command, and the name that the command line is called by."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def docker(tmp_path):
    """Run firkin by the name `docker`, by a link as users make it."""
    program = tmp_path / "firkin"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom firkin.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    os.symlink(program, tmp_path / "docker")
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "FIRKIN_ROOT": str(tmp_path / "store")}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", *words], env=environ | more, cwd=tmp_path, capture_output=True, text=True)

    run.place = tmp_path
    return run


def test_called_docker_it_says_so(docker):
    assert docker("--version").stdout.startswith("Docker version 2")
    assert docker("-v").stdout == docker("-Dv").stdout == docker("--version", "images").stdout
    assert docker("images", "--help").stdout.startswith("Usage:  docker images")
    assert docker("help", "image").stdout.startswith("Usage:  docker image COMMAND\n")
    assert docker("--help").stdout.startswith("Usage:  docker [OPTIONS] COMMAND\n")
    assert "unknown command: docker frob" in docker("frob").stderr


@pytest.mark.parametrize("words", [
    "--config DIR --version", "-c default --version", "--context=default -v", "-l info --version", "-lerror --version",
    "-H unix:///var/run/docker.sock --version", "--tls --tlscacert x --tlscert=y --tlskey z --tlsverify=false -v",
])  # fmt: skip
def test_options_before_the_command(docker, words):
    result = docker(*words.split())
    assert (result.returncode, result.stderr) == (0, "") and result.stdout == docker("--version").stdout


@pytest.mark.parametrize(("words", "code", "message"), [
    ("-H tcp://127.0.0.1:2375 images", 125, "cannot connect to `tcp://127.0.0.1:2375`: firkin has no daemon"),
    ("--host=ssh://me@there images", 125, "cannot connect to `ssh://me@there`"),
    ("--context other images", 1, "context not found: `other`"),
    ("--config", 125, "option `--config` needs a value"),
    ("-l loud images", 1, "unable to parse logging level: loud"),
    ("--frob images", 125, "unknown option `--frob`"),
])
def test_what_cannot_work_before_the_command(docker, words, code, message):
    result = docker(*words.split())
    assert (result.returncode, result.stdout) == (code, "") and message in result.stderr and "\nhint: " in result.stderr


def test_a_host_in_the_environment_is_not_read(docker):
    """Jobs beside a docker daemon have DOCKER_HOST; no daemon is needed."""
    assert docker("images", "-q", DOCKER_HOST="tcp://docker:2375").returncode == 0


def test_config_before_the_command_is_dockers_directory(docker):
    """After it, `--config` is a file of firkin's own."""
    assert docker("--config", "there", "logout", "r.example").returncode == 0
    (docker.place / "there").mkdir()
    (docker.place / "there/config.json").write_text('{"auths": {"r.example": {"auth": "YTpi"}}}')
    assert docker("--config", "there", "logout", "r.example").returncode == 0
    assert "r.example" not in (docker.place / "there/config.json").read_text()
    assert docker("images", "--config", "there/config.json").returncode == 1


def test_a_store_before_the_command(docker):
    assert docker("--root", "elsewhere", "images").returncode == 0
    assert (docker.place / "elsewhere/version").exists()


def test_debug_before_the_command(docker):
    assert "Traceback" in docker("-D", "inspect", "absent").stderr
    assert "Traceback" in docker("--log-level", "debug", "inspect", "absent").stderr
    assert "Traceback" not in docker("inspect", "absent").stderr


def test_the_builder_of_buildx_may_stand_before_its_command(docker):
    expected = docker("build", "--help").stdout
    assert docker("buildx", "--builder", "x", "build", "--help").stdout == expected
    assert docker("buildx", "--builder=x", "-D", "build", "--builder", "y", "--help").stdout == expected
    assert docker("-D", "buildx", "--builder", "x", "build", "--help").stdout == expected
    assert docker("buildx").returncode == 0 and docker("buildx").stderr.startswith("Usage:  docker buildx COMMAND")
