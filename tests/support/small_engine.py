"""A worker process with a tiny engine, for tests of the process boundary."""

# A worker with small engines; the request chooses one.
WORKER = """
import os, signal, sys, time
from firkin.errors import StepFailed
from firkin.events import Finished, Log, Started
from firkin.builder.request import BuildResult, ImageResult
from firkin.worker.__main__ import main

def build(request, emit, cancel, backend):
    emit(Started(1.0, "a"))
    match request.context:
        case "done":
            image = ImageResult("sha256:a", "sha256:b", "m", request.tags, "linux/amd64", 1)
            print("to nobody", flush=True)
            return BuildResult(image, (image,), (), (), 0.5)
        case "failed":
            raise StepFailed("`false` ended with 7", exit_code=7)
        case "loud":
            emit(Log(2.0, "b", "stdout", b"of another step\\n"))
            emit(Finished(2.0, "b", "done"))
            for number in range(3000):
                emit(Log(2.0, "a", "stdout", b"%d: " % number + b"x" * 60 + b"\\n"))
            emit(Log(2.0, "a", "stderr", b"the end\\n"))
            emit(Finished(3.0, "a", "failed"))
            raise StepFailed("`false` ended with 7", exit_code=7)
        case "bug":
            raise KeyError("x")
        case "wait":
            while True:
                cancel.check()
                time.sleep(0.01)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)

sys.exit(main(build))
"""
