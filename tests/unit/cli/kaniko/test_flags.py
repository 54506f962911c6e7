"""The table of the executor's flags, and words read as pflag reads them."""

import re
import subprocess
import sys

import pytest
from support.places import REPOSITORY

from firkin.cli.kaniko.context import translate_context
from firkin.cli.kaniko.flags import FLAGS, explain, flag_table
from firkin.cli.kaniko.parse import Values, duration_s, parse_words
from firkin.errors import UsageError


def parse(*words: str, environ: dict[str, str] | None = None, command: str = "executor") -> Values:
    return parse_words(words, FLAGS[command], environ or {})


# Sections 1.2 and 1.3 of the interface that jobs are written for: flag, kind, default.
CONTRACT = """
dockerfile text Dockerfile · context text /workspace/ · context-sub-path text · bucket text · destination many
no-push bool · no-push-cache bool · target list · build-arg many · label many · annotation pairs · secret many
git pairs · custom-platform text · customPlatform text · cache bool · cache-repo text · cache-dir text /cache
cache-ttl duration 336h · cache-copy-layers bool · cache-run-layers bool true · compressed-caching bool true
compression text · compression-level int -1 · image-format text · tar-path text · tarPath text · oci-layout-path text
digest-file text · image-name-with-digest-file text · image-name-tag-with-digest-file text · reproducible bool
single-snapshot bool · snapshot-mode text full · snapshotMode text full · use-new-run bool · ignore-path many
ignore-var-run bool · whitelist-var-run bool · cleanup bool · pre-cleanup bool · preserve-context bool
materialize bool · dryrun bool · kaniko-dir text · force bool · image-fs-extract-retry int 0
skip-unused-stages bool · force-build-metadata bool · skip-push-permission-check bool · verbosity text info
log-format text color · log-timestamp bool · insecure bool · insecure-pull bool · insecure-registry many
skip-tls-verify bool · skip-tls-verify-pull bool · skip-tls-verify-registry many · registry-certificate pairs
registry-client-cert pairs · registry-mirror many · registry-map lists · skip-default-registry-fallback bool
push-retry int 0 · image-download-retry int 0 · push-ignore-immutable-tag-errors bool · credential-helpers many
"""
ROWS = [item.split() for line in CONTRACT.strip().splitlines() for item in line.split("·")]
# What differs on purpose, see docs/kaniko.md.
OWN_DEFAULTS = {"cache-copy-layers", "skip-unused-stages", "credential-helpers"}


@pytest.mark.parametrize(("name", "kind", "default"), [(row[0], row[1], (row + [""])[2]) for row in ROWS])
def test_every_flag_of_the_contract_is_there(name, kind, default):
    (row,) = (flag for flag in FLAGS["executor"] if flag.name == name)
    assert row.kind == kind
    assert name in OWN_DEFAULTS or row.default in (default, "false" if kind == "bool" else default)


def test_the_table_is_sound():
    for command, rows in FLAGS.items():
        names = [row.name for row in rows]
        shorts = [row.short for row in rows if row.short]
        assert len(set(names)) == len(names) and len(set(shorts)) == len(shorts), command
        for row in rows:
            assert row.here and (row.state == "deprecated") == bool(row.alias)
            assert not row.alias or row.alias in names


def test_short_flags():
    values = parse("-f", "D", "-c=ctx", "-dreg/a", "-d", "reg/b:1,c", "-v=debug")
    assert (values.text("dockerfile"), values.text("context"), values.text("verbosity")) == ("D", "ctx", "debug")
    assert values.many("destination") == ("reg/a", "reg/b:1,c")
    warmer = parse("-i", "a", "-fc", "/x", "-d", "D", command="warmer")
    assert warmer.flag("force") and warmer.text("cache-dir") == "/x" and warmer.text("dockerfile") == "D"


def test_one_dash_is_a_bundle_of_short_flags():
    assert parse("-cache=x").text("context") == "ache=x"


@pytest.mark.parametrize(("word", "value"), [
    ("--cache", True), ("--cache=true", True), ("--cache=1", True), ("--cache=t", True), ("--cache=T", True),
    ("--cache=TRUE", True), ("--cache=True", True), ("--cache=false", False), ("--cache=0", False),
    ("--cache=F", False),
])
def test_booleans(word, value):
    assert parse(word).flag("cache") is value


@pytest.mark.parametrize("word", ["tRUE", "yes", "on", "2", "", " true", "y"])
def test_no_booleans(word):
    for flag in ("--cache", "--no-push", "--git=single-branch", "--git=recurse-submodules", "--git=insecure-skip-tls"):
        with pytest.raises(UsageError):
            values = parse(f"{flag}={word}")
            translate_context("git://h/r", "", values.pairs("git"), {})


@pytest.mark.parametrize(("word", "level"), [
    ("INFO", "info"), ("Debug", "debug"), ("wArN", "warn"), ("Warning", "warning"), ("TRACE", "trace"),
    ("PANIC", "panic"), ("fatal", "fatal"), ("Error", "error"),
])
def test_levels_in_any_case(word, level):
    assert parse(f"--verbosity={word}").text("verbosity") == parse("-v", word).text("verbosity") == level


@pytest.mark.parametrize("words", [
    ("--verbosity=loud",), ("--verbosity=",), ("--verbosity= info",), ("--log-format=JSON",), ("--compression=GZIP",),
    ("--image-format=OCI",), ("--snapshot-mode=Full",), ("--isolation=Chroot",),
])
def test_other_words_count_as_they_are_written(words):
    with pytest.raises(UsageError, match="invalid argument"):
        parse(*words)


