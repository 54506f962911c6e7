"""Lines of logs, whatever a command writes and however its output is cut into reads."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from firkin.containers.monitor.log_lines import MOST_LINE, LineCutter

# Long lines are made of few pieces, since hypothesis makes no long bytes.
PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\n", b"\r\n", b"\x00\x1f\x7f", "é\u2028\u2029😀".encode(), b"\\\"<>&", b"\xff\xfe", b"\xe2\x80"]),
    st.builds(lambda text, count: text * count, st.sampled_from([b"x", "é".encode(), b"ab\n"]), st.integers(1, 40000)),
)
CHUNKS = st.lists(PIECES, max_size=8)


def objects(chunks: list[bytes]) -> list[dict[str, str]]:
    cutter = LineCutter("stdout", b"")
    lines = b"".join([*(cutter.cut(chunk, b"T%d" % at) for at, chunk in enumerate(chunks)), cutter.flush()])
    assert lines.endswith(b"\n") or not lines
    return [json.loads(line) for line in lines.decode("utf-8").split("\n")[:-1]]


@settings(deadline=None)
@given(CHUNKS)
def test_the_text_of_all_lines_is_what_was_written(chunks: list[bytes]) -> None:
    found = objects([chunk for chunk in chunks if chunk])
    text = "".join(line["log"] for line in found)
    assert text == b"".join(chunks).decode("utf-8", "replace")


@settings(deadline=None)
@given(CHUNKS)
def test_a_line_is_one_object_or_pieces_of_sixteen_kibibytes(chunks: list[bytes]) -> None:
    found = objects([chunk for chunk in chunks if chunk])
    written = b"".join(chunks)
    for line in found:
        assert line["stream"] == "stdout"
        assert "\n" not in line["log"][:-1]
    if written.isascii():
        sizes = [len(line["log"]) for line in found]
        assert all(size <= MOST_LINE for size in sizes)
        unfinished = [size for size, line in zip(sizes, found) if not line["log"].endswith("\n")]
        assert all(size == MOST_LINE for size in unfinished[:-1])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=6), st.lists(st.integers(1, 9), max_size=30))
def test_how_reads_cut_the_output_changes_nothing_but_times(chunks: list[bytes], steps: list[int]) -> None:
    written = b"".join(chunks)
    cut, position = [], 0
    for step in steps:
        cut.append(written[position : position + step])
        position += step
    cut.append(written[position:])
    whole, pieces = objects([written] if written else []), objects([chunk for chunk in cut if chunk])
    assert [line["log"] for line in whole] == [line["log"] for line in pieces]


def test_pieces_of_a_line_share_the_time_of_the_first() -> None:
    found = objects([b"one\ntw", b"o" * MOST_LINE, b"\nthree\n"])
    assert [(len(line["log"]), line["time"]) for line in found] == [(4, "T0"), (MOST_LINE, "T0"), (3, "T0"), (6, "T2")]


def test_attributes_stand_in_every_line() -> None:
    cutter = LineCutter("stderr", b'"attrs":{"a":"b"},')
    assert json.loads(cutter.cut(b"x\n", b"T")) == {"log": "x\n", "stream": "stderr", "attrs": {"a": "b"}, "time": "T"}
