"""Image documents as Go's encoding/json reads them: its rules, each with a document that needs it."""

import json
from typing import Any

import msgspec
import pytest

from firkin.oci import codec, config, manifest
from firkin.oci.config import Healthcheck, ImageConfig, parse_config
from firkin.oci.gojson import Shape
from firkin.oci.manifest import Index, Manifest, parse_manifest

DIGEST = "sha256:" + "a" * 64
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 3}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}


def read(runtime: str) -> ImageConfig:
    return parse_config(b'{"architecture":"amd64","os":"linux","config":%s}' % runtime.encode())


def test_keys_match_in_any_case() -> None:
    found = parse_config(
        b'{"ARCHITECTURE":"arm64","Os":"linux","Config":{"env":["A=1"],"workingdir":"/w","LABELS":{"K":"1","k":"2"},'
        b'"healthcheck":{"test":["NONE"]}},"RootFS":{"Diff_Ids":["%s"]},"History":[{"Created_By":"x"}]}'
        % DIGEST.encode()
    )
    assert (found.platform.architecture, found.runtime.env, found.runtime.working_dir) == ("arm64", ("A=1",), "/w")
    assert found.runtime.labels == (("K", "1"), ("k", "2"))  # those of a map are the author's own
    assert found.runtime.healthcheck == Healthcheck(test=("NONE",))
    assert found.diff_ids == (DIGEST,) and found.history[0].created_by == "x"


@pytest.mark.parametrize(("runtime", "user", "env"), [
    ('{"User":"a","user":"b"}', "b", ()),
    ('{"user":"a","User":"b","Env":["x=1"],"ENV":["y=1"]}', "b", ("y=1",)),
    ('{"User":"a","User":"b"}', "b", ()),
    ('{"User":"a","User":null,"Env":["x=1"],"Env":null}', "a", ()),  # null empties a slice, and leaves a string
    ('{"U\\u017fer":"long s"}', "long s", ()),
    ('{"\\u0055ser":"escaped"}', "escaped", ()),
    ('{"User" : "blank", "Env" :["x=1"]}', "blank", ("x=1",)),
    ('{"User":null,"Env":[null,"x=1"]}', "", ("", "x=1")),
    ('{"User":"a\\": null","Env":["\\"User\\":1"]}', 'a": null', ('"User":1',)),
])
def test_the_last_of_a_key_counts(runtime: str, user: str, env: tuple[str, ...]) -> None:
    found = read(runtime).runtime
    assert (found.user, found.env) == (user, env)


@pytest.mark.parametrize("second", ["config", "Config"])
def test_repeated_objects_are_joined(second: str) -> None:
    raw = '{"config":{"User":"a","Labels":{"x":"1","y":"1"}},"SECOND":{"Env":["A=1"],"Labels":{"y":"2"}}}'
    found = parse_config(raw.replace("SECOND", second).encode()).runtime
    assert (found.user, found.env, found.labels) == ("a", ("A=1",), (("x", "1"), ("y", "2")))


def test_null_is_nothing_anywhere() -> None:
    health = {"Test": ["CMD", "true"], "Timeout": None, "Interval": None, "Retries": None}
    raw = {
        "architecture": None, "os": None, "created": None, "rootfs": {"type": None, "diff_ids": None},
        "config": {"Healthcheck": health, "Labels": {"a": None}, "Volumes": {"/v": None}, "Cmd": None, "Shell": None},
        "history": [{"created": None, "empty_layer": None}, None],
    }
    found = parse_config(json.dumps(raw).encode())
    assert found.runtime.healthcheck == Healthcheck(test=("CMD", "true"))
    assert (found.runtime.labels, found.runtime.volumes, found.runtime.cmd) == ((("a", ""),), ("/v",), None)
    assert len(found.history) == 2 and parse_config(b'{"config":null,"rootfs":null,"history":null}').diff_ids == ()


def test_manifests_and_indexes_too() -> None:
    layers = [{**LAYER, "annotations": {"a": None}, "Platform": None, "urls": None}]
    found = parse_manifest(json.dumps({"SchemaVersion": 2, "CONFIG": CONFIG, "Layers": layers, "subject": None}).encode())
    assert isinstance(found, Manifest) and found.layers[0].annotations == (("a", ""),)
    entry = {**CONFIG, "platform": {"Architecture": "arm64", "OS": "linux", "variant": None}}
    found = parse_manifest(json.dumps({"schemaVersion": 2, "Manifests": [entry], "layers": None}).encode())
    assert isinstance(found, Index) and str(found.manifests[0].platform) == "linux/arm64"


def test_what_is_no_unicode_is_replaced() -> None:
    assert read('{"User":"a\\ud800b","Env":["x=\\udc00\\ud83d\\ude00"]}').runtime.user == "a\ufffdb"
    assert read('{"Env":["x=\\udc00\\ud83d\\ude00"]}').runtime.env == ("x=\ufffd\U0001f600",)
    assert parse_config(b'{"config":{"User":"a\xffb","Labels":{"\xfe":"1"}}}').runtime.user == "a\ufffdb"


