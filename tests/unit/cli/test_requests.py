"""A command line becomes a BuildRequest; surroundings and config.toml are in it."""

from pathlib import Path

import pytest

from firkin.ambient import Ambient
from firkin.builder.request import BuildRequest, Output, Secret
from firkin.cli.arguments import parse_arguments
from firkin.cli.commands.build import OPTIONS
from firkin.cli.requests import build_request, registry_host, settings_of
from firkin.errors import UsageError
from firkin.layer.limits import UnpackLimits
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.settings import read_settings
from firkin.store.rules import GcRules


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def request(home: Path, *words: str, uid: int = 1000, **environ: str) -> BuildRequest:
    ambient = Ambient(environ, "/work", str(home), uid, 1700000000.5)
    arguments = parse_arguments(words, OPTIONS, environ)
    return build_request(arguments, ambient, settings_of(arguments, ambient))


def test_what_nobody_asked_for(home):
    built = request(home, ".")
    assert built.context == "." and built.cwd == "/work" and built.now_s == 1700000000.5
    assert built.outputs == (Output(),) and built.tags == () and built.isolation == "auto"
    assert built.store_root == f"{home}/.local/share/firkin"
    assert built.registry.auth_files[0] == f"{home}/.docker/config.json"


def test_places_of_the_store(home):
    assert request(home, ".", uid=0).store_root == "/var/lib/firkin"
    assert request(home, ".", XDG_DATA_HOME="/data").store_root == "/data/firkin"
    assert request(home, ".", XDG_DATA_HOME="relative").store_root == f"{home}/.local/share/firkin"
    assert request(home, ".", FIRKIN_ROOT="/r").store_root == "/r"
    assert request(home, ".", "--root", "sub", FIRKIN_ROOT="/r").store_root == "/work/sub"


def test_options_reach_the_request(home):
    built = request(
        home, "-t", "app:1", "--tag=r.example/app", "-f", "D", "--target", "t", "--label=a=b", "--label", "c",
        "--platform", "linux/arm64,linux/amd64", "--no-cache-filter", "a,b", "--pull", "--network=none",
        "--add-host", "db:10.0.0.1", "--shm-size", "1g", "--allow", "network.host", "--isolation=chroot", "ctx",
    )  # fmt: skip
    assert built.tags == ("app:1", "r.example/app") and built.dockerfile == "D" and built.target == "t"
    assert built.labels == (("a", "b"), ("c", "")) and built.platforms == ("linux/arm64", "linux/amd64")
    assert built.no_cache_filter == ("a", "b") and built.pull and built.run.network == "none"
    assert built.run.add_hosts == (("db", "10.0.0.1"),) and built.run.shm_size_bytes == 1 << 30
    assert built.allow == ("network.host",) and built.isolation == "chroot" and built.context == "ctx"


@pytest.mark.parametrize(("words", "outputs"), [
    ((), (Output(),)),
    (("--push",), (Output("registry"),)),
    (("--load",), (Output(),)),
    (("--push", "--load"), (Output("registry"), Output())),
    (("-o", "out"), (Output("local", dest="out"),)),
    (("-o", "out", "--load"), (Output("local", dest="out"), Output())),
    (("-o", "type=image,compression=zstd", "--push"), (Output(compression="zstd"), Output("registry", compression="zstd"))),
    (("-o", "type=cacheonly"), ()),
    (("-o", "type=tar,dest=t,source-date-epoch=12"), (Output("tar", dest="t", own_epoch=True, epoch_s=12),)),
    (("-o", "type=tar,dest=t,source-date-epoch="), (Output("tar", dest="t", own_epoch=True),)),
    (("-o", "a", "-o", "type=docker,dest=b"), (Output("local", dest="a"), Output("docker", dest="b"))),
])
def test_where_the_result_goes(home, words, outputs):
    assert request(home, "-t", "app", *words, ".").outputs == outputs


def test_secrets_are_read_here(home):
    (home / "token").write_bytes(b"s3cret\n")
    built = request(home, "--secret", f"id=t,src={home}/token", "--secret", "id=e,env=E", ".", E="v")
    assert built.secrets == (Secret("t", b"s3cret\n"), Secret("e", b"v"))
    assert "s3cret" not in repr(built)


