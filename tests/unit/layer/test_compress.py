"""Streams out, the same bytes each time; streams in, bounded and checked."""

import bz2
import gzip
import lzma
import random
import zlib

import pytest
import zstandard

from firkin.layer.compress import compress_bytes, detect_format, iter_decompressed, new_encoder

random.seed(1)
DATA = random.randbytes(1_500_000) + bytes(3_000_000) + b"the quick brown fox " * 50_000
MAKE = {
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "none": bytes,
}


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


@pytest.mark.parametrize("level", [None, 0, 1, 2, 3, 4, 9])
def test_gzip(level: int | None) -> None:
    made = compress_bytes(DATA, new_encoder("gzip", level))
    assert made[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(made) == DATA
    # One member: some readers stop behind the first.
    single = zlib.decompressobj(31)
    assert single.decompress(made) == DATA
    assert single.eof
    assert not single.unused_data


@pytest.mark.parametrize("level", [None, 1, 9])
def test_zstd(level: int | None) -> None:
    assert unzstd(compress_bytes(DATA, new_encoder("zstd", level))) == DATA


def test_levels_and_nothing() -> None:
    assert compress_bytes(DATA, new_encoder("none")) == DATA
    assert gzip.decompress(compress_bytes(b"", new_encoder("gzip"))) == b""
    for compression, level in (("gzip", 10), ("gzip", -1), ("zstd", 0), ("zstd", 23)):
        with pytest.raises(ValueError, match="level is"):
            new_encoder(compression, level)  # type: ignore[arg-type]
    fast, small = (len(compress_bytes(DATA[-900_000:], new_encoder("gzip", level))) for level in (1, 9))
    assert small < fast


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("chunk", [5, 1000, 1 << 18, 1 << 30])
def test_reading(name: str, chunk: int) -> None:
    data = DATA if chunk > 5 else DATA[:3000]
    made = MAKE[name](data)
    assert detect_format(made) == name
    pieces = list(iter_decompressed([made[at : at + chunk] for at in range(0, len(made), chunk)]))
    assert b"".join(pieces) == data
    if name != "none":
        assert max(map(len, pieces)) <= 1 << 20
        assert b"".join(iter_decompressed([made + made])) == data * 2


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_zeros_may_pad_the_end(name: str) -> None:
    made = MAKE[name](DATA)
    assert b"".join(iter_decompressed([made, bytes(700)])) == DATA


FAULTS = ("rubbish behind", "rubbish within", "cut short", "nothing")
# A zstd frame without a checksum does not tell all of them; the digests do.
NOTICED = [(name, fault) for name in ("gzip", "bzip2", "xz") for fault in FAULTS] + [("zstd", "rubbish behind")]


@pytest.mark.parametrize(("name", "fault"), NOTICED)
def test_damage(name: str, fault: str) -> None:
    made = MAKE[name](DATA)
    broken = {
        "rubbish behind": made + b"and then some more",
        "rubbish within": made[:40] + b"\xaa" * 200 + made[240:],
        "cut short": made[:-9],
        "nothing": b"",
    }[fault]
    with pytest.raises(ValueError, match=name):
        for _ in iter_decompressed([broken], name):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_comes_in_pieces(name: str) -> None:
    made = MAKE[name](bytes(50_000_000))
    sizes = [len(piece) for piece in iter_decompressed([made])]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 20


def test_formats_by_their_first_bytes() -> None:
    assert detect_format(b"") == "none"
    assert detect_format(b"\x50\x2a\x4d\x18rest") == "zstd"
    assert detect_format(b"plain text") == "none"
    assert list(iter_decompressed([b"\x1f"])) == [b"\x1f"]
