"""docker's config.json: formats of lists, filters of prunes."""

import pytest

from firkin.ambient import Ambient
from firkin.cli.docker_config import DockerConfig, parse_docker_config, read_docker_config
from firkin.errors import UsageError


def ambient(home, **environ):
    return Ambient(environ, "/", str(home), 0, 0.0)


def test_formats_count_where_nothing_else_was_said(tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(
        '{"auths": {}, "imagesFormat": "{{.ID}}", "psFormat": "", "detachKeys": "x"}'
    )
    config = read_docker_config(ambient(tmp_path))
    assert config.format("images", "") == "{{.ID}}"
    assert config.format("images", "json") == "json"
    assert config.format("images", "", quiet=True) == ""
    assert config.format("ps", "") == ""


def test_docker_config_names_the_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"pruneFilters": ["until=24h"]}')
    assert read_docker_config(ambient("/nowhere", DOCKER_CONFIG=str(tmp_path))).prune_filters == ("until=24h",)
    assert read_docker_config(ambient("/nowhere")) == DockerConfig({})
    (tmp_path / "config.json").write_text("")
    assert read_docker_config(ambient("/nowhere", DOCKER_CONFIG=str(tmp_path))) == DockerConfig({})


def test_filters_of_the_file_are_added_unless_the_command_line_says_the_opposite():
    config = DockerConfig({}, ("label!=keep", "label=old", "until=24h"))
    assert config.prune_words(["label=keep"]) == ("label=keep", "label=old", "until=24h")
    assert config.prune_words(["label!=old"]) == ("label!=old", "label!=keep", "until=24h")
    assert config.prune_words([]) == ("label!=keep", "label=old", "until=24h")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"pruneFilters": "x"}', b'{"pruneFilters": [1]}', b"\xff", b"[" * 100_000])
def test_what_is_no_configuration(raw):
    with pytest.raises(UsageError):
        parse_docker_config(raw, "config.json")
