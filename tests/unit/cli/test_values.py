"""The grammars of option values, as buildx and docker read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.builder.request import CacheRef, SshAgent
from firkin.cli import values
from firkin.errors import UsageError
from firkin.oci.run_settings import Ulimit
from firkin.registry.settings import Mirror


@pytest.mark.parametrize(("text", "fields"), [
    ("a,b", ("a", "b")), ("", ("",)), ('"a,b",c', ("a,b", "c")), ('"say ""x"""', ('say "x"',)), ("a,", ("a", "")),
    ('"name=a,b",type=registry', ("name=a,b", "type=registry")),
])
def test_csv(text, fields):
    assert values.csv_fields("-o", text) == fields


@pytest.mark.parametrize("text", ['"open', '"a"b', 'a"b', 'type=oci,name="a,b"', '"a",b"'])
def test_bad_csv(text):
    with pytest.raises(UsageError, match="quote"):
        values.csv_fields("-o", text)


@given(st.lists(st.text(), min_size=1))
def test_quoted_fields_come_back(fields):
    text = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert values.csv_fields("-o", text) == tuple(fields)


def test_build_args_from_the_environment():
    environ = {"SET": "from env", "EMPTY": ""}
    texts = ("A=1", "SET", "UNSET", "EMPTY", "A=2", "B=x=y", "C=")
    assert values.build_args(texts, environ) == (
        ("A", "2"), ("SET", "from env"), ("EMPTY", ""), ("B", "x=y"), ("C", ""))
    with pytest.raises(UsageError):
        values.build_args(("=x",), environ)


@pytest.mark.parametrize(("text", "size"), [
    ("64m", 64 << 20), ("1g", 1 << 30), ("1GiB", 1 << 30), ("1.5kb", 1536), ("100", 100), ("100b", 100),
    ("2 MB", 2 << 20), ("1.m", 1 << 20), ("1e3", 1000), ("+.5K", 512), ("8191p", 8191 << 50), ("7 b", 7), ("5 ", 5),
])
def test_sizes(text, size):
    assert values.size_bytes("--shm-size", text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1..2m", "0x10", "١k", "1_0", "9e", "1kbb", "1bb", "1ki", " ", "nan", "1e30", "8192p"])
def test_wrong_sizes(text):
    with pytest.raises(UsageError, match="is not a size"):
        values.size_bytes("--shm-size", text)


def test_ulimits():
    assert values.ulimit("nofile=1024") == Ulimit("nofile", 1024, 1024)
    assert values.ulimit("nofile=1024:2048") == Ulimit("nofile", 1024, 2048)
    assert values.ulimit("core=-1") == Ulimit("core", -1, -1)
    for text in ("nofile", "files=1", "nofile=2:1", "nofile=-1:5", "nofile=x"):
        with pytest.raises(UsageError):
            values.ulimit(text)


@pytest.mark.parametrize(("text", "pair"), [
    ("db:10.0.0.7", ("db", "10.0.0.7")), ("db=10.0.0.7", ("db", "10.0.0.7")), ("db:::1", ("db", "::1")),
    ("db=[::1]", ("db", "::1")), ("db:[2001:db8::1]", ("db", "2001:db8::1")),
])
def test_hosts(text, pair):
    assert values.add_host(text) == pair


@pytest.mark.parametrize("text", ["db", "db:", ":10.0.0.7", "db:10.0.0", "db:256.0.0.1", "db:other", "db:host-gateway"])
def test_wrong_hosts(text):
    with pytest.raises(UsageError, match="--add-host"):
        values.add_host(text)


def test_networks():
    assert [values.network(text) for text in ("", "default", "host", "none")] == ["default", "default", "host", "none"]
    with pytest.raises(UsageError, match="cannot be `mynet`"):
        values.network("mynet")


@pytest.mark.parametrize(("text", "expected"), [
    ("r.example/cache", CacheRef("registry", "r.example/cache")),
    ("type=registry,ref=r.example/c,mode=max,ignore-error=true,image-manifest=true",
     CacheRef("registry", "r.example/c", mode="max", ignore_error=True)),
    ("type=local,dest=/c,compression=zstd", CacheRef("local", "/c", compression="zstd")),
    ("type=inline", CacheRef("inline")),
    ("ref=x", CacheRef("registry", "x")),
])
def test_caches(text, expected):
    assert values.cache_ref("--cache-to", text) == expected


def test_wrong_caches():
    assert values.cache_ref("--cache-from", "type=local,src=/c") == CacheRef("local", "/c")
    for text in ("type=gha", "type=registry", "type=local", "mode=max", "type=inline,mode=all", "type=inline,x=1"):
        with pytest.raises(UsageError, match="--cache-from"):
            values.cache_ref("--cache-from", text)


@pytest.mark.parametrize(("text", "path", "variable"), [
    ("id=a,src=f", "f", ""), ("id=a,source=f", "f", ""), ("id=a,env=V", "", "V"), ("id=a,type=env,src=V", "", "V"),
    ("id=a", "a", ""), ("id=TOKEN", "", "TOKEN"), ("id=TOKEN,type=file", "TOKEN", ""), ("type=env,id=x", "", "x"),
])
def test_secrets(text, path, variable):
    spec = values.secret(text, {"TOKEN": "t"})
    assert (spec.path, spec.variable) == (path, variable)


@pytest.mark.parametrize("text", ["src=f", "id=a,src=f,env=V", "id=a,type=vault", "id=a,file=f", "id"])
def test_wrong_secrets(text):
    with pytest.raises(UsageError, match="--secret"):
        values.secret(text, {})


def test_ssh():
    assert values.ssh("default", {"SSH_AUTH_SOCK": "/s"}) == SshAgent("default", ("/s",))
    assert values.ssh("k=/a,/b", {}) == SshAgent("k", ("/a", "/b"))
    with pytest.raises(UsageError, match="no SSH agent"):
        values.ssh("default", {})


def test_annotations_belong_to_the_manifest():
    assert values.annotation("a=b") == ("a", "b")
    assert values.annotation("manifest:a.b/c=d:e") == ("a.b/c", "d:e")
    assert values.annotation("urn:x=y") == ("urn:x", "y")
    with pytest.raises(UsageError, match="only `manifest:`"):
        values.annotation("index:a=b")


def test_registries():
    assert values.mirror("docker.io=http://127.0.0.1:5000/") == Mirror("docker.io", "http://127.0.0.1:5000")
    assert values.mirror("mirror.example") == Mirror("docker.io", "mirror.example")
    assert values.host_file("h:5000=/ca.pem") == ("h:5000", "/ca.pem")
    assert values.host_file("/ca.pem") == ("*", "/ca.pem")
    assert values.client_cert("h=/c,/k") == ("h", "/c", "/k")
    for wrong in ("=x", "a="):
        with pytest.raises(UsageError):
            values.mirror(wrong)
    with pytest.raises(UsageError):
        values.client_cert("h=/c")


def test_entitlements():
    assert values.entitlements(("network.host,security.insecure",)) == ("network.host", "security.insecure")
    with pytest.raises(UsageError, match="unknown entitlement `network`"):
        values.entitlements(("network",))