@pytest.mark.parametrize(("word", "number"), [
    ("3", 3), ("+3", 3), ("-1", -1), ("0x10", 16), ("0X1f", 31), ("0b11", 3), ("0o17", 15), ("017", 15), ("1_000", 1000),
    ("0_7", 7), ("00", 0), ("9223372036854775807", 2**63 - 1),
])
def test_integers_as_pflag_reads_them(word, number):
    assert parse(f"--push-retry={word}").number("push-retry") == number


@pytest.mark.parametrize("word", ["", "x", "1.0", "08", "1__0", "_1", "1_", " 1", "\u0661", "0x", "1e3", "9223372036854775808",
                                  "9" * 5000])  # fmt: skip
def test_no_integers(word):
    with pytest.raises(UsageError, match="it is a number"):
        parse(f"--push-retry={word}")


def test_a_boolean_takes_no_second_word():
    values = parse("--cache", "true", "--no-push")
    assert values.flag("cache") and values.flag("no-push") and values.words == ["true"]


def test_values_may_look_like_flags_and_be_empty():
    values = parse("--label", "--x=y", "--context=", "--", "--no-push")
    assert values.many("label") == ("--x=y",) and values.text("context") == "" and values.given("context")
    assert values.words == ["--no-push"] and not values.flag("no-push")


@pytest.mark.parametrize(("words", "message", "hint"), [
    (("--cache=yes",), "invalid argument `yes`", ""),
    (("--push-retry=x",), "it is a number", ""),
    (("--cache-ttl=14d",), 'unknown unit "d"', "6h"),
    (("--cache-ttl=14",), "missing unit", "6h"),
    (("--snapshot-mode=fast",), "invalid argument `fast`", "full, redo, time"),
    (("--registry-certificate=x",), "no key=value", ""),
    (("--registry-map=a=b;c",), "no key=value", ""),
    (("--destinaton=x",), "unknown flag: --destinaton", "did you mean `--destination`?"),
    (("-x",), "unknown shorthand flag: `x`", ""),
    (("--destination",), "flag needs an argument", ""),
    (("-d",), "flag needs an argument", ""),
    (("--materialize",), "cannot work here", "firkin build -o DIR"),
])  # fmt: skip
def test_what_is_refused(words, message, hint):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert message in caught.value.message and hint in " ".join(caught.value.hints)


def test_pairs_and_lists():
    values = parse("--annotation", "a=1", "--annotation=a=2=3", "--registry-map", "a=b;c=d", "--registry-map=a=e",
                   "--registry-map=")  # fmt: skip
    assert values.pairs("annotation") == {"a": "2=3"}
    assert values.lists("registry-map") == (("a", "b"), ("c", "d"), ("a", "e"))


def test_deprecated_spellings_are_noted():
    values = parse("--tarPath=x", "--snapshotMode", "redo", "--whitelist-var-run=false", "--customPlatform=linux/arm64")
    assert values.text("tar-path") == "x" and values.text("custom-platform") == "linux/arm64"
    assert [row.name for row in values.deprecated] == ["tarPath", "snapshotMode", "whitelist-var-run", "customPlatform"]


def test_the_environment():
    values = parse("--no-push", "--registry-mirror=a", environ={
        "KANIKO_NO_PUSH": "false", "KANIKO_REGISTRY_MIRROR": "b", "KANIKO_REGISTRY_MAP": "x=y;z=w", "KANIKO_DIR": "/k",
    })  # fmt: skip
    assert not values.flag("no-push") and values.many("registry-mirror") == ("a", "b")
    assert values.lists("registry-map") == (("x", "y"), ("z", "w")) and values.text("kaniko-dir") == "/k"
    assert parse("--kaniko-dir=/l", environ={"KANIKO_DIR": "/k"}).text("kaniko-dir") == "/l"
    with pytest.raises(UsageError, match="KANIKO_NO_PUSH"):
        parse(environ={"KANIKO_NO_PUSH": "perhaps"})


@pytest.mark.parametrize(("text", "seconds"), [
    ("+2s", 2), (".5s", 0.5), ("1.s", 1), ("1h0m0.5s", 3600.5), ("3us", 3e-6), ("3\u00b5s", 3e-6), ("-0", 0),
    ("336h", 1209600), ("6h", 21600), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("0", 0), ("-1m", -60),
])  # fmt: skip
def test_durations(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "1", "1x", "1..5s", "-", "1h 2m", "2d", ".s", "1H", "--1s", "2562048h", "9" * 5000 + "s"])
def test_no_durations(text):
    with pytest.raises(ValueError):
        duration_s(text)


def run(*words: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firkin", "executor", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_explain_flags_prints_every_row():
    result = run("--explain-flags")
    assert result.returncode == 0 and result.stdout == explain("executor")
    for row in FLAGS["executor"]:
        assert re.search(rf"--{row.name}\b.*{row.state}", result.stdout.replace("\n" + " " * 42, " ")), row.name
    assert run("login", "--explain-flags").stdout == explain("login")


def test_errors_end_with_1():
    result = run("--cache", "true")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: unknown command `true` for `executor`\nhint: ")
    assert run("--no-such-flag").returncode == 1
    assert "you must provide --destination, or use --no-push" in run("--context", "/tmp").stderr


def test_the_version():
    assert run("version").stdout.startswith("firkin ")


def test_the_manual_has_the_table():
    text = (REPOSITORY / "docs/kaniko.md").read_text()
    assert flag_table("executor") in text, "put what flag_table('executor') of cli/kaniko/flags.py returns there"
    assert flag_table("warmer") in text
