"""The fork of a worker, seen from the process that stays outside."""

import subprocess
import sys
from pathlib import Path


def test_a_worker_that_ends_early_is_not_a_reader_that_left(tmp_path: Path) -> None:
    # BrokenPipeError from the worker's pipe would be taken for a closed standard output, and nothing be told.
    program = (
        "import os, sys, time\n"
        "from firkin.worker import start\n"
        "from firkin.builder.request import BuildRequest\n"
        "find = start.find_backend\n"
        "start.find_backend = lambda *a: (time.sleep(0.3), find(*a))[1]\n"
        "def prepare():\n"
        "    os.write(write_end, b'last words')\n"
        "    os._exit(3)\n"
        "read_end, write_end = os.pipe()\n"
        "pid = start.start_worker(BuildRequest(context='.', store_root=sys.argv[1]), write_end, prepare=prepare)\n"
        "print(os.read(read_end, 100).decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert ended.stdout == "last words 3\n", ended.stderr
