"""Names of one file in lower layers: a step that changes one leaves the others, in the three surroundings alike."""

from collections.abc import Iterator

import pytest
from support.pairs import NAMES, Pair

pytestmark = [pytest.mark.root]

# /bin of the base is one file of 2 MB with 270 names, too much to be copied for each.
DOCKERFILE = """\
FROM busybox AS seed
RUN mkdir /l && echo in >/l/one && ln /l/one /l/two && ln -s to /l/link && ln /l/link /l/again && mkfifo /l/f && ln /l/f /l/g
FROM busybox
RUN echo one >/a && ln /a /b && ln /a /c
RUN echo more >>/a; cat /b >/seen
RUN chmod 600 /b; touch -d 2020-01-01 /c
RUN ln /c /d && echo both >>/c
RUN rm /a
RUN echo x >/p && ln /p /q && echo y >>/q
RUN mv /p /r
COPY --from=seed /l /l
RUN echo out >>/l/two && chown -h 5:6 /l/again && chmod 600 /l/g
RUN chmod 700 /bin/ls
RUN rm /bin/cat
RUN mv /bin/yes /yes
RUN chmod 711 /bin/tr /bin/tee
RUN stat -c '%n %a' /bin/ls /bin/tr /bin/tee /bin/nl /yes >/modes
RUN true
"""


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Each of the surroundings."""
    yield Pair(request.param, tmp_path_factory.mktemp(request.param))


_golden: list[dict[str, tuple[object, ...]]] = []


def layers(pair: Pair) -> list[dict[str, tuple[object, ...]]]:
    """Return what stands in each layer of the second stage: name → kind, link, mode, owner and size."""
    built = pair.build(DOCKERFILE)
    own = ("dev", "proc", "sys", "etc")  # of the first step: mount points that the base lacks
    return [
        {m.name: (m.type, m.linkname, m.mode, m.uid, m.gid, m.size) for m in members if m.name.strip("/") not in own}
        for members in built.members()[1:]
    ]


def test_layers_are_those_of_an_overlay(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not _golden:
        _golden.extend(layers(Pair("namespaces", tmp_path_factory.mktemp("reference"))))
    assert set(_golden[1]) == {"a", "seen"} and _golden[1]["seen"][-1] == 4
    assert layers(pair) == _golden
