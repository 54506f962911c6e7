"""Subordinate ids and the maps made of them."""

from firkin.linux.idmap import IdRange, read_subordinate_ids, single_maps, subordinate_maps


def test_reads_ranges_by_name_and_number() -> None:
    text = "alice:100000:65536\nbob:1:2\n1000:300000:10\nalice:bad:1\nalice:5:0\n# alice:7:7\n\nalice:400000:5 # x\n"
    assert read_subordinate_ids(text, "alice", 1000) == ((100000, 65536), (300000, 10), (400000, 5))
    assert read_subordinate_ids(text, "", 1) == ()


def test_own_id_is_root_and_ranges_follow() -> None:
    maps = subordinate_maps(1000, 1001, ((100, 5), (900, 2)), ((50, 3),), ("u", "g"))
    assert maps.uids == (IdRange(0, 1000, 1), IdRange(1, 100, 5), IdRange(6, 900, 2))
    assert maps.gids == (IdRange(0, 1001, 1), IdRange(1, 50, 3))
    assert not maps.single_id


def test_a_single_id_denies_setgroups() -> None:
    maps = single_maps(7, 8)
    assert maps.single_id
    assert maps.deny_setgroups
