"""What of the output of ps belongs to a container."""

import pytest

from firkin.containers.top import parse_ps
from firkin.errors import ContainerError

OUTPUT = """UID          PID CMD
root           1 /sbin/init
dev           20 sleep   1000  and more
dev            - a thread of it
dev           30 other
dev            - a thread of the other
"""


def test_processes_and_their_threads():
    found = parse_ps(OUTPUT, {20})
    assert found.titles == ["UID", "PID", "CMD"]
    assert found.rows == [["dev", "20", "sleep 1000 and more"], ["dev", "-", "a thread of it"]]


def test_no_column_of_pids_is_an_error():
    with pytest.raises(ContainerError, match="Couldn't find PID field in ps output"):
        parse_ps("COMMAND\nsh\n", {1})
    with pytest.raises(ContainerError, match="Unexpected pid 'x'"):
        parse_ps("PID\nx\n", {1})
