"""Forms of a layer's blob: which will do in the place of which."""

import pytest
from support.pulled import blob_of, file, layer

from firkin.content.format import LayerFormat
from firkin.content.snapshot import LayerRef


@pytest.mark.parametrize(("form", "variant", "accepted"), [
    (LayerFormat(), "gzip::", True),
    (LayerFormat(), "gzip:9:", True),
    (LayerFormat(force=True), "gzip:9:", False),
    (LayerFormat(), "zstd::", False),
    (LayerFormat(clamp_s=5), "gzip::", False),
    (LayerFormat(clamp_s=5), "gzip::5", True),
    (LayerFormat(ignore=("a",)), "gzip::", False),
    (LayerFormat(ignore=("a",)), "gzip:::a", True),
])  # fmt: skip
def test_another_level_will_do(form, variant, accepted):
    assert form.accepts(variant) is accepted


@pytest.mark.parametrize(("form", "variant", "possible"), [
    (LayerFormat("zstd"), "gzip::", True),
    (LayerFormat(clamp_s=5), "gzip::", True),
    (LayerFormat(clamp_s=5), "gzip::6", False),
    (LayerFormat(), "gzip::6", False),
    (LayerFormat(), "gzip:::a", False),
])  # fmt: skip
def test_lost_times_and_paths_do_not_come_back(form, variant, possible):
    assert form.can_be_made_of(variant) is possible


def test_layers_of_a_base_keep_their_times():
    made, _ = blob_of(layer(file("f")))
    form = LayerFormat(clamp_s=5, clamp_all=False)
    assert form.of(LayerRef("a", made)) == LayerFormat(clamp_all=False)
    assert form.of(LayerRef("a")) == LayerFormat(clamp_all=False)
    assert form.of(LayerRef("a", from_run=True)) is form
