"""Any request and any image: rules of docs/dev/container-state.md, "Merging"."""

from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.documents.config import Config, CreateRequest, HostConfig
from firkin.containers.documents.merge import fill_host_config, merge, path_and_args
from firkin.errors import ContainerError
from firkin.oci.config import RuntimeConfig

names = st.sampled_from(["A", "B", "PATH"])
entries = st.one_of(names, st.builds(lambda name, value: f"{name}={value}", names, st.text("x=", max_size=3)))
words = st.none() | st.lists(st.sampled_from(["", "a", "b"]), max_size=3).map(tuple)
requests = st.builds(Config, env=st.none() | st.lists(entries, max_size=4).map(tuple), entrypoint=words, cmd=words,
                     labels=st.none() | st.dictionaries(names, names, max_size=2))  # fmt: skip
images = st.builds(RuntimeConfig, env=st.lists(entries, max_size=4).map(tuple), entrypoint=words, cmd=words,
                   labels=st.dictionaries(names, names, max_size=2).map(lambda labels: tuple(labels.items())))  # fmt: skip


@given(requests, images)
def test_merged_is_from_both_and_complete(request, image):
    try:
        config, _ = merge(CreateRequest(request), image)
    except ContainerError as error:
        assert error.message == "no command specified"
        return
    path, args = path_and_args(config)
    assert isinstance(path, str) and isinstance(args, tuple)
    asked = request.env or ()
    assert config.env is not None and config.env[: len(asked)] == asked
    own = {entry.partition("=")[0] for entry in asked}
    assert list(config.env[len(asked) :]) == [e for e in image.env if e.partition("=")[0] not in own]
    assert (request.labels or {}).items() <= (config.labels or {}).items()


@given(requests, images)
def test_merging_again_changes_nothing(request, image):
    """A merged configuration leaves nothing to the image: `commit` and a second create rely on that."""
    try:
        config, host = merge(CreateRequest(request), image)
        again, host_again = merge(CreateRequest(config, host), image)
    except ContainerError:
        return
    assert (again.env, again.labels, again.user) == (config.env, config.labels, config.user)
    assert host_again == host


@given(st.integers(0, 1 << 40), st.integers(-1, 1 << 40), st.booleans())
def test_filling_in_is_idempotent(memory, swap, privileged):
    once = fill_host_config(HostConfig(memory=memory, memory_swap=swap, privileged=privileged))
    assert fill_host_config(once) == once