def test_epoch_and_proxies(home):
    assert request(home, ".", SOURCE_DATE_EPOCH="7").source_date_epoch == 7
    assert request(home, "--build-arg", "SOURCE_DATE_EPOCH=8", ".", SOURCE_DATE_EPOCH="7").source_date_epoch == 8
    for words, environ in (
        (("--build-arg", "SOURCE_DATE_EPOCH=context"), {}),
        (("--build-arg", "SOURCE_DATE_EPOCH=context"), {"SOURCE_DATE_EPOCH": "7"}),
        (("--source-date-epoch", "context"), {}),
        ((), {"SOURCE_DATE_EPOCH": "context"}),
    ):
        named = request(home, *words, ".", **environ)
        assert named.source_date_epoch is None
        assert named.build_args == (("SOURCE_DATE_EPOCH", "context"),)
    built = request(home, ".", HTTP_PROXY="http://p", no_proxy="a")
    assert built.proxy_args == (("HTTP_PROXY", "http://p"), ("no_proxy", "a"))
    assert built.registry.http_proxy == "http://p" and built.registry.no_proxy == "a"


@pytest.mark.parametrize(("words", "message"), [
    ((), "needs one context, none was given"),
    (("a", "b"), "needs one context, 2 were given: `a`, `b`"),
    (("",), "the context is empty"),
    (("-f", "-", "-"), "cannot both come from standard input"),
    (("-t", "App", "."), "option `--tag`: invalid reference format"),
    (("-o", "type=oci,dest=x,source-date-epoch=context", "."), "source-date-epoch is `context`, not a number"),
    (("--push", "."), "an image that is pushed needs a name"),
    (("-o", "-", "-o", "type=oci,dest=-", "."), "only one output can go to standard output"),
    (("--secret", "id=x,src=/nonexistent/x", "."), "secret `x`: cannot read /nonexistent/x"),
    (("--secret", "id=x,env=NOT_SET", "."), "the environment variable `NOT_SET` is not set"),
    (("--call", "subrequests", "."), "option `--call` cannot be `subrequests`"),
    (("--source-date-epoch", "-1", "."), "not a number of seconds"),
    (("--build-arg", "SOURCE_DATE_EPOCH=1.5", "."), "not a number of seconds"),
    (("--build-context", "x", "."), "is not NAME=VALUE"),
])
def test_wrong_command_lines(home, words, message):
    with pytest.raises(UsageError) as caught:
        request(home, *words)
    assert message in caught.value.message


def test_registries_from_files_and_options(home):
    place = home / ".config/firkin"
    place.mkdir(parents=True)
    (place / "config.toml").write_text(
        'root = "store"\nisolation = "chroot"\n[registry]\ninsecure = ["a:5000"]\nretries = 2\n'
        '[registry.mirrors]\n"docker.io" = ["http://one", "http://two"]\n"quay.io" = "http://three"\n'
        '[registry.ca]\n"a" = "ca.pem"\n[registry.client-cert]\n"a" = { cert = "c.pem", key = "/k.pem" }\n'
    )
    extra = home / "extra.toml"
    extra.write_text(
        '[registry.mirrors]\n"quay.io" = "http://four"\n')
    built = request(home, "--config", str(extra), "--registry-mirror", "docker.io=http://mine",
                    "--insecure-registry", "b", ".")  # fmt: skip
    assert built.registry.mirrors == (Mirror("docker.io", "http://mine"), Mirror("quay.io", "http://four"))
    assert built.registry.insecure == ("a:5000", "b") and built.registry.retries == 2
    assert built.registry.ca_files == (("a", f"{place}/ca.pem"),)
    assert built.registry.client_certs == (("a", f"{place}/c.pem", "/k.pem"),)
    assert built.store_root == f"{place}/store" and built.isolation == "chroot"


