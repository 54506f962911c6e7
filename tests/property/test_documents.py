"""Arbitrary JSON raises only ValueError, and its keys mean the same in any case."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from firkin.oci.config import parse_config
from firkin.oci.manifest import parse_manifest

MANY = settings(deadline=None, max_examples=300)
KEYS = (
    "architecture", "os", "config", "rootfs", "diff_ids", "history", "Env", "User", "Labels", "Healthcheck", "Timeout",
    "Volumes", "Cmd", "schemaVersion", "layers", "manifests", "digest", "size", "mediaType", "annotations", "platform",
)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS).map(str.upper), st.text(max_size=3))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.sampled_from(["sha256:" + "a" * 64, 2, "\x00", "\ud800"]),
)
trees = st.recursive(
    leaves, lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(keys, below, max_size=5)), max_leaves=15
)


@MANY
@given(trees, st.binary(max_size=3))
def test_no_document_fails_otherwise_than_by_value_error(tree: Any, rest: bytes) -> None:
    for parse in (parse_config, parse_manifest):
        try:
            parse(json.dumps(tree).encode() + rest)
        except ValueError as error:
            assert str(error)


texts = st.text(st.characters(codec="utf-8"), max_size=5)
runtimes = st.fixed_dictionaries({}, optional={
    "User": texts, "Env": st.lists(texts, max_size=2), "WorkingDir": texts, "Cmd": st.lists(texts, max_size=2),
    "Labels": st.dictionaries(texts, texts, max_size=2), "StopSignal": st.none(), "ArgsEscaped": st.booleans(),
})


@MANY
@given(runtimes, st.randoms(use_true_random=False))
def test_keys_mean_the_same_in_any_case(runtime: dict[str, Any], random: Any) -> None:
    """Spec: Go's encoding/json matches "the keys … preferring an exact match but also accepting a case-insensitive"."""
    def cased(text: str) -> str:
        return "".join(random.choice((char.lower(), char.upper())) for char in text)

    plain = parse_config(json.dumps({"config": runtime}).encode())
    other = parse_config(json.dumps({cased("config"): {cased(key): value for key, value in runtime.items()}}).encode())
    assert plain.runtime == other.runtime
