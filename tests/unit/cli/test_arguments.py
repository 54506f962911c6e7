"""Words → Arguments, spelt as docker's command line reads them."""

import pytest

from firkin.cli.arguments import parse_arguments
from firkin.cli.build_options import BUILD
from firkin.cli.options import COMMON, PROGRESS, REGISTRY, Option, by_flag
from firkin.errors import UsageError

ROWS = BUILD + PROGRESS + REGISTRY + COMMON


def parse(*words: str, environ: dict[str, str] | None = None):
    return parse_arguments(words, ROWS, environ or {})


@pytest.mark.parametrize("words", [
    ("--tag", "app:1"), ("--tag=app:1",), ("-t", "app:1"), ("-tapp:1",), ("-t=app:1",), ("-qt", "app:1"),
])
def test_spellings_of_a_value(words):
    assert parse(*words, ".").many("tag") == ("app:1",)
    assert parse(".", *words).operands == (".",)


@pytest.mark.parametrize(("words", "expected"), [
    (("--no-cache",), True), (("--no-cache=true",), True), (("--no-cache=1",), True), (("--no-cache=false",), False),
    (("--no-cache", "--no-cache=F"), False), ((), False),
])
def test_flags(words, expected):
    assert parse(*words).flag("no_cache") is expected


def test_a_flag_takes_no_separate_word():
    arguments = parse("--pull", "false")
    assert arguments.flag("pull") and arguments.operands == ("false",)


def test_repeated_values_keep_their_order_and_commas():
    assert parse("--build-arg", "A=1,2", "--build-arg=B=x=y").many("build_arg") == ("A=1,2", "B=x=y")


def test_two_dashes_end_the_options_and_one_is_an_operand():
    assert parse("-f", "-", "--", "--tag").operands == ("--tag",)
    assert parse("-").operands == ("-",)


def test_the_last_of_several_texts_counts():
    assert parse("--target", "a", "--target=b").text("target") == "b"


def test_the_environment_stands_in_for_what_is_not_given():
    environ = {"BUILDKIT_PROGRESS": "plain", "SOURCE_DATE_EPOCH": "12", "FIRKIN_ROOT": ""}
    arguments = parse(environ=environ)
    assert arguments.text("progress") == "plain"
    assert arguments.text("source_date_epoch") == "12"
    assert not arguments.given("root")
    assert parse("--progress=tty", environ=environ).text("progress") == "tty"


@pytest.mark.parametrize(("words", "message", "hint"), [
    (("--tga", "x"), "unknown option `--tga`", "did you mean `--tag`?"),
    (("--progres=plain",), "unknown option `--progres`", "did you mean `--progress`?"),
    (("-Z",), "unknown option `-Z`", ""),
    (("--tag",), "option `--tag` needs a value: `--tag NAME[:TAG]`", ""),
    (("--no-cache=maybe",), "option `--no-cache` is on or off: `maybe` is neither `true` nor `false`", ""),
    (("--progress=fast",), "option `--progress` cannot be `fast`", "it is one of auto, plain, tty"),
    (("--parallel=x",), "option `--parallel` needs a number, not `x`", ""),
    (("-m", "1g"), "option `-m` cannot work here", "limited scope"),
    (("--sbom",), "option `--sbom` needs a value", ""),
    (("--provenance=mode=max",), "option `--provenance` cannot work here", "--provenance=false"),
])
def test_errors_name_the_option_and_the_way_out(words, message, hint):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 2
    assert hint in " ".join(caught.value.hints)


def test_a_wrong_environment_variable_is_named():
    with pytest.raises(UsageError, match="environment variable `FIRKIN_PROGRESS` cannot be `x`"):
        parse(environ={"FIRKIN_PROGRESS": "x"})


def test_what_changes_nothing_is_accepted():
    arguments = parse("--rm", "--force-rm", "--provenance=false", "--sbom", "false", ".")
    assert arguments.operands == (".",)


def test_no_spelling_belongs_to_two_options():
    flags = [flag for row in ROWS for flag in row.flags]
    assert len(flags) == len(set(flags)) == len(by_flag(ROWS))


# `docker buildx build --help`, version 0.29; every option is here, refused with a hint or does what it says.
BUILDX = """--add-host --allow --annotation --attest --build-arg --build-context --builder --cache-from --cache-to
--call --cgroup-parent --check -D --debug -f --file --iidfile --label --load --metadata-file --network --no-cache
--no-cache-filter -o --output --platform --policy --progress --provenance --pull --push -q --quiet --sbom --secret
--shm-size --ssh -t --tag --target --ulimit
--compress --cpu-period --cpu-quota -c --cpu-shares --cpuset-cpus --cpuset-mems --disable-content-trust --force-rm
--isolation -m --memory --memory-swap --rm --security-opt --squash"""


def test_every_option_of_buildx_is_known():
    assert set(BUILDX.split()) - by_flag(ROWS).keys() == set()


def test_an_ignored_option_takes_its_value_with_it():
    rows = (Option(("--builder",), "", "ignored", "any name"), Option(("--rm",), "", "ignored", "x", takes_value=False))
    for words in (["--builder", "x", "a"], ["--builder=x", "--rm", "a"], ["a", "--rm=false", "--builder", "b"]):
        assert parse_arguments(words, rows, {}).operands == ("a",)
    with pytest.raises(UsageError, match="needs a value"):
        parse_arguments(["a", "--builder"], rows, {})


def test_the_first_operand_ends_the_options_where_they_may_not_be_mixed():
    rows = (Option(("--tag",), "tag", "text", "x", "NAME"),)
    arguments = parse_arguments(["--tag", "x", "a", "--tag", "y"], rows, {}, interspersed=False)
    assert (arguments.text("tag"), arguments.operands) == ("x", ("a", "--tag", "y"))
