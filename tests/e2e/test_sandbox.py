"""RUN steps in the three surroundings: the same operations give the same tree, and nothing leaks either way."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.container import Container
from support.pairs import FIRKIN, NAMES, Built, Pair
from support.programs import CALLER, DIALER, HOPPER, THIEF, compiled
from support.registry import PASSWORD, USER, running_registry

pytestmark = [pytest.mark.root]

TOKEN = "a-registry-password-that-nobody-may-see"


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Each of the surroundings, with one store for the whole module."""
    place = tmp_path_factory.mktemp(request.param)
    for parent in (place, *place.parents[:2]):
        parent.chmod(0o755)
    yield Pair(request.param, place)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The executor's pod, for tests of its own root only."""
    return Pair("inplace", tmp_path_factory.mktemp("pod"))


def lines(built: Built) -> list[str]:
    """Return what the steps printed."""
    return [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", built.said, re.M)]


# --- trees -----------------------------------------------------------------------------------------------------------

OPERATIONS = """\
FROM busybox AS first
RUN mkdir -p /a/b/c && echo one >/a/b/one && echo two >/a/two && ln -s two /a/link
RUN chmod 4755 /a/two && ln /a/two /a/hard && mkfifo /a/fifo && chown 12:34 /a/b
RUN mkdir -m 1777 /sticky && echo x >"/a/b/with space" && echo y >"/a/ü"
RUN rm -r /a/b/c && rm /a/link && mkdir /a/link && echo in >/a/link/in
RUN rm -r /a/b && mkdir /a/b && echo new >/a/b/new
RUN touch -d 2020-01-01 /a/dated && chmod 600 /a/dated
RUN echo aaaa >/same && touch -d 2020-01-01 /same
RUN echo bbbb >/same && touch -d 2020-01-01 /same
COPY one /copied
RUN rm /copied && mkdir /copied && echo deep >/copied/deep
RUN ln /a/hard /later && echo more >>/a/b/new
RUN rm /later && mv /a/link /moved
FROM first AS branch
RUN echo branch >/branch && rm -r /moved
FROM first
COPY --from=branch /branch /from-branch
RUN echo somebody:x:1234:1234::/home/me:/bin/sh >>/etc/passwd && mkdir -p /home/me && chown 1234 /home/me && >/last
USER somebody
RUN id >/tmp/id && echo $HOME >>/tmp/id && mkdir -p ~/x && touch ~/x/mine && echo said >/dev/stdout
WORKDIR /work/there
RUN pwd >/tmp/pwd; true
USER root
RUN rm -r /work && ln -s /elsewhere/work /work
USER somebody
RUN touch here
"""
_golden: dict[str, dict[str, tuple[object, ...]]] = {}


def test_same_operations_same_tree(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = pair.build(OPERATIONS, {"one": "1\n"}).tree()
    if "tree" not in _golden:
        _golden["tree"] = tree
        if pair.name != "namespaces":
            reference = Pair("namespaces", tmp_path_factory.mktemp("reference"))
            _golden["tree"] = reference.build(OPERATIONS, {"one": "1\n"}).tree()
    assert tree == _golden["tree"]
    assert tree["a/two"] == tree["a/hard"]
    assert ("a/b/one" in tree, "a/link" in tree, "a/b/new" in tree) == (False, False, True)


def test_a_step_that_changes_nothing_has_an_empty_layer(pair: Pair) -> None:
    dockerfile = (
        "FROM busybox\nRUN mkdir -p /dev /proc /sys\nENV HOME=\nRUN ls / >/dev/null && cat /etc/hosts && echo home $HOME\n"
    )
    built = pair.build(dockerfile)
    assert built.layer_names(-1) == []
    assert "home /root" in lines(built)
    assert any("127.0.0.1" in line for line in lines(built))


def test_surroundings_are_not_in_the_layer(pair: Pair) -> None:
    dockerfile = (
        "FROM busybox\nRUN echo x >/dev/null; echo y >>/etc/hosts; ls /proc /dev; mkdir /new; touch /new/file\n"
    )
    names = pair.build(dockerfile).layer_names(-1)
    assert [name.strip("/") for name in names if name.strip("/") not in ("dev", "proc", "sys", "etc")] == [
        "new",
        "new/file",
    ]


def test_changes_that_only_a_ctime_tells(pair: Pair) -> None:
    dockerfile = (
        "FROM busybox\nRUN echo aaaa >/f; echo bbbb >/g; touch -d 2020-01-01 /f /g\n"
        "RUN echo cccc >/f; touch -d 2020-01-01 /f; cat /g >/dev/null; touch -a /g\n"
    )
    assert pair.build(dockerfile).layer_names(-1)[0] == "f"


# --- mounts ----------------------------------------------------------------------------------------------------------

MOUNTS = """\
FROM busybox AS seed
RUN mkdir -m 750 /seed && chown 8:9 /seed && echo seed >/seed/file
FROM busybox
RUN mkdir -p /covered /etc/over && echo image >/covered/file && echo image >/etc/over/file && \\
    touch -d 2020-01-01 /covered /etc/over/file
RUN --mount=type=cache,target=/covered --mount=type=cache,target=/deep/er/cache,id=two,mode=0700,uid=5,gid=6 \\
    --mount=type=secret,id=s,target=/etc/over/file,mode=0440,uid=7 --mount=type=secret,id=e,env=WORD \\
    --mount=type=tmpfs,target=/mem --mount=type=bind,target=/ctx \\
    --mount=type=bind,from=busybox,source=/bin,target=/tools,rw \\
    stat -c '%n %a %u %g' /deep/er/cache /etc/over/file; cat /etc/over/file; echo $WORD; ls -A /covered /mem; \\
    echo kept >/covered/kept; touch /deep/er/cache/x /mem/x /tools/x; cat /ctx/data; touch /ctx/x; rm -f /ctx/data; true
WORKDIR /etc
RUN --mount=type=cache,target=/covered --mount=type=cache,target=/deep/er/cache,id=two,mode=0700,uid=5,gid=6 \\
    --mount=type=cache,from=seed,source=/seed,target=/grown --mount=type=cache,from=seed,target=/new,uid=3 \\
    --mount=type=ssh,target=agent --mount=type=secret,id=s,target=near \\
    cat /covered/kept; ls /deep/er/cache; ls / | tr '\\n' ' '; echo; stat -c '%n %a %u %g' /grown /new; \\
    cat /grown/file; ls /new; echo "ssh $SSH_AUTH_SOCK"; wc -c near
RUN --mount=type=bind,target=/ctx --mount=from=scratch,target=/none --mount=from=scratch,target=/some,rw \\
    cat /ctx/data /covered/file /etc/over/file; ls -A /none; touch /some/some; ls -A /some
"""


def test_mounts(pair: Pair) -> None:
    (pair.shared / "secret").write_text("hush\n")
    secrets = (f"--secret=id=s,src={pair.inside(pair.shared / 'secret')}", "--secret=id=e,env=SPOKEN")
    built = pair.build(MOUNTS, {"data": "data\n"}, *secrets, env={"SPOKEN": "aloud"})
    said = lines(built)
    assert "/deep/er/cache 700 5 6" in said
    assert "/etc/over/file 440 7 0" in said
    assert said.count("hush") == 1
    assert "aloud" in said
    assert {"kept", "/grown 750 8 9", "/new 755 3 0", "seed", "ssh /etc/agent", "5 near"} <= set(said)
    assert said[-4:] == ["data", "image", "image", "some"]
    tree = built.tree()
    assert {"mem", "tools", "deep", "ctx"}.isdisjoint({path.split("/")[0] for path in tree} - {"bin"})
    assert built.layer_names(-1) == []
    for number in (-2, -3):
        assert [name for name in built.layer_names(number) if name.strip("/") not in ("dev", "proc", "sys")] == []
    assert "covered/kept" not in tree


def test_mount_points_that_a_command_touched_are_not_in_the_layer(pair: Pair) -> None:
    dockerfile = (
        "FROM busybox\nRUN --mount=type=tmpfs,target=/home/app/.cache/tool --mount=type=tmpfs,target=/p/q \\\n"
        "    chown -R 5:6 /home/app && chmod 700 /p && touch /p/x && rm /p/x\n"
        "RUN --mount=type=tmpfs,target=/p/q chmod 700 /p && touch /p/x\n"
    )
    built = pair.build(dockerfile)
    assert "home/app" not in built.tree()
    assert [name.strip("/") for name in built.layer_names(-1)] == ["p", "p/x"]
    assert "p" not in [name.strip("/") for name in built.layer_names(-2)]


def test_ssh_agent(pair: Pair) -> None:
    path = pair.shared / "agent.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            while connection.recv(5) == b"\0\0\0\1\x0b":  # keys, please
                connection.sendall(b"\0\0\0\5\x0c\0\0\0\0")  # there are none
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    dockerfile = "FROM busybox\nCOPY caller /caller\nRUN --mount=type=ssh /caller && /caller\n"
    built = pair.build(dockerfile, {"caller": compiled(CALLER)}, f"--ssh=default={pair.inside(path)}")
    assert lines(built).count("the agent says 12") == 2
    path.unlink()


# --- ends ------------------------------------------------------------------------------------------------------------

DANGLING = "FROM busybox AS a\nRUN ln -s nowhere /n\nFROM busybox\n"


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("exit 42", 42, "exit code: 42"),
        ("kill -9 $$", 137, "exit code: 137: killed by SIGKILL"),
        ('["/not/there"]', 127, "/not/there"),
        (f"true\n{DANGLING}RUN --mount=from=a,source=/n,target=/m true", 1, '"/n": not found'),
        ('["/etc/passwd"]', 126, "permission denied"),
    ],
)
def test_how_a_step_fails(pair: Pair, command: str, status: int, says: str) -> None:
    assert says in pair.build(f"FROM busybox\nRUN {command}\n", status=status).said


