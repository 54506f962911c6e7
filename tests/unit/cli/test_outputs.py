"""The grammar of `--output`, as buildx reads it."""

import pytest

from firkin.builder.request import Output
from firkin.cli.outputs import read_output
from firkin.errors import UsageError


@pytest.mark.parametrize(("text", "expected"), [
    ("out", Output("local", dest="out")),
    ("-", Output("tar", dest="-")),
    ("type=local,dest=out,mode=delete", Output("local", dest="out", mode_delete=True)),
    ("type=tar,dest=-", Output("tar", dest="-")),
    ("type=oci,dest=d,tar=false,compression=zstd,compression-level=3,force-compression=true",
     Output("oci", dest="d", tar=False, compression="zstd", compression_level=3, force_compression=True)),
    ("type=docker,dest=x.tar,name=app:1", Output("docker", dest="x.tar", names=("app:1",))),
    ("type=image", Output("store")),
    ("type=image,push=true,name=r.example/a",
     (Output("store", names=("r.example/a",)), Output("registry", names=("r.example/a",)))),
    ("type=image,push=true,push-by-digest=true", Output("registry", push_by_digest=True)),
    ("type=registry,store=true", (Output("store"), Output("registry"))),
    ('type=registry,"name=a,b",oci-mediatypes=false', Output("registry", names=("a", "b"), media_family="docker")),
    ("type=registry,push-by-digest=true,annotation.a.b=c,unpack=true",
     Output("registry", push_by_digest=True, annotations=(("a.b", "c"),))),
    ("type=cacheonly", ()),
    ("type=image,store=false", ()),
    ("type=image,push=true,store=false,name-canonical=true", Output("registry")),
    ("type=oci,dest=d,push=false,compression-level=9", Output("oci", dest="d", compression_level=9)),
    ("type=oci,dest=d,compression=zstd,compression-level=0",
     Output("oci", dest="d", compression="zstd", compression_level=1)),
    ("type=local,dest=out,platform-split=true", Output("local", dest="out", platform_split=True)),
    ("type=oci,dest=d,rewrite-timestamp=true", Output("oci", dest="d", rewrite_timestamp=True)),
    ("type=oci,dest=d,rewrite-timestamp=false", Output("oci", dest="d", rewrite_timestamp=False)),
])
def test_outputs(text, expected):
    wanted = expected if isinstance(expected, tuple) else (expected,)
    assert read_output(text) == (wanted, False)


def test_outputs_with_effects_on_the_whole_build():
    assert read_output("type=registry,registry.insecure=true")[1] is True


@pytest.mark.parametrize(("text", "message"), [
    ("", "is empty"), ("dest=x", "has no `type=`"), ("type=zip,dest=x", "unknown type `zip`"),
    ("type=local", "needs `dest=`"), ("type=docker", "needs `dest=`"), ("type=local,dest=-", "writes a directory"),
    ("type=oci,tar=false,dest=-", "writes a directory"), ("type=tar,dets=x", "unknown field `dets`"),
    ("type=oci,dest=x,compression=lzma", "must be gzip, zstd or uncompressed"), ("type=image,dest=x", "has no `dest=`"),
    ("type=tar,dest", "is not KEY=VALUE"), ("type=local,dest=x,mode=move", "must be copy or delete"),
    ("type=oci,dest=x,tar=perhaps", "must be true or false"),
    ("type=oci,dest=x,compression-level=22", "`compression-level=22` cannot be"),
    ("type=oci,dest=x,compression=zstd,compression-level=23", "`compression-level=23` cannot be"),
    ("type=oci,dest=x,compression-level=-1", "`compression-level=-1` cannot be"),
    ("type=oci,dest=x,compression=zstd,oci-mediatypes=false", "zstd layers need OCI media types"),
    ("type=docker,dest=x,tar=false", "type docker is always a tar"),
    ("type=oci,dest=x,push=true", "type oci has no `push=`"),
    ("type=tar,dest=x,compression=gzip", "type tar has no `compression=`"),
    ("type=local,dest=x,annotation.a=b", "type local has no `annotation=`"),
    ("type=image,platform-split=true", "type image has no `platform-split=`"),
    ("type=image,annotation-index.a=b", "`annotation-index.a` is not supported"),
    ("type=image,dangling-name-prefix=x", "have no digest"),
])
def test_wrong_outputs(text, message):
    with pytest.raises(UsageError, match=message):
        read_output(text)
