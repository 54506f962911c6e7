"""Percentages and sums as docker's command line shows them."""

import pytest

from firkin.containers.documents.usage import cpu_percent, memory_without_cache, usage_of

BEFORE = {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000, "online_cpus": 4}
NOW = {"cpu_usage": {"total_usage": 200}, "system_cpu_usage": 2000, "online_cpus": 4}


def test_a_sample_without_the_one_before_or_of_nothing_is_zero():
    assert cpu_percent({}, {}) == 0
    assert cpu_percent(NOW, BEFORE) == 0
    assert usage_of({"cpu_stats": NOW, "memory_stats": {}, "pids_stats": {}}).memory_percent == 0


def test_the_processor_is_a_share_of_all_of_them():
    assert cpu_percent(BEFORE, NOW) == pytest.approx(40)
    per = {**NOW, "online_cpus": 0, "cpu_usage": {"total_usage": 200, "percpu_usage": [1, 2]}}
    assert cpu_percent(BEFORE, per) == pytest.approx(20)


def test_memory_is_without_the_cache_of_files():
    """The client subtracts `inactive_file`; the numbers it gets are raw."""
    assert memory_without_cache({"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 10}}) == 70
    assert memory_without_cache({"usage": 100, "stats": {"inactive_file": 10}}) == 90
    assert memory_without_cache({"usage": 100, "stats": {"inactive_file": 200}}) == 100


def test_sums():
    usage = usage_of({
        "cpu_stats": NOW, "precpu_stats": BEFORE,
        "memory_stats": {"usage": 50, "limit": 200, "stats": {}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        "blkio_stats": {"io_service_bytes_recursive": [
            {"op": "Read", "value": 3}, {"op": "read", "value": 4}, {"op": "Write", "value": 5}, {"op": "Sync", "value": 9},
        ]},
        "pids_stats": {"current": 7},
    })  # fmt: skip
    assert usage[1:] == (50, 200, 25.0, 11, 22, 7, 5, 7)
