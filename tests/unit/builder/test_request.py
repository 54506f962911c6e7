"""What a request may hold."""

import msgspec
import pytest

from firkin import errors
from firkin.builder.request import BuildRequest, Output, RunOptions, Secret, check_request
from firkin.oci.run_settings import Ulimit
from firkin.registry.settings import RegistrySettings

REQUEST = BuildRequest(context=".", store_root="/store")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"build_args": (("A", "caf\udce9"),)}, "request-not-utf-8"),
        ({"labels": (("\udce9", ""),)}, "request-not-utf-8"),
        ({"target": "\udce9"}, "request-not-utf-8"),
        ({"outputs": (Output(names=("\udce9",)),)}, "request-not-utf-8"),
        ({"secrets": (Secret("\udce9", b""),)}, "request-not-utf-8"),
        ({"run": RunOptions(add_hosts=(("\udce9", "::1"),))}, "request-not-utf-8"),
        ({"context": "/a\0b"}, "request-nul"),
        ({"build_args": (("A", "\0"),)}, "request-nul"),
    ],
)
def test_a_request_that_no_encoder_takes_is_refused(changes, code):
    with pytest.raises(errors.UsageError) as caught:
        check_request(msgspec.structs.replace(REQUEST, **changes))
    assert caught.value.code == code and caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"source_date_epoch": 10**30},
        {"source_date_epoch": 253402300800},
        {"max_parallel_steps": -1},
        {"run": RunOptions(shm_size_bytes=-1)},
        {"run": RunOptions(ulimits=(Ulimit("nofile", 1, 10**30),))},
        {"registry": RegistrySettings(timeout_s=-1)},
        {"registry": RegistrySettings(timeout_s=float("nan"))},
        {"registry": RegistrySettings(parallel=0)},
    ],
)
def test_numbers_out_of_their_range_are_refused(changes):
    with pytest.raises(errors.UsageError) as caught:
        check_request(msgspec.structs.replace(REQUEST, **changes))
    assert caught.value.code == "request-range"


def test_paths_and_files_may_have_any_bytes():
    outputs = (Output("oci", dest="/o\udce9"),)
    check_request(msgspec.structs.replace(REQUEST, context="/c\udce9", outputs=outputs, dockerfile_text="\0\udce9"))
