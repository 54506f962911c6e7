"""The files of a log: rotated, compressed, torn; all of it or its end."""

import gzip
import json
import os

import pytest

from firkin.containers import log_files
from firkin.containers.log_files import LineReader, blocks, entries, open_log, parts_before, parts_of


def line(number, stream="stdout", text=None):
    text = f"line {number}\n" if text is None else text
    return json.dumps({"log": text, "stream": stream, "time": f"2026-01-02T03:04:05.{number:09}Z"}).encode() + b"\n"


@pytest.fixture
def path(tmp_path):
    """A log of 40 lines in four files, the oldest compressed, and one that is being compressed."""
    name = tmp_path / "x-json.log"
    name.write_bytes(b"".join(line(number) for number in range(30, 40)))
    (tmp_path / "x-json.log.1").write_bytes(b"".join(line(number) for number in range(20, 30)))
    (tmp_path / "x-json.log.1.gz.tmp").write_bytes(b"half")
    for number in (2, 3):
        start = 10 * (3 - number)
        with gzip.open(f"{name}.{number}.gz", "wb") as file:
            file.write(b"".join(line(start + each) for each in range(10)))
    (tmp_path / "x-json.log.1.gz").write_bytes(b"not ready")
    return str(name)


def read(path, last=None):
    files = open_log(path)
    try:
        reader = LineReader()
        return [
            entry.log.strip()
            for part in parts_of(files, last)
            for data in blocks(part)
            for entry in entries(reader.take(data) or b"")
        ]
    finally:
        for descriptor, _ in files:
            os.close(descriptor)


def test_all_files_oldest_first(path):
    assert read(path) == [f"line {number}" for number in range(40)]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 21, 35, 39, 40, 41, 1000])
@pytest.mark.parametrize("block", [7, 64, 1 << 18])
def test_the_last_lines_of_all_files(path, count, block, monkeypatch):
    monkeypatch.setattr(log_files, "_BLOCK", block)
    assert read(path, count) == [f"line {number}" for number in range(40)][max(0, 40 - count) :]


def test_a_torn_line_is_left_out_and_an_unfinished_one_waits(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(line(1) + line(2)[:-20] + b"\n" + line(3) + line(4)[:-2])
    assert read(str(path)) == ["line 1", "line 3"]


def test_no_log_is_an_empty_one(tmp_path):
    assert open_log(str(tmp_path / "none" / "log")) == []
    (tmp_path / "log").touch()
    assert read(str(tmp_path / "log"), 5) == []


def test_a_line_without_end_costs_no_memory(monkeypatch):
    monkeypatch.setattr(log_files, "_LONGEST", 100)
    reader = LineReader()
    assert b"".join(reader.take(b"x" * 60) for _ in range(50)) == b""
    assert entries(reader.take(b"\n" + line(1)))[-1].log == "line 1\n"


def test_attributes_and_text_come_as_they_were():
    raw = b'{"log":"caf\\u00e9\\u0000\\"\\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-02T03:04:05Z"}\n'
    (entry,) = entries(raw)
    assert (entry.log, entry.stream, entry.attrs) == ('café\0"\n', "stderr", {"a": "b"})


def test_the_end_of_a_large_log_is_read_at_once(tmp_path, monkeypatch):
    """Whatever its size: a gigabyte takes as long as a megabyte."""
    path = tmp_path / "log"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(line(number) for number in range(5000)))
    pread, taken = os.pread, []

    def counted(descriptor, size, place):
        taken.append(size)
        return pread(descriptor, size, place)

    monkeypatch.setattr(os, "pread", counted)
    assert read(str(path), 10) == [f"line {number}" for number in range(4990, 5000)]
    assert sum(taken) < 1 << 20


def test_a_log_up_to_a_mark(tmp_path):
    """Older files whole, the marked one in part, newer ones not at all; nothing of one that was begun anew."""
    path = tmp_path / "x.log"
    (tmp_path / "x.log.2").write_bytes(b"1\n")
    (tmp_path / "x.log.1").write_bytes(b"2\n3\n")
    path.write_bytes(b"4\n")
    facts = (tmp_path / "x.log.1").stat()
    mark = {"device": facts.st_dev, "inode": facts.st_ino, "size": 2}
    files = open_log(str(path))
    try:
        parts = parts_before(files, mark)
        assert parts is not None and b"".join(data for part in parts for data in blocks(part)) == b"1\n2\n"
        (tmp_path / "x.log.1").write_bytes(b"")
        parts = parts_before(files, mark)
        assert parts is not None and b"".join(data for part in parts for data in blocks(part)) == b"1\n"
        assert parts_before(files, {**mark, "inode": 0}) is None
    finally:
        for descriptor, _ in files:
            os.close(descriptor)
