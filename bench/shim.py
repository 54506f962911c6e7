"""Run a command and write what it cost to a descriptor: python -I -S shim.py DESCRIPTOR COMMAND ….

A process of its own, so that the kernel's sums over reaped children (rusage, /proc/self/io) hold the command's
whole process tree and nothing else.
"""

import os
import resource
import sys
import time


def read_io() -> dict[str, int]:
    with open("/proc/self/io") as file:
        return {name: int(value) for name, value in (line.split(": ") for line in file)}


def main() -> None:
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(descriptor, False)
    before = read_io()
    begin = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - begin
    after, used = read_io(), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = (
        seconds,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss * 1024,
        after["rchar"] - before["rchar"],
        after["wchar"] - before["wchar"],
    )
    os.write(descriptor, " ".join(map(str, figures)).encode())
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


main()
