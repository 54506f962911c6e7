import pytest

from firkin.builder.dockerfile.flags import FlagSpec, MountSpec, check_mount, mount_from, parse_flags, parse_mount
from firkin.builder.dockerfile.lines import read_instruction
from firkin.errors import DockerfileError
from firkin.source import Position, Span

HERE = Span("Dockerfile", Position(3), Position(3))
SPECS = (FlagSpec("chown"), FlagSpec("link", "bool"), FlagSpec("exclude", "list"))


def test_flags_by_kind() -> None:
    raw = read_instruction("COPY --chown=a=b --link --exclude=x --exclude=y a b", HERE)
    flags = parse_flags(raw, SPECS)
    assert flags.text("chown") == "a=b"
    assert flags.bool("link") is True
    assert flags.list("exclude") == ("x", "y")
    assert flags.given("link") and not flags.given("from")


def test_flags_that_are_not_given_are_empty() -> None:
    flags = parse_flags(read_instruction("COPY --chown= a b", HERE), SPECS)
    assert (flags.text("chown"), flags.given("chown")) == ("", True)
    assert (flags.text("from"), flags.bool("link"), flags.list("exclude")) == ("", False, ())
    assert parse_flags(read_instruction("COPY --link=FALSE a b", HERE), SPECS).bool("link") is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--colour=red", "unknown flag: --colour"),
        ("--chwon=a", "unknown flag: --chwon (did you mean --chown?)"),
        ("--chown", "missing a value on flag: --chown"),
        ("--exclude", "missing a value on flag: --exclude"),
        ("--link=", "missing a value on flag: --link"),
        ("--link=maybe", "expecting boolean value for flag --link, not: maybe"),
        ("--link --link", "duplicate flag specified: --link"),
        ("--chown=a --chown=a", "duplicate flag specified: --chown"),
    ],
)
def test_flags_refused(flags: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_flags(read_instruction(f"COPY {flags} a b", HERE), SPECS)
    assert (caught.value.message, caught.value.span) == (message, HERE)


def mount(text: str) -> MountSpec:
    return parse_mount(text, lambda value: value.replace("$T", "cache"), HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/m", MountSpec(target="/m")),
        ("type=bind,dst=/m,src=a,from=b,rw", MountSpec(target="/m", source="a", from_="b", readonly=False)),
        ("TYPE=Cache,destination=/c", MountSpec("cache", target="/c", readonly=False)),
        ("type=$T,target=/c,ro,id=i", MountSpec("cache", target="/c", id="i", readonly=True)),
        ("type=cache,target=/c,readwrite=false", MountSpec("cache", target="/c", readonly=True)),
        (
            "type=cache,target=/c,sharing=LOCKED,mode=0700,uid=1,gid=2",
            MountSpec("cache", target="/c", readonly=False, sharing="locked", mode=0o700, uid=1, gid=2),
        ),
        ("type=tmpfs,target=/t,size=64m", MountSpec("tmpfs", target="/t", readonly=False, size_bytes=64 << 20)),
        ("type=tmpfs,size=1.5GiB", MountSpec("tmpfs", readonly=False, size_bytes=3 << 29)),
        ("type=tmpfs,size=100", MountSpec("tmpfs", readonly=False, size_bytes=100)),
        ("type=tmpfs,size=2 kb", MountSpec("tmpfs", readonly=False, size_bytes=2048)),
        ("type=secret,id=a,env=B,required", MountSpec("secret", id="a", env="B", required=True)),
        ("type=ssh,required=true,mode=600", MountSpec("ssh", required=True, mode=0o600)),
        ('"target=/a,b","source=x ""y"""', MountSpec(target="/a,b", source='x "y"')),
    ],
)
def test_mounts(text: str, expected: MountSpec) -> None:
    assert mount(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target=/m,readonly=perhaps", "invalid value for readonly: perhaps"),
        ("target=/m,sticky", "invalid field 'sticky' must be a key=value pair"),
        ("target=/m,", "invalid field '' must be a key=value pair"),
        ("tagret=/m", "unexpected key 'tagret' in 'tagret=/m' (did you mean target?)"),
        ("type=floppy", 'unsupported mount type "floppy"'),
        ("type=chace", 'unsupported mount type "chace" (did you mean cache?)'),
        ("type=cache,sharing=all", 'unsupported sharing value "all"'),
        ("target=/m,mode=0700", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("target=/m,size=1m", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=1q", "invalid value for size: 1q"),
        ("type=tmpfs,size=-1", "invalid value for size: -1"),
        ("type=tmpfs,size=", "invalid value for size: "),
        ("required,type=secret,id=a", "unexpected key 'required' for mount type 'bind'"),
        ("type=cache,mode=0888", "invalid value 0888 for mode"),
        ("type=cache,uid=4294967296", "invalid value 4294967296 for uid"),
        ("type=cache,gid=-1", "invalid value -1 for gid"),
        ("type=secret", "invalid secret mount. one of source, target required (or `id=`, the secret's name)"),
        ("type=secret,id=a,src=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
        ("type=tmpfs,sharing=shared", "invalid cache sharing set for tmpfs mount"),
        ('target="/m"', 'failed to parse csv mounts: column 8: bare " in non-quoted-field'),
        ('"target=/m', 'failed to parse csv mounts: column 2: extraneous or missing " in quoted-field'),
        ("", "failed to parse csv mounts: it is empty"),
    ],
)
def test_mounts_refused(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        mount(text)
    assert (caught.value.message, caught.value.span) == (message, HERE)


def test_what_can_be_checked_before_variables_are_known() -> None:
    check_mount("type=$X,target=$Y,from=a$", HERE)
    with pytest.raises(DockerfileError, match="'from' doesn't support variable expansion, define alias stage instead"):
        check_mount("target=/m,From=$STAGE", HERE)
    with pytest.raises(DockerfileError, match="failed to parse csv mounts"):
        check_mount('a"b', HERE)


def test_mount_from() -> None:
    assert mount_from('target=/m,"from=a,b"', HERE) == "a,b"
    assert mount_from("target=/from", HERE) == ""
    assert mount_from("target=/m", HERE) == ""
