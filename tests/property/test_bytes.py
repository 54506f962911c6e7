"""Bytes that are no text, and numbers that nothing holds, end in a FirkinError that can be sent, or in an image.

They come in a Dockerfile, an ignore file, a request, /etc/passwd and /etc/group, values of options; and what is said
of them goes through the worker's pipe. The rules are those of fuzz/targets.py.
"""

import pytest
from fuzz import targets
from hypothesis import given, settings
from hypothesis import strategies as st

# A Latin-1 letter, UTF-16 with its mark, half a surrogate pair, lines that only some call so, too many digits.
ODD = st.sampled_from(
    [b"\xe9", b"\0", b"\xff\xfeF\0", b"\xed\xa0\x80", b"\x85", b"\xe2\x80\xa8", b"\\ud800", b"9" * 4400, b"\xc2\xb2",
     b"4294967296", b"18446744073709551616", b"-1", b"n" * 300, b"n/" * 3000]
)  # fmt: skip
PLAIN = st.sampled_from(
    [b"FROM scratch\n", b"FROM busybox AS a\n", b"ARG A=", b"ENV A=", b"LABEL a=", b"RUN ", b'RUN ["', b'"]\n', b"\n", b" ",
     b"COPY a", b"COPY --chown=", b"ADD http://h/", b"COPY <<A /\n", b"A\n", b"USER ", b"WORKDIR /", b"EXPOSE ", b"CMD ",
     b"RUN --mount=type=cache,target=/x,uid=", b"HEALTHCHECK --retries=", b"STOPSIGNAL ", b"# ", b"ONBUILD RUN ",
     b"u:x:1:1::/:\n", b"u:x:", b":", b"u", b"g:x:5:u\n", b"=", b","]
)  # fmt: skip
BYTES = st.lists(st.one_of(PLAIN, ODD, st.binary(max_size=8)), max_size=12).map(b"".join)


@pytest.mark.parametrize("kind", range(len(targets.TARGETS)), ids=[target.__name__ for target in targets.TARGETS])
@settings(max_examples=150, deadline=None)
@given(data=BYTES)
def test_odd_bytes_and_numbers_raise_only_what_the_contract_names(kind: int, data: bytes) -> None:
    targets.run(bytes([kind]) + data)
