"""What crosses the pipe between worker and front: errors arrive as what they were."""

import errno

import msgspec
import pytest

from firkin import errors
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, Secret
from firkin.events import Log, Planned, Vertex, encode_line
from firkin.hints import Hint
from firkin.source import Source
from firkin.worker.messages import Failure, Success, decode_line, error_of, failure_of

IMAGE = ImageResult("sha256:" + "a" * 64, "sha256:" + "b" * 64, "m", (), "linux/amd64", 1)
RESULT = BuildResult(IMAGE, (IMAGE,), (), (), 0.5)
# Workers build: they have nothing to do with containers.
ERRORS = [kind for kind in vars(errors).values()
          if isinstance(kind, type) and issubclass(kind, errors.FirkinError) and not issubclass(kind, errors.ContainerError)]  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_crosses_the_pipe(kind):
    sent = kind("what failed", hints=("do this",))
    if kind is not errors.InternalError:
        sent.span = Source("Dockerfile", "a\nb\n").span(2)
    sent.__cause__ = errors.FirkinError("because")
    sent.__cause__.__cause__ = OSError(errno.EACCES, "permission denied")
    line = decode_line(encode_line(failure_of(sent)))
    assert isinstance(line, Failure)
    got = error_of(line)
    assert type(got) is kind and str(got) == str(sent)
    assert (got.code, got.exit_code, got.hints, got.span) == (sent.code, sent.exit_code, sent.hints, sent.span)
    assert str(got.__cause__) == "because" and "permission denied" in str(got.__cause__.__cause__)


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfeF\0R\0", b"\xed\xb0\x80"])
def test_lines_carry_what_is_not_utf8_as_replacement_characters(raw):
    text = raw.decode("utf-8", "surrogateescape")
    shown = raw.decode("utf-8", "replace") if raw != b"\xed\xb0\x80" else "\ufffd" * 3
    source = Source(text, text)
    vertex = Vertex(text, text, span=source.span(1))
    planned = decode_line(encode_line(Planned(1.0, (vertex,), source)))
    assert isinstance(planned, Planned) and planned.source == Source(shown, shown)
    assert planned.vertices == (Vertex(shown, shown, span=Source(shown, shown).span(1)),)
    assert decode_line(encode_line(Log(1.0, text, "stdout", raw))).data == raw  # output stays exact
    failed = errors.DockerfileError(text, hints=(text,), span=source.span(1))
    got = error_of(decode_line(encode_line(failure_of(failed))))
    assert (type(got), got.message, got.hints) == (errors.DockerfileError, shown, (shown,))
    result = msgspec.structs.replace(RESULT, outputs=(text,), metadata=msgspec.Raw(b'{"a":1}'))
    done = decode_line(encode_line(Success(result)))
    assert done.result.outputs == (shown,) and bytes(done.result.metadata) == b'{"a":1}'


def test_registry_errors_keep_their_request():
    sent = errors.RegistryError("denied", method="PUT", url="https://r/v2", status=403, temporary=True)
    got = error_of(failure_of(sent))
    assert isinstance(got, errors.RegistryError)
    assert (got.method, got.url, got.status, got.temporary) == ("PUT", "https://r/v2", 403, True)


def test_a_limit_of_open_files_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.EMFILE, "Too many open files")))
    assert type(got) is errors.HostError and got.code == "open-files" and "ulimit" in got.hints[0]
    got = error_of(failure_of(RuntimeError("can't start new thread")))
    assert type(got) is errors.HostError and got.code == "threads" and got.hints
    got = error_of(failure_of(MemoryError()))
    assert type(got) is errors.HostError and got.code == "out-of-memory" and got.hints


def test_a_path_too_long_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.ENAMETOOLONG, "File name too long", "/store" + "/d" * 2050)))
    assert type(got) is errors.HostError and got.code == "path-too-long" and len(got.message) < 300


def test_a_full_disk_is_no_fault_of_ours():
    got = error_of(failure_of(OSError(errno.ENOSPC, "No space left on device", "/store/x")))
    assert isinstance(got, errors.StoreError) and got.message == "no space left on device (/store/x)"
    assert got.exit_code == 5 and got.hints == (Hint.of("disk-full"),)


def test_secrets_are_not_in_a_traceback():
    secret = Secret("id", b"hunter2")
    request = BuildRequest(context=".", store_root="/store", secrets=(secret,))
    try:
        raise ValueError(f"bad request {request!r}")
    except ValueError as error:
        assert b"hunter2" not in encode_line(failure_of(error))