def test_what_is_left_running_is_killed(pair: Pair) -> None:
    dockerfile = (
        "FROM busybox\nRUN (while true; do echo x >>/left; sleep 0.05; done) & setsid sleep 1000 & sleep 0.2\n"
        "RUN sleep 0.3; wc -c </left >/one; sleep 0.3; wc -c </left >/two; cmp /one /two\n"
    )
    began = time.monotonic()
    pair.build(dockerfile)
    assert time.monotonic() - began < 60


def test_what_forks_and_ends_over_and_over_is_killed(pair: Pair) -> None:
    """Whoever looks for such a process finds one that has ended already, among thousands that nobody has reaped."""
    began = time.monotonic()
    pair.build("FROM busybox\nCOPY hopper /hopper\nRUN /hopper 12 4 && echo on\n", {"hopper": compiled(HOPPER)})
    assert time.monotonic() - began < 60


def test_what_forks_and_ends_over_and_over_is_killed_without_its_supervisor(tmp_path: Path) -> None:
    """A command has killed process A, and the worker ends what is left: whoever takes long to look finds nobody alive."""
    hopper = tmp_path / "hopper"
    hopper.write_bytes(compiled(HOPPER))
    hopper.chmod(0o755)
    program = (
        "import subprocess, sys\n"
        "from firkin.errors import HostError\n"
        "from firkin.sandbox.strays import no_strays\n"
        "with no_strays():\n"
        "    subprocess.run([sys.argv[1], '12', '30'])\n"
        "    raise HostError('it died', code='sandbox-died')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, hopper], capture_output=True, text=True, timeout=20)
    assert "it died" in done.stderr


def test_no_network(pair: Pair) -> None:
    dockerfile = "FROM busybox\nCOPY dial /dial\nRUN --network=none /dial\nRUN /dial\n"
    said = lines(pair.build(dockerfile, {"dial": compiled(DIALER)}))
    assert said == ["no way out", "there is a way out"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_builds_leave_nothing(pair: Pair, how: signal.Signals) -> None:
    """A cache and a secret are where they belong afterwards, and the next build is right."""
    (pair.shared / "secret").write_text(f"{TOKEN}\n")
    word = how.name
    cache = f"--mount=type=cache,target=/cache,id={word}"
    dockerfile = (
        f"FROM busybox\nRUN {cache} echo precious >/cache/{word}\n"
        f"RUN {cache} --mount=type=secret,id=s cat /cache/{word} /run/secrets/s >/dev/null; echo here; sleep 1000\n"
    )
    context = pair.context(dockerfile)
    option = f"--secret=id=s,src={pair.inside(pair.shared / 'secret')}"
    process = pair.popen(pair.arguments(context, option))
    assert process.stdout is not None
    for line in process.stdout:
        if line.rstrip().endswith(b" here"):
            break
    if how is signal.SIGKILL and pair.name != "namespaces":
        pair.container.kill()
    else:
        os.kill(process.pid, how)
    process.communicate(timeout=60)
    time.sleep(0.3)
    check = f"FROM busybox\nRUN --mount=type=cache,target=/cache,id={word} cat /cache/{word} || echo gone\n"
    said = lines(pair.build(check))
    # Where mounts are directories that were moved, only somebody who lives on can move them back.
    lost = how is signal.SIGKILL and pair.name != "namespaces"
    assert said[-1] == ("gone" if lost else "precious")
    root = pair.place / "store" if pair.name == "namespaces" else pair.container.written
    for place, _, names in os.walk(root):
        for name in names:
            path = Path(place) / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
                assert TOKEN.encode() not in path.read_bytes(), path


# --- thieves ---------------------------------------------------------------------------------------------------------


def test_steps_cannot_look_into_firkin(pair: Pair) -> None:
    dockerfile = "FROM busybox\nCOPY thief /thief\nRUN /thief\nRUN id -u; exec /thief\n"
    env = {"DOCKER_AUTH_CONFIG": '{"auths":{"r.example":{"auth":"' + TOKEN + '"}}}', "CI_PASSWORD": TOKEN}
    said = lines(pair.build(dockerfile, {"thief": compiled(THIEF)}, env=env))
    assert [line for line in said if "STOLEN" in line] == []
    assert len([line for line in said if line.startswith("looked at 49")]) == 2


def test_steps_find_no_credentials(pair: Pair) -> None:
    config = '{"auths":{"r.example":{"auth":"' + TOKEN + '"}}}'
    skipped = " -o ".join(f"-path {path}" for path in ("/proc", "/sys", "/dev", "/shared"))
    searched = rf"find / \( {skipped} \) -prune -o -type f -exec grep -lF a-registry-pass''word {{}} +; env; true"
    dockerfile = f"FROM busybox\nRUN echo a-registry-pass''word >/planted; {searched}\n"
    context = pair.context(dockerfile)
    home = {"namespaces": str(pair.place / "home"), "chroot": "/root", "inplace": "/kaniko"}[pair.name]
    build = " ".join(f"'{word}'" for word in pair.arguments(context))
    script = (
        f"mkdir -p {home}/.docker && echo '{config}' >{home}/.docker/config.json && {build} && "
        f"cat {home}/.docker/config.json"
    )
    shell = "/busybox/sh" if pair.name == "inplace" else "/bin/sh"
    env = {"DOCKER_AUTH_CONFIG": config, "DOCKER_CONFIG": f"{home}/.docker", "CI_PASSWORD": TOKEN}
    if pair.name == "inplace":
        script = script.replace("mkdir -p", "/busybox/sh mkdir -p").replace("cat ", "/busybox/sh cat ", 1)
        script = (
            f"echo '{config}' >/kaniko/config.json; cd /; {build} && read -r line </kaniko/config.json && echo $line"
        )
        env["DOCKER_CONFIG"] = "/kaniko"
    result = pair.run([shell, "-c", script], env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert config in result.stdout  # the file is there again
    assert TOKEN not in result.stderr
    assert re.findall(r"^#\d+ [\d.]+ (/.*)", result.stdout + result.stderr, re.M) == ["/planted"]


# --- the container's own root ----------------------------------------------------------------------------------------


def sequence(pod: Pair, *contexts: Path, also: str = "") -> str:
    """Build several images one after another in one container and list what is in `/` before and after."""
    builds = " && ".join(" ".join(f"'{word}'" for word in pod.arguments(context)) for context in contexts)
    script = f"echo / /*; echo /etc/*; {builds}; status=$?; echo / /*; echo /etc/*; {also} exit $status"
    result = pod.run(["/busybox/sh", "-c", script])
    assert result.returncode == 0, result.stdout + result.stderr
    listed = [line for line in result.stdout.splitlines() if line.startswith("/")]
    assert listed[:2] == listed[2:4]
    return result.stdout + result.stderr


def test_several_images_in_one_container(pod: Pair) -> None:
    """Each replaces libc and everything else under the builder; each is what a fresh container would build."""
    debian = pod.context("FROM debian\nRUN cat /etc/debian_version >/seen; ls / >>/seen; rm -rf /usr/lib/locale\n")
    static = pod.context('FROM scratch\nCOPY dial /dial\nRUN ["/dial"]\n', {"dial": compiled(DIALER)})
    hostile = pod.context(
        "FROM busybox\nRUN mkdir -p /lib /etc && echo junk >/lib/libc.so.6 && rm -rf /usr && echo b >/b\n"
    )
    again = pod.context("FROM busybox\nRUN ls / /lib && test ! -e /b && echo c >/c\n")
    sequence(pod, debian, static, hostile, again)
    trees = [Built(0, "", context.with_suffix(".tar")).tree() for context in (debian, static, hostile, again)]
    assert "usr/lib/locale" not in trees[0]
    assert set(trees[1]) == {"dial", "dev", "proc", "sys"}
    assert ("b" in trees[2], "c" in trees[2], "lib/libc.so.6" in trees[2]) == (True, False, True)
    assert ("b" in trees[3], "c" in trees[3]) == (False, True)
    assert not any(path.startswith(("kaniko", "shared", "busybox", "bases")) for tree in trees for path in tree)


@pytest.mark.registry
def test_pushing_after_everything_was_replaced(pod: Pair) -> None:
    """Credentials are at hand and names are found although files and libraries for both are gone, or the image's."""
    with running_registry(auth=True) as registry:
        host = registry.url.partition("://")[2]
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config = json.dumps({"auths": {host: {"auth": token}}})
        hostile = "rm -rf /etc/ssl /usr/lib/ssl; echo 'hosts: evil' >/etc/nsswitch.conf; echo x >/etc/ld.so.preload"
        find = "find / -name config.json -not -path '/proc/*' -not -path '/sys/*' 2>/dev/null; true"
        dockerfiles = (f"FROM debian\nRUN {find}\nRUN {hostile}\n", "FROM busybox\nRUN echo x >/x\n")
        contexts = [pod.context(dockerfile) for dockerfile in dockerfiles]
        options = [("-t", f"{host}/image:{context.name}", "--push") for context in contexts]
        builds = [
            " ".join(f"'{word}'" for word in pod.arguments(context, *option))
            for context, option in zip(contexts, options, strict=True)
        ]
        script = f"echo '{config}' >/kaniko/config.json; {' && '.join(builds)}"
        result = pod.run(["/busybox/sh", "-c", script], env={"DOCKER_CONFIG": "/kaniko"})
        assert result.returncode == 0, result.stdout + result.stderr
        assert "/kaniko/config.json" not in result.stderr
        assert result.stderr.count(f"pushing {host}/image") == 2


def test_tampering_is_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    pod = Pair("inplace", tmp_path_factory.mktemp("tampered"))
    said = pod.build("FROM busybox\nRUN echo evil >>/kaniko/site/firkin/__init__.py\n", status=3).said
    assert "changed firkin's own files" in said


def test_an_image_that_collides_is_built_by_chroot(pod: Pair) -> None:
    built = pod.build("FROM busybox\nWORKDIR /shared\nRUN echo x >/shared/file\n", None, "--isolation", "auto")
    assert "shared/file" in built.tree()
    assert "belongs to this container" in pod.build("FROM busybox\nWORKDIR /shared\nRUN true\n", status=3).said


# --- no rights at all ------------------------------------------------------------------------------------------------


def test_a_user_without_rights_can_copy_but_not_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = Pair("chroot", tmp_path_factory.mktemp("plain"))
    for parent in (pair.place, *pair.place.parents[:2]):
        parent.chmod(0o755)
    pair.shared.chmod(0o777)
    pair.container = replace(pair.container.as_user(1000), env={"HOME": "/tmp"})
    assert isinstance(pair.container, Container)

    def build(dockerfile: str) -> tuple[int, str, Path]:
        context = pair.context(dockerfile, {"file": "x\n"})
        command = pair.arguments(context, "--root", "/shared/store", "--isolation", "auto")
        result = pair.run(command)
        return result.returncode, result.stdout + result.stderr, context.with_suffix(".tar")

    status, said, image = build("FROM busybox\nCOPY file /file\nCOPY --chown=12:34 file /dir/file\nWORKDIR /w\n")
    assert status == 0, said
    tree = Built(0, said, image).tree()
    assert [fact[2:4] for fact in (tree["file"], tree["dir/file"], tree["w"])] == [(0, 0), (12, 34), (0, 0)]
    status, said, _ = build("FROM busybox\nRUN true\n")
    assert status == 3, said
    assert "no way to run commands on this machine" in said
    info = pair.run([pair.python, *FIRKIN, "info", "--root", "/shared/store"]).stdout
    assert "CAP_SYS_CHROOT is missing" in info
