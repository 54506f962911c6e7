"""A forked process that serves the one that forked it; each test forks in a program of its own, of one thread."""

import subprocess
import sys

PROLOGUE = """
import os, signal, sys, time
from firkin.linux.server import fork_server

def echo(channel):
    while message := channel.recv(64):
        if message == b"fds":
            message = " ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode()
        channel.send(message)
    os._exit(0)

"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROLOGUE + program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_serves_and_ends_with_its_socket() -> None:
    said = run("""
pid, channel = fork_server(echo, on_stop=signal.SIG_IGN, with_parent=signal.SIGKILL)
os.kill(pid, signal.SIGTERM)
channel.send(b"still here")
print(channel.recv(64).decode())
channel.close()
print(os.waitpid(pid, 0)[1])
""")
    assert said == "still here\n0\n"


def test_it_has_no_other_descriptors() -> None:
    said = run("""
held = [os.pipe() for _ in range(9)]
pid, channel = fork_server(echo, on_stop=signal.SIG_DFL, with_parent=signal.SIGTERM)
channel.send(b"fds")
print(len(channel.recv(64).split()))
os.kill(pid, signal.SIGTERM)
print(os.waitpid(pid, 0)[1])
""")
    assert said == f"{3 + 1 + 1}\n{15}\n"  # the socket, and the listing itself


def test_it_ends_with_its_parent() -> None:
    said = run("""
read_end, write_end = os.pipe()
if os.fork() == 0:
    pid, channel = fork_server(lambda channel: time.sleep(60), on_stop=signal.SIG_IGN, with_parent=signal.SIGKILL)
    os.write(write_end, b"%d" % pid)
    os._exit(0)
os.wait()
pid = int(os.read(read_end, 32))
for _ in range(500):
    try:
        state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        state = "Z"
    if state == "Z":
        break
    time.sleep(0.01)
print(state)
""")
    assert said == "Z\n"
