"""Words and options of docker, podman, buildx, skopeo, crane, dive and Kaniko: run, explained, never misread."""

import re

import pytest

from firkin.cli import elsewhere, elsewhere_options
from firkin.cli.arguments import parse_arguments
from firkin.cli.command import load_command
from firkin.cli.commands import ALIASES, COMMANDS, find_command, group_of
from firkin.cli.elsewhere import explain, similar
from firkin.cli.options import by_flag
from firkin.errors import UsageError

ROWS = {name: load_command(module).OPTIONS for name, (module, _) in COMMANDS.items()}

DOCKER = """attach bake build builder buildx commit compose container context cp create diff events exec export history
image images import info inspect kill load login logout logs manifest network node plugin port ps pull push rename restart
rm rmi run save search secret service stack start stats stop swarm system tag top trust unpause update version volume wait"""
PODMAN = """auto-update farm generate healthcheck init kube machine mount play pod quadlet umount unmount unshare untag"""
SKOPEO = "copy delete inspect list-tags login logout manifest-digest proxy standalone-sign standalone-verify sync"
CRANE = """append auth blob catalog config copy delete digest edit export flatten index ls manifest mutate pull push
rebase registry tag validate version"""
OTHERS = "bud from dive skopeo crane docker podman kaniko /kaniko/executor explore nerdctl buildctl"
HARMFUL = re.compile(r"firkin (rmi|prune|push|logout)")
MEANS_IT = {"untag", "sync", "registry", "proxy"}  # these remove or publish elsewhere, too