@pytest.mark.parametrize(("text", "expected"), [
    ("max-used-space = '20g'\nkeep-age = '3d12h'\n", GcRules(20 << 30, 84 * 3600.0)),
    ("max-used-space = 1000\nkeep-age = 60\n", GcRules(1000, 60.0)),
    ("", GcRules()),
])
def test_rules_for_the_size_of_the_store(home, text, expected):
    (home / "config.toml").write_text(f"[gc]\n{text}")
    assert request(home, "--config", str(home / "config.toml"), ".").gc == expected


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("rot = 1\n", "`rot` is not a known key", "did you mean `root`?"),
    ("[registry]\nmirors = {}\n", "`registry.mirors` is not a known key", "did you mean `mirrors`?"),
    ("[registry]\nretries = -1\n", "`registry.retries` must be a number", ""),
    ("[registry]\ninsecure = [1]\n", "`registry.insecure` must be a list of texts", ""),
    ("[unpack]\nmax-size = '1 x'\n", "`unpack.max-size` must be a size", "\"128g\""),
    ("[unpack]\nmax-entries = true\n", "`unpack.max-entries` must be a number", ""),
    ("root = ''\n", "`root` must be a text", ""),
    ("registry = 1\n", "`registry` must be a table", ""),
    ("[registry.client-cert]\na = {cert='x'}\n", "must have `cert` and `key`", ""),
    ("isolation = 'vm'\n", "must be auto, namespaces", ""),
    ("root = \n", "config.toml: ", ""),
    ("[gc]\nkeep-age = 'soon'\n", "`gc.keep-age` must be a time", "`72h`"),
    ("[gc]\nmax-used-space = 'much'\n", "`gc.max-used-space` must be a size", "128g"),
    ("[gc]\nmax-used-space = '9999999999p'\n", "`gc.max-used-space` must be a size", ""),
    ("[gc]\nmax-used-spce = 1\n", "`gc.max-used-spce` is not a known key", "did you mean `max-used-space`?"),
])
def test_wrong_files(home, text, message, hint):
    file = home / "config.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        request(home, "--config", str(file), ".")
    assert message in caught.value.message and str(file) in caught.value.message
    assert hint in " ".join(caught.value.hints)
    assert caught.value.code == "config" and caught.value.exit_code == 2


def test_a_wrong_key_is_found_in_its_line(home):
    (home / "c.toml").write_text("# words\n\n[registry]\nretries = 1\nmirors = {}\n")
    with pytest.raises(UsageError) as caught:
        request(home, "--config", str(home / "c.toml"), ".")
    assert caught.value.span is not None and caught.value.span.start.line == 5


def test_a_file_that_was_asked_for_must_exist(home):
    with pytest.raises(UsageError, match="cannot read"):
        request(home, "--config", str(home / "missing.toml"), ".")


def test_limits_of_unpacking(home):
    assert request(home, ".").unpack == UnpackLimits(512 << 30, 10_000_000)
    file = home / "config.toml"
    file.write_text('[unpack]\nmax-size = "2t"\nmax-entries = 5\n')
    assert request(home, "--config", str(file), ".").unpack == UnpackLimits(2 << 40, 5)
    words = ("--config", str(file), "--max-unpack-size", "0", "--max-unpack-entries", "7", ".")
    assert request(home, *words).unpack == UnpackLimits(0, 7)
    file.write_text("[unpack]\nmax-size = 100\n")
    assert request(home, "--config", str(file), ".").unpack.size_bytes == 100


@pytest.mark.parametrize("key", ["progress", "isolation"])
def test_a_setting_takes_every_word_that_its_option_takes(tmp_path: Path, key: str) -> None:
    words = next(option.choices for option in OPTIONS if f"--{key}" in option.flags)
    assert "auto" in words
    for word in words:
        file = tmp_path / "config.toml"
        file.write_text(f'{key} = "{word}"\n')
        assert getattr(read_settings((str(file),), "", RegistrySettings()), key) == word


@pytest.mark.parametrize(("words", "host"), [
    ([], "docker.io"),
    (["r.example:5000"], "r.example:5000"),
    (["https://index.docker.io/v1/"], "index.docker.io"),
    (["http://r.example/team/app"], "r.example"),
])  # fmt: skip
def test_a_registry_is_its_host(words: list[str], host: str) -> None:
    assert registry_host(parse_arguments(words, OPTIONS, {}), "login") == host


@pytest.mark.parametrize("word", ["https://", "/", "", "http:///team"])
def test_what_is_no_registry(word: str) -> None:
    with pytest.raises(UsageError, match="is no registry"):
        registry_host(parse_arguments([word], OPTIONS, {}), "login")


def test_one_registry_at_a_time() -> None:
    with pytest.raises(UsageError, match="`firkin logout` takes one registry"):
        registry_host(parse_arguments(["a", "b"], OPTIONS, {}), "logout")
