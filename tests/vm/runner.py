"""The program inside of the virtual machine: runs the scripts that come over a virtio port, one after the other.

Stand-alone. A request is a JSON line `{"id", "script", "user", "timeout"}`; its answer is `{"id", "code", "output"}`. Each
script runs in a login session of its user (su -l, with PAM), which ends with the script. At the start of the machine
`{"hello": boot id}` is sent.
"""

import json
import os
import signal
import subprocess
import tempfile
import time

PORT = "/dev/virtio-ports/firkin"
LIMIT = 1 << 20


def run(script: str, user: str, timeout: float) -> tuple[int, str]:
    """Run a script of the shell as a user who has just logged in. Processes that it leaves behind stay."""
    with tempfile.NamedTemporaryFile("w", prefix="script-") as file, tempfile.TemporaryFile() as output:
        file.write(script)
        file.flush()
        os.chmod(file.name, 0o644)  # an argument would be too long for large ones
        process = subprocess.Popen(
            ["su", "-l", user, "-c", f". {file.name}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.5)
            process.kill()
            process.wait()
            code = -1
        output.seek(0)
        return code, output.read(LIMIT).decode(errors="replace")


def main() -> None:
    """Serve for ever."""
    while not os.path.exists(PORT):
        time.sleep(0.1)
    with open(PORT, "r+b", buffering=0) as port, open("/proc/sys/kernel/random/boot_id") as boot:

        def say(message: dict[str, object]) -> None:
            data = memoryview(json.dumps(message).encode() + b"\n")
            while data:
                data = data[port.write(data) :]

        say({"hello": boot.read().strip()})
        pending = b""
        while True:
            got = port.read(1 << 16)
            if not got:  # nobody is connected
                time.sleep(0.2)
                continue
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                code, output = run(asked["script"], asked["user"], asked["timeout"])
                say({"id": asked["id"], "code": code, "output": output})


main()
