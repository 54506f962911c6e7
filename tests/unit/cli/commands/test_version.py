"""`version`, `info` and the builders of buildx as jobs ask for them."""

import json
import subprocess
import sys

import pytest

from firkin import __version__
from firkin.about.as_docker import BUILDX_VERSION, ENGINE_VERSION


@pytest.fixture
def firkin(tmp_path):
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FIRKIN_ROOT": str(tmp_path / "store")}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "firkin", *words]
        return subprocess.run(command, env=environ | more, capture_output=True, text=True, timeout=60)

    run.root = tmp_path / "store"
    return run


@pytest.mark.parametrize(("words", "expected"), [
    (("version", "--format", "{{.Server.Version}}"), ENGINE_VERSION),
    (("version", "-f", "{{.Client.Version}} {{.Client.FirkinVersion}}"), f"{ENGINE_VERSION} {__version__}"),
    (("version", "-f", "{{.Server.Os}}{{with index .Server.Components 0}}/{{.Name}}{{end}}"), "linux/Engine"),
    (("version", "-f", "{{.Server.APIVersion}}"), "1.50"),
    (("info", "--format", "{{.ServerVersion}}"), ENGINE_VERSION),
    (("info", "-f", "{{.OSType}} {{.Swarm.LocalNodeState}} {{.DefaultRuntime}} {{.ClientInfo.Version}}"),
     f"linux inactive runc {ENGINE_VERSION}"),
    (("info", "-f", "{{range .SecurityOptions}}{{println .}}{{end}}{{.Containers}}"), None),
    (("info", "-f", "{{json .Swarm.ControlAvailable}}"), "false"),
])  # fmt: skip
def test_templates_that_jobs_have(firkin, words, expected):
    result = firkin(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert expected is None or result.stdout == f"{expected}\n"


@pytest.mark.parametrize(("command", "name"), [("version", ".Server.Nothing"), ("version", ".Client.A.B"), ("info", ".Nothing")])
def test_a_field_that_is_not_there(firkin, command, name):
    result = firkin(command, "--format", "{{" + name + "}}")
    assert (result.returncode, result.stdout) == (1, "\n") and "error: template parsing error: " in result.stderr


def test_json_is_the_whole(firkin):
    version = json.loads(firkin("version", "--format", "json").stdout)
    assert set(version) == {"Client", "Server"} and version == json.loads(firkin("version", "-f", "{{json .}}").stdout)
    info = json.loads(firkin("info", "--format", "json").stdout)
    assert info["ServerVersion"] == ENGINE_VERSION and info["Firkin"]["ways"]
    own = json.loads(firkin("info", "--json").stdout)
    assert set(own) == set(info["Firkin"]) and own["ways"] == info["Firkin"]["ways"]


def test_info_asks_the_machine_only_for_what_is_wanted(firkin):
    firkin("info", "--format", "{{.ServerVersion}} {{.Images}} {{.NCPU}}")
    assert not firkin.root.exists()  # no trial has been made in it
    assert firkin("info", "--format", "{{.Driver}}").stdout in ("overlay\n", "directory\n", "inplace\n", "none\n")


def test_blocks_as_dockers(firkin):
    info = firkin("info", DOCKER_HOST="tcp://docker:2375")
    client, _, server = info.stdout.partition("\n\n")
    assert client.startswith("Client: firkin ") and f"\n Version:    {ENGINE_VERSION}\n" in client
    assert server.startswith("Server:\n Containers: 0\n  Running: 0\n")
    assert f"\n Server Version: {ENGINE_VERSION}\n" in server and "\n Isolation:\n" in server
    assert "WARNING: DOCKER_HOST is set, and not read" in info.stderr
    version = firkin("version").stdout
    assert f"\n Version:           {ENGINE_VERSION}\n" in version and f"\n  Version:          {ENGINE_VERSION}\n" in version


def test_a_job_for_setup_buildx_goes_on(firkin):
    """The commands of docker/setup-buildx-action, in their order."""
    assert firkin("buildx").returncode == 0
    assert firkin("buildx", "version").stdout.startswith(f"github.com/docker/buildx v{BUILDX_VERSION} ")
    name = "builder-0a1b"
    made = firkin("buildx", "create", "--name", name, "--driver", "docker-container", "--buildkitd-flags",
                  "--allow-insecure-entitlement security.insecure", "--driver-opt", "network=host", "--use")  # fmt: skip
    assert (made.returncode, made.stdout, made.stderr) == (0, f"{name}\n", "")
    shown = firkin("buildx", "inspect", "--bootstrap", "--builder", name, name)
    assert shown.stdout.startswith(f"Name:   {name}\nDriver: firkin\n\nNodes:\nName:           {name}\n")
    # For BuildKit's versions the action for builds adds attestations.
    assert "Status:         running\n" in shown.stdout and "BuildKit version" not in shown.stdout
    assert firkin("buildx", "use", name).returncode == 0
    gone = firkin("buildx", "rm", name)
    assert (gone.returncode, gone.stderr) == (0, f"{name} removed\n")


def test_what_a_builder_cannot_be_is_said(firkin):
    refused = firkin("buildx", "create", "--driver", "kubernetes")
    assert (refused.returncode, refused.stdout) == (1, "") and "firkin builds in its own process" in refused.stderr
    warned = firkin("buildx", "create", "--buildkitd-config", "buildkitd.toml")
    assert warned.stdout == "firkin\n" and "warning: buildkitd.toml is not read" in warned.stderr


def test_builders_are_listed_in_dockers_columns(firkin):
    head, builder, node = firkin("buildx", "ls").stdout.splitlines()
    assert head.split() == ["NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"]
    assert builder.split() == ["firkin*", "firkin"] and node.startswith(" \\_ firkin    \\_ this machine   running   firkin ")
    names = firkin("buildx", "ls", "--format", "{{.Name}}: {{.Status}}").stdout
    assert names == "firkin: running\nfirkin: running\n"
    document = json.loads(firkin("buildx", "ls", "--format", "json").stdout)
    assert document["Name"] == "firkin" and document["Nodes"][0]["Status"] == "running"
    assert firkin("buildx", "ls", "--format", "{{.Nothing}}").returncode == 1