@pytest.mark.parametrize("document", [
    b"", b"[]", b"null", b'{"config":[]}', b'{"config":{"Env":{}}}', b'{"config":{"User":5}}', b'{"os":NaN}',
    b'{"config":{"Healthcheck":{"Timeout":1e3}}}', b'{"config":{"Healthcheck":{"Timeout":%d}}}' % 2**63,
    b'{"config":{"Healthcheck":{"Retries":%s}}}' % (b"9" * 5000), b'{"rootfs":{"diff_ids":["sha256:1"]}}',
    b'{"history":[5]}', b'{"architecture":"a"} x', b"\xef\xbb\xbf{}",
])
def test_what_go_refuses_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"image configuration: |is not a digest"):
        parse_config(document)


@pytest.mark.parametrize("size", ["-1", "1e3", "1.5", '"3"', str(2**63), "9" * 5000])
def test_sizes_are_sizes(size: str) -> None:
    raw = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}).replace('"size": 3', f'"size": {size}')
    with pytest.raises(ValueError, match="manifest: "):
        parse_manifest(raw.encode())


@pytest.mark.parametrize("around", [
    b'{"schemaVersion":2,"unknown":%s}', b'{"schemaVersion":2,"layers":%s}', b"%s", b'{"annotations":{"a":%s}}',
])
@pytest.mark.parametrize("parse", [parse_manifest, parse_config])
def test_deep_nesting_is_an_error_like_any_other(around: bytes, parse: Any) -> None:
    for depth in (100, 500, 900, 1100, 5000, 50_000):
        for nested in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth):
            try:
                parse(around % nested)
            except ValueError as error:
                assert ": " in str(error)
            else:
                assert depth < 5000  # what is beside the known keys may be anything


def test_documents_as_they_should_be_never_get_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> Any:
        raise AssertionError("the slower reader was asked")

    monkeypatch.setattr("firkin.oci.gojson.read", refuse)
    classic = {
        "architecture": "amd64", "container": "x", "container_config": {"Cmd": None, "Env": ["A=1"]},
        "config": {"Hostname": "", "Tty": False, "Env": ["A=1"], "Cmd": ["sh"], "Image": "x", "Volumes": None,
                   "Entrypoint": None, "OnBuild": None, "Labels": {"a": 'b":c', "d": '": null'}},
        "history": [{"created_by": 'RUN echo "a": null', "empty_layer": True}], "os": "linux", "docker_version": "20",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    }
    for raw in (json.dumps(classic), json.dumps(classic, separators=(",", ":")), json.dumps(classic, indent=3)):
        assert parse_config(raw.encode()).runtime.env == ("A=1",)
    entry = {**CONFIG, "annotations": {"a": "b"}, "platform": {"architecture": "arm", "os": "linux", "os.version": "1"}}
    assert parse_manifest(json.dumps({"schemaVersion": 2, "manifests": [entry, entry]}).encode())


def structs(shape: Any) -> list[Shape]:
    if isinstance(shape, Shape):
        return [shape, *(found for below in shape.below.values() for found in structs(below))]
    if isinstance(shape, list):
        return structs(shape[0])
    return structs(shape["*"]) if isinstance(shape, dict) else []


@pytest.mark.parametrize("module", [config, manifest])
def test_what_is_read_fast_can_tell_that_it_was_not_all(module: Any) -> None:
    # Else a key in another case, or one that is repeated, would be passed over without a word.
    for shape in structs(module._shape()):
        kind: type[msgspec.Struct] = shape.kind
        assert kind.__struct_config__.forbid_unknown_fields and kind.__struct_config__.omit_defaults, kind


def test_a_document_for_others_is_valid() -> None:
    good = b'{"a": "\\u0000 \xc3\xa4"}'
    assert codec.readable(good) == good
    assert json.loads(codec.readable(b'{"a":"\\ud800","\xff":[{"b":null}]}')) == {"a": "\ufffd", "\ufffd": [{"b": None}]}
    with pytest.raises(ValueError, match="line 1"):
        codec.readable(b"{")


@pytest.mark.parametrize(("runtime", "field"), [
    ('{"Env":["A=\\u0000"]}', "Env"), ('{"User":"\\u0000"}', "User"), ('{"WorkingDir":"/\\u0000"}', "WorkingDir"),
    ('{"Shell":["\\u0000"]}', "Shell"), ('{"OnBuild":["\\u0000"]}', "OnBuild"), ('{"Labels":{"a":"\\u0000"}}', ""),
])
def test_fields_with_nul(runtime: str, field: str) -> None:
    assert config.field_with_nul(read(runtime).runtime) == field
