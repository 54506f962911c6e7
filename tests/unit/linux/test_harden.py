"""What is kept from steps that share the container's root."""

from pathlib import Path

from firkin.ambient import Ambient, private_paths
from firkin.linux import harden


def test_files_at_places_of_credentials_are_found(tmp_path: Path, monkeypatch):
    home, pod, work = tmp_path / "home", tmp_path / "pod", tmp_path / "work"
    for place in (home / ".aws/sso/cache", pod / "..data", work):
        place.mkdir(parents=True)
    (home / ".aws/credentials").write_text("k")
    (home / ".aws/sso/cache/t").write_text("k")
    (pod / "..data/token").write_text("k")
    (pod / "token").symlink_to("..data/token")
    (work / "key.json").write_text("k")
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(pod / "token"), "GOOGLE_APPLICATION_CREDENTIALS": "key.json"}
    places = private_paths(Ambient(environ, str(work), str(home), 0, 0.0))
    expected = [pod / "..data/token", work / "key.json", home / ".aws/credentials", home / ".aws/sso/cache/t"]
    assert list(harden.list_private(places)) == list(map(str, expected))
    monkeypatch.setattr(harden, "iter_mount_points", lambda: [("/", "overlay"), (str(pod), "tmpfs")])
    assert harden.find_exposed(places, (str(work),)) == (str(expected[0]), str(expected[1]))
    assert harden.find_exposed(places) == (str(expected[0]),)
