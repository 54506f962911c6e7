"""What a command leaves behind when it has killed the process that was to end it."""

import subprocess
import sys

# A process of its own, since it becomes the parent of whatever is orphaned below it, and stays that.
PROLOGUE = """
import os, subprocess, sys, time
from firkin.errors import HostError
from firkin.sandbox.strays import no_strays

# A process of its own session that orphans itself, and says its number.
STRAY = '''
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(300)
    os._exit(0)
time.sleep(0.2)
os._exit(0)
'''

def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

def start():
    first = subprocess.Popen([sys.executable, "-c", STRAY], stdout=subprocess.PIPE)
    pid = int(first.stdout.readline())
    first.wait()
    return pid

def fails(code, action):
    try:
        with no_strays():
            action()
            raise HostError("it died", code=code)
    except HostError as error:
        assert error.code == code
    else:
        sys.exit("the error got lost")
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROLOGUE + program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


def test_strays_are_ended_and_others_are_not() -> None:
    run("""
mine = subprocess.Popen(["sleep", "300"])
strays = []
def leave():
    strays.append(start())
    assert is_running(strays[0])
fails("sandbox-died", leave)
assert not is_running(strays[0])
assert mine.poll() is None
mine.kill()
print("held")
""")


def test_nothing_is_ended_when_the_sandbox_did_not_die() -> None:
    run("""
strays = []
fails("sandbox-setup", lambda: strays.append(start()))
assert is_running(strays[0])
fails("sandbox-died", lambda: os.kill(strays[0], 9))
os.waitpid(strays[0], 0)
print("held")
""")