def answer(*words: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        explain(list(words), COMMANDS)
    return caught.value


@pytest.mark.parametrize("word", sorted({*" ".join((DOCKER, PODMAN, SKOPEO, CRANE, OTHERS)).split()} - COMMANDS.keys()))
def test_every_word_of_another_tool_has_an_answer(word):
    if word in ALIASES or group_of([word]):
        return
    if word == "auto-update":  # nothing like it
        assert "firkin --help" in answer(word).hints[0]
        return
    error = answer(word)
    assert re.match(f"firkin has no command `{word}`: ", error.message) and error.exit_code == 2
    assert "did you mean" not in error.hints[0]
    assert word in MEANS_IT or not HARMFUL.search(error.message + error.hints[0])


def test_answers_name_commands_and_options_that_exist():
    """What is shown can be typed; the pages' test reads the same lines, but not inside of tables."""
    texts = [*elsewhere._ANSWERS.values(), *elsewhere._IN_GROUPS.values()]
    shown = [line for item in texts for line in re.findall(r"`firkin ([a-z][^`|]*)", item.instead)]
    assert len(shown) > 30
    for line in shown:
        found = find_command(line.split())
        assert found is not None, line
        name, rest = found[0], " ".join(found[1])
        for flag in re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", rest):
            assert flag in by_flag(ROWS[name]), (name, rest)


def test_a_table_answers_no_command_of_firkin():
    assert {*elsewhere._ANSWERS, *ALIASES} & COMMANDS.keys() == set()
    assert all(find_command(words.split()) for words in ALIASES.values())


@pytest.mark.parametrize(("words", "expected"), [
    ("buildx build --push .", "build --push ."),
    ("buildx b .", "build ."),
    ("builder build .", "build ."),
    ("builder prune -f", "buildx prune -f"),
    ("builder du", "buildx du"),
    ("image ls -q", "images -q"),
    ("image list", "images"),
    ("image rm a", "rmi a"),
    ("image tag a b", "tag a b"),
    ("bud -t a .", "build -t a ."),
    ("/kaniko/executor version", "executor version"),
])
def test_other_spellings_of_what_firkin_does(words, expected):
    found = find_command(words.split())
    assert found is not None and " ".join((found[0], *found[1])) == expected


@pytest.mark.parametrize(("words", "message", "hint"), [
    ("image imort x", "unknown command: firkin image imort", "did you mean `image import`?"),
    ("buildx buid", "unknown command: firkin buildx buid", "did you mean `buildx build`?"),
    ("image inspekt", "unknown command: firkin image inspekt", "did you mean `image inspect`?"),
    ("image pusj", "unknown command: firkin image pusj", "`firkin image` has"),
    ("image rmm", "unknown command: firkin image rmm", "`firkin image` has"),
    ("builder prun", "unknown command: firkin builder prun", "`firkin builder` has"),
    ("buildx warm", "unknown command: firkin buildx warm", "`firkin buildx` has"),
    ("image scan x", "no command `image scan`", "`syft` reads"),
    ("imagetools", "no command `imagetools`", "firkin buildx imagetools inspect"),
    ("container pusj", "unknown command: firkin container pusj", "`firkin container` has"),
    ("container creat", "unknown command: firkin container creat", "did you mean `container create`?"),
    ("buildx bake", "reads no bake files", "firkin build --target"),
    ("builder use x", "no builders to choose from", "firkin info"),
    ("image --frob ls", "unknown option `--frob` of `firkin image`", "follow the command"),
    ("container frobnicate", "unknown command: firkin container frobnicate", "`firkin container` has"),
])
def test_groups(words, message, hint):
    error = answer(*words.split())
    assert message in error.message and hint in error.hints[0]


@pytest.mark.parametrize(("word", "expected"), [
    ("biuld", "build"), ("ubild", "build"), ("buidl", "build"), ("chekc", "check"), ("inspekt", "inspect"),
    ("completoin", "completion"), ("bakes", None), ("lag", None), ("pss", "ps"), ("b", None), ("x", None), ("", None),
])
def test_only_what_is_clearly_misspelt_is_suggested(word, expected):
    assert similar(word, COMMANDS) == expected


@pytest.mark.parametrize(("word", "hint"), [
    ("warm", "did you mean `warmer`?"), ("vers", "did you mean `version`?"), ("comp", "`firkin --help` lists"),
    ("pusj", "`firkin --help` lists"), ("prun", "`firkin --help` lists"), ("logo", "did you mean `logs`?"),
    ("log", "did you mean `logs`?"), ("scna", "`firkin --help` lists"), ("scan", "`syft` reads"),
])
def test_words_that_are_cut_short(word, hint):
    assert hint in answer(word).hints[0]


@pytest.mark.parametrize("word", ["rm1", "rmii", "purne", "prun", "psuh", "puhs", "pusch", "logut", "logou", "pushh"])
def test_nothing_harmful_is_suggested(word):
    assert not re.search("`(rmi|prune|push|logout)`", answer(word).hints[0])


@pytest.mark.parametrize(("command", "word", "hint"), [
    ("build", "--destination=x", "write `--tag NAME`"),
    ("build", "--tarPath=x", "--output type=docker"),
    ("build", "--jobs=2", "--parallel N"),
    ("build", "--cap-add=x", "unprivileged"),
    ("build", "-v", "--mount=type=bind"),
    ("build", "--tls-verify=false", "--tls-skip-verify"),
    ("build", "--os=linux", "--platform"),
    ("pull", "--authfile=x", "--auth-file"),
    ("pull", "--creds=a:b", "firkin login"),
    ("prune", "--reserved-space=1g", "--max-used-space"),
    ("images", "--host=x", "no daemon"),
])
def test_options_of_other_tools(command, word, hint):
    with pytest.raises(UsageError) as caught:
        parse_arguments([word], ROWS[command], {})
    assert caught.value.message == f"unknown option `{word.partition('=')[0]}`" and hint in caught.value.hints[0]


def test_the_options_that_answers_name_exist():
    flags = {flag for rows in ROWS.values() for flag in by_flag(rows)}
    elsewhere_flags = {flag for _, names, _ in elsewhere_options._ROWS for flag in names.split()}
    for needs, _, text in elsewhere_options._ROWS:
        assert needs in flags
        for named in re.findall(r"`(?:firkin \w+ )?(--[a-z-]+)", text):
            assert named in flags, text
    assert elsewhere_flags & set(by_flag(ROWS["build"])) == set()
