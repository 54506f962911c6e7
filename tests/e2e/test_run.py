"""`run`, `create`, `start`, `attach` and `exec` as root and as a user: streams, terminals, signals and exit codes."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.accounts import Firkin
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.userns]

RUN = ("run", "--rm", "--network", "none")


class Screen:
    """Both ends of a terminal on which firkin runs."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self.master, self.shown = process, master, b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, text: bytes, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            ready = select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, f"{text!r} is not among {self.shown!r}"
            try:
                self.shown += os.read(self.master, 4096)
            except OSError as error:
                raise AssertionError(f"{text!r} is not among {self.shown!r}") from error
        self.shown = self.shown.partition(text)[2]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def ends(self) -> int:
        """Wait for the end; what is shown until then must be read, or a full terminal would hold it up."""
        end = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self.master, 4096)
                except OSError:
                    break
        return self.process.wait(60)


@contextmanager
def on_terminal(firkin: Firkin, *words: str, rows: int = 30, columns: int = 90) -> Iterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(slave)
    env = {"TERM": "xterm"}
    process = firkin.popen(*words, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    try:
        yield Screen(process, master)
        assert termios.tcgetattr(slave) == before, "the terminal was not restored"
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


def test_exit_codes(shared_box: Firkin) -> None:
    """The command's own, 128 + a signal's number, 127 and 126 for what cannot be run, 125 for the rest."""
    for words, code, said in (
        (("sh", "-c", "exit 3"), 3, ""),
        (("nothing",), 127, "executable file not found in $PATH"),
        (("/nothing",), 127, "no such file or directory"),
        (("/etc",), 126, "permission denied"),
        (("/etc/passwd",), 126, "permission denied"),
    ):
        result = shared_box.run(*RUN, "box:1", *words, check=False)
        assert (result.returncode, result.stdout) == (code, ""), (words, result.stderr)
        assert said in result.stderr
    for options, said in (
        (("--bogus",), "unknown option `--bogus`"),
        (("-m", "x"), "invalid size: 'x'"),
        (("-w", "rel"), "needs to be an absolute path"),
        (("--restart", "always"), "Conflicting options: --restart and --rm"),
        (("-u", "nobody-here"), "unable to find user nobody-here: no matching entries in passwd file"),
        (("--pull", "never", "--name", "x1", "nothing:1"), "No such image: nothing:1"),
    ):
        result = shared_box.run(*RUN, *options, "box:1", "true", check=False)
        assert (result.returncode, result.stdout) == (125, ""), (options, result.stderr)
        assert said in result.stderr
    assert shared_box.run("run", "--network", "none", "-d", "-a", "stdin", "box:1", check=False).returncode == 1


def test_streams_are_kept_apart_and_whole(shared_box: Firkin) -> None:
    result = shared_box.run(*RUN, "box:1", "sh", "-c", "echo out; echo err >&2; printf end")
    assert (result.stdout, result.stderr) == ("out\nend", "err\n")
    result = shared_box.run(*RUN, "-a", "stderr", "box:1", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("", "err\n")
    data = "0123456789abcdef" * 65536
    assert shared_box.run(*RUN, "-i", "box:1", "cat", input=data).stdout == data


def test_output_of_a_command_that_ends_at_once(shared_box: Firkin) -> None:
    """Nothing of what is written in a few milliseconds is lost."""
    for number in range(8):
        assert shared_box.run(*RUN, "box:1", "echo", str(number)).stdout == f"{number}\n"


def test_a_terminal_has_its_size_from_the_first_look_on(shared_box: Firkin) -> None:
    for _ in range(3):
        with on_terminal(shared_box, *RUN, "-it", "box:1", "stty", "size", rows=31, columns=77) as screen:
            screen.until(b"31 77")
            assert screen.ends() == 0
    shared_box.run("create", "-it", "--name", "sized", "--network", "none", "box:1", "stty", "size")
    for rows in (22, 33):  # that of whoever starts it
        with on_terminal(shared_box, "start", "-ai", "sized", rows=rows, columns=66) as screen:
            screen.until(b"%d 66" % rows)
            assert screen.ends() == 0
    shared_box.run("rm", "sized")


def test_input_ends_where_ours_does(shared_box: Firkin) -> None:
    assert shared_box.run(*RUN, "-i", "box:1", "wc", "-c", input="abc").stdout.strip() == "3"
    assert shared_box.run(*RUN, "-i", "box:1", "sh", "-c", "cat; echo after", input="").stdout == "after\n"
    assert shared_box.run(*RUN, "box:1", "cat", input="not given").stdout == ""


def test_only_input_is_attached(shared_box: Firkin) -> None:
    """Docker prints the id, passes the input on and does not wait for the end."""
    words = (
        "run",
        "--network",
        "none",
        "-i",
        "-a",
        "stdin",
        "box:1",
        "sh",
        "-c",
        "cat >/got; mv /got /all; sleep 1000",
    )
    id = shared_box.run(*words, input="x\n").stdout.strip()
    assert len(id) == 64
    script = "while [ ! -e /all ]; do sleep 0.1; done; cat /all"
    assert shared_box.run("exec", id, "sh", "-c", script).stdout == "x\n"
    shared_box.run("rm", "-f", id)


def test_what_is_given_beats_the_image(shared_box: Firkin, tmp_path_factory: pytest.TempPathFactory) -> None:
    context = shared_box.directory("words-run")
    (context / "Dockerfile").write_text(
        'FROM box:1\nENV COMMIT=abc\nWORKDIR /srv\nUSER 1000\nENTRYPOINT ["/bin/false"]\nCMD ["x"]\n'
    )
    shared_box.account.give(context)
    shared_box.run("build", "-t", "given:1", context)
    run = (*RUN, "--entrypoint", "sh")
    assert shared_box.run(*run, "given:1", "-c", "echo $COMMIT $(pwd) $(id -u)").stdout == "abc /srv 1000\n"
    words = ("-e", "COMMIT=a different value", "-w", "/made/here", "-u", "0", "-h", "name", "given:1", "-c")
    shown = shared_box.run(*run, *words, "echo $COMMIT $(pwd) $(id -u) $(hostname)")
    assert shown.stdout == "a different value /made/here 0 name\n"
    assert shared_box.run(*RUN, "--entrypoint", "", "given:1", "echo", "bare").stdout == "bare\n"
    file = shared_box.place / "variables"
    file.write_text("# comment\nA=from file\nCOMMIT=file\n")
    shown = shared_box.run(*run, "--env-file", file, "-e", "GONE", "given:1", "-c", 'echo "$A|$COMMIT|${GONE-unset}"')
    assert shown.stdout == "from file|file|unset\n"


def test_detached(shared_box: Firkin) -> None:
    id = shared_box.run(
        "run", "-d", "--network", "none", "--name", "away", "box:1", "sh", "-c", "echo up; sleep 100"
    ).stdout.strip()
    assert len(id) == 64
    again = shared_box.run("run", "-d", "--network", "none", "--name", "away", "box:1", check=False)
    assert again.returncode == 125 and 'name "/away" is already in use by container' in again.stderr
    assert shared_box.run("start", "away").stdout == "away\n"  # it runs already
    assert shared_box.run("rm", "-f", "away").stdout == "away\n"


def test_files_of_ids(shared_box: Firkin) -> None:
    file = shared_box.directory("ids") / "id"
    id = shared_box.run("create", "--cidfile", file, "box:1").stdout.strip()
    assert file.read_text() == id
    again = shared_box.run(*RUN, "--cidfile", file, "box:1", "true", check=False)
    assert (
        again.returncode == 125
        and "container ID file found, make sure the other container isn't running" in again.stderr
    )
    shared_box.run("rm", id)
    file.unlink()
    assert shared_box.run(*RUN, "--cidfile", file, "-w", "relative", "box:1", check=False).returncode == 125
    assert not file.exists()


def test_starting_again(shared_box: Firkin) -> None:
    words = ("create", "-i", "--network", "none", "--name", "again", "box:1", "sh", "-c", "cat; exit 4")
    id = shared_box.run(*words).stdout.strip()
    result = shared_box.run("start", "-a", "-i", "again", input="typed\n", check=False)
    assert (result.returncode, result.stdout) == (4, "typed\n")
    result = shared_box.run("container", "start", "-i", id[:12], input="once more\n", check=False)
    assert (result.returncode, result.stdout) == (4, "once more\n")
    both = shared_box.run("start", "-a", "again", "other", check=False)
    assert both.returncode == 1 and "you cannot start and attach multiple containers at once" in both.stderr
    some = shared_box.run("start", "nobody", "again", check=False)
    assert (some.returncode, some.stdout) == (1, "again\n") and "No such container: nobody" in some.stderr
    shared_box.run("rm", "-f", "again")
    shared_box.run("create", "--network", "none", "--name", "broken", "box:1", "nothing")
    failed = shared_box.run("start", "broken", check=False)
    assert failed.returncode == 1 and "executable file not found in $PATH" in failed.stderr
    shared_box.run("rm", "broken")


def test_attaching(shared_box: Firkin) -> None:
    script = "while read line; do echo got $line; [ $line = end ] && exit 6; done"
    shared_box.run("run", "-d", "-i", "--network", "none", "--name", "open", "box:1", "sh", "-c", script)
    watcher = shared_box.popen("attach", "--no-stdin", "open", stdout=subprocess.PIPE)
    time.sleep(1)
    result = shared_box.run("attach", "open", input="one\nend\n", check=False)
    assert (result.returncode, result.stdout) == (6, "got one\ngot end\n")
    assert watcher.communicate(timeout=60)[0] == b"got one\ngot end\n" and watcher.returncode == 6
    stopped = shared_box.run("attach", "open", check=False)
    assert stopped.returncode == 1 and "You cannot attach to a stopped container, start it first" in stopped.stderr
    shared_box.run("rm", "open")
    assert "No such container: open" in shared_box.run("attach", "open", check=False).stderr


def test_second_commands(shared_box: Firkin) -> None:
    shared_box.run(
        "run", "-d", "--network", "none", "-e", "A=1", "-w", "/srv", "--name", "main", "box:1", "sleep", "1000"
    )
    run = ("exec", "main")
    result = shared_box.run(*run, "sh", "-c", "echo $A $B; pwd; echo err >&2; exit 9", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (9, "1\n/srv\n", "err\n")
    words = (
        "exec",
        "-e",
        "A=2",
        "-e",
        "B=x",
        "-w",
        "/",
        "-u",
        "1000:5",
        "-i",
        "main",
        "sh",
        "-c",
        "echo $A $B $(pwd) $(id -u):$(id -g); cat",
    )
    assert shared_box.run(*words, input="in\n").stdout == "2 x / 1000:5\nin\n"
    assert shared_box.run("exec", "-d", "main", "touch", "/made").stdout == ""
    end = time.monotonic() + 30
    while shared_box.run("exec", "main", "test", "-e", "/made", check=False).returncode:
        assert time.monotonic() < end
    for words, code, said in (
        (("nothing",), 127, "executable file not found in $PATH"),
        (("/etc/passwd",), 126, "permission denied"),
    ):
        result = shared_box.run(*run, *words, check=False)
        assert result.returncode == code and said in result.stderr + result.stdout
    gone = shared_box.run("exec", "nobody", "true", check=False)
    assert gone.returncode == 1 and "No such container: nobody" in gone.stderr
    assert shared_box.run("exec", "main", check=False).returncode == 1
    shared_box.run("rm", "-f", "main")
    shared_box.run("create", "--name", "still", "box:1")
    result = shared_box.run("exec", "still", "true", check=False)
    assert result.returncode == 1 and "is not running" in result.stderr
    shared_box.run("rm", "still")


def test_an_exec_loads_next_to_nothing(shared_box: Firkin) -> None:
    """All of it, with an answer and an exit code, and not only what is imported at the top of modules."""
    shared_box.run("run", "-d", "--name", "quick", "--network", "none", "box:1", "sleep", "1000")
    shared_box.run("exec", "quick", "true")  # compiled now
    python, *words = shared_box.command("exec", "quick", "sh", "-c", "echo out; exit 3")
    done = shared_box.account.run([python, "-X", "importtime", *words], env=shared_box.environment(), cwd=shared_box.place)
    wrong = shared_box.account.run(
        [python, "-X", "importtime", *shared_box.command("exec", "quick", "nothing")[1:]],
        env=shared_box.environment(), cwd=shared_box.place,
    )  # fmt: skip
    shared_box.run("rm", "-f", "quick")
    assert (done.stdout, done.returncode, wrong.returncode) == ("out\n", 3, 127)
    assert not {"msgspec", "typing"} & set(loaded_of(wrong.stderr)), "an error that has no hint of a front"
    loaded = loaded_of(done.stderr)
    assert "firkin.cli.containers.session" in loaded and len(loaded) < 45
    assert {"msgspec", "typing", "re", "enum", "firkin.containers.home.home", "firkin.hints"} & set(loaded) == set()


def loaded_of(times: str) -> list[str]:
    """Return the modules that `-X importtime` told of, from the command line's first on."""
    loaded = [line.rpartition("|")[2].strip() for line in times.splitlines() if line.startswith("import time:")]
    return loaded[loaded.index("firkin.cli.main") :]


def test_signals_are_passed_on(shared_box: Firkin) -> None:
    script = "trap 'echo got; exit 42' TERM; trap 'echo winch' WINCH; echo ready; while :; do sleep 0.1; done"
    process = shared_box.popen(*RUN, "box:1", "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGWINCH)
    assert process.stdout.readline() == b"winch\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == b"got\n" and process.returncode == 42


def test_signals_are_not_passed_on(shared_box: Firkin) -> None:
    run = (
        "run",
        "--network",
        "none",
        "--name",
        "deaf",
        "--sig-proxy=false",
        "box:1",
        "sh",
        "-c",
        "echo ready; exec sleep 1000",
    )
    process = shared_box.popen(*run, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(60) == 143
    assert shared_box.run("exec", "deaf", "echo", "alive").stdout == "alive\n"
    shared_box.run("rm", "-f", "deaf")


def test_nobody_reads_any_more(shared_box: Firkin) -> None:
    """The front ends; the container goes on, as with docker."""
    words = ("sh", "-c", "while echo y; do usleep 10000; done")  # slowly, as the log is not bounded
    process = shared_box.popen("run", "--network", "none", "--name", "loud", "box:1", *words, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(60) == 141
    assert shared_box.run("exec", "loud", "echo", "alive").stdout == "alive\n"
    shared_box.run("rm", "-f", "loud")


def test_a_terminal(shared_box: Firkin) -> None:
    with on_terminal(shared_box, *RUN, "-it", "box:1", "sh") as screen:
        screen.until(b"# ")
        screen.type(b"stty size\r")
        screen.until(b"30 90")
        screen.resize(40, 100)
        screen.type(b"while ! stty size | grep '40 10'0; do sleep 0.1; done\r")
        screen.until(b"40 100")
        screen.type(b"sleep 100\r")
        time.sleep(0.5)
        screen.type(b"\x03")
        screen.type(b"echo $TERM aft''er; tty; exit 5\r")
        screen.until(b"xterm after")
        assert screen.ends() == 5


def test_leaving_a_terminal(shared_box: Firkin) -> None:
    with on_terminal(shared_box, "run", "-it", "--network", "none", "--name", "left", "box:1", "sh") as screen:
        screen.until(b"# ")
        screen.type(b"\x10\x11")
        assert screen.ends() == 0
    with on_terminal(shared_box, "attach", "--detach-keys", "ctrl-a,d", "left") as screen:
        screen.type(b"echo $((40+2))\r")
        screen.until(b"42\r\n")
        screen.type(b"\x01d")
        assert screen.ends() == 0
    with on_terminal(shared_box, "exec", "-it", "left", "sh", "-c", "tty; stty size; exec sh") as screen:
        screen.until(b"/dev/pts/")
        screen.until(b"30 90")
        screen.type(b"exit 3\r")
        assert screen.ends() == 3
    with on_terminal(shared_box, "attach", "left") as screen:
        screen.type(b"exit 7\r")
        assert screen.ends() == 7
    with on_terminal(shared_box, "start", "-ai", "left") as screen:
        screen.until(b"# ")
        screen.process.terminate()  # a terminal is restored however it ends
        assert screen.ends() == 143
    shared_box.run("rm", "-f", "left")


def test_a_terminal_is_needed(shared_box: Firkin) -> None:
    result = shared_box.run(*RUN, "-it", "box:1", "sh", check=False)
    assert result.returncode == 1 and "the input device is not a TTY" in result.stderr
    process = shared_box.popen(*RUN, "-t", "box:1", "echo", "x", stdout=subprocess.PIPE)
    assert process.communicate(timeout=60)[0] == b"x\r\n" and process.returncode == 0


def test_images_are_pulled(shared_box: Firkin, registry: Registry) -> None:
    context = shared_box.directory("pulled")
    (context / "Dockerfile").write_text('FROM box:1\nCMD ["echo", "pulled"]\n')
    shared_box.account.give(context)
    name = f"{registry.host}/pulled/{shared_box.account.name}:1"
    shared_box.run("build", "-q", "-t", name, context)
    shared_box.run("push", "-q", name)
    shared_box.run("rmi", name)
    result = shared_box.run(*RUN, name)
    assert result.stdout == "pulled\n"
    said = result.stderr.splitlines()
    assert said[0] == f"Unable to find image '{name}' locally" and said[1].endswith(
        f": Pulling from pulled/{shared_box.account.name}"
    )
    assert said[-1] == f"Status: Downloaded newer image for {name}"
    assert shared_box.run(*RUN, name).stderr == ""
    assert "Image is up to date" in shared_box.run(*RUN, "--pull", "always", name).stderr
    shared_box.run("rmi", name)
    assert shared_box.run(*RUN, "--pull", "missing", "-q", name).stderr == ""


def test_an_init_has_dockers_name_and_tells_nothing_of_this_machine(shared_box: Firkin) -> None:
    looks = "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm"
    shown = shared_box.run(*RUN, "--init", "box:1", "sh", "-c", looks).stdout
    assert shown.rstrip().endswith("docker-init") and shown.startswith("/sbin/docker-init -- sh -c tr ")
    assert not {"python", "marshal", "import"} & set(shown.replace("/", " ").split())


def test_file_systems_have_their_type_for_a_device(shared_box: Firkin) -> None:
    """Scripts look for `tmpfs` or `proc` in the first column of mount and df."""
    mounts = shared_box.run(*RUN, "--tmpfs", "/run", "box:1", "cat", "/proc/mounts").stdout.splitlines()
    devices = {line.split()[1]: line.split()[0] for line in mounts}
    assert (devices["/run"], devices["/proc"], devices["/dev"]) == ("tmpfs", "proc", "tmpfs")
