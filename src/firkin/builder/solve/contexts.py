"""The contexts of one build: the main one with its Dockerfile, and the named ones. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from firkin.builder.context.directory import IGNORE_NAME, DirectoryContext, open_directory, read_ignore_file, read_texts
from firkin.builder.context.remote import RemoteTools, fetch_source, is_remote, open_remote, parse_git_or_none
from firkin.builder.context.views import Below, Matcher
from firkin.builder.graph.ops import Git, Http
from firkin.builder.request import BuildRequest
from firkin.builder.solve.result import Files
from firkin.builder.solve.view_files import read_text
from firkin.content.fetch import LayoutReader
from firkin.content.resolve import Resolved
from firkin.errors import ContextError
from firkin.events import Emit
from firkin.hints import Hint
from firkin.layer.change import View
from firkin.linux.beneath import Beneath
from firkin.oci.platform import Platform
from firkin.registry.url import redact_url
from firkin.source import Source
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.builder.context.archive import Scratch
    from firkin.builder.context.oci_layout import OciLayout


class ContextMatcher(Matcher, Protocol):
    """A parsed ignore file; see builder/dockerfile/ignore.py."""

    def __bool__(self) -> bool: ...


ReadIgnore = Callable[[bytes, str], ContextMatcher]
ParseGit = Callable[[str, bool], Git | None]


class Contexts:
    """Opens the contexts that the request names. Use as a context manager."""

    def __init__(
        self,
        request: BuildRequest,
        store: Store,
        emit: Emit,
        clock: Callable[[], float],
        read_ignore: ReadIgnore,
        parse_git: ParseGit,
        cancelled: Callable[[], bool],
    ) -> None:
        self._request = request
        self._store = store
        self._emit = emit
        self._clock = clock
        self._read_ignore = read_ignore
        self._remote = RemoteTools(
            request.registry,
            store.layout.scratch_path,
            parse_git,
            {secret.id: secret.value for secret in request.secrets},
            _git_environ(request),
            downloads=store.layout.downloads,
            cancelled=cancelled,
            now_s=request.now_s,
            limits=request.unpack,
            object_environ=dict(request.object_store_environ),
        )
        self.files: dict[str, Files] = {}
        self.main_matcher: ContextMatcher | None = None  # of the main context's ignore file
        self.main_ignore = b""  # its text
        self.layouts: dict[str, LayoutReader] = {}
        self._opened: dict[str, OciLayout] = {}
        self._git_home = ""

    def __enter__(self) -> Contexts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.clear()

    def read_dockerfile(self) -> Source:
        """Open the main context and return its Dockerfile. Raises ContextError."""
        request = self._request
        location = request.context
        if location == "-":
            from firkin.builder.context.stdin import open_stream

            streamed = open_stream(_read_standard_input(), self._scratch, limits=request.unpack)
            return self._from_stream(streamed, "standard input")
        place = os.path.normpath(os.path.join(request.cwd, location))
        if not os.path.isdir(place) and is_remote(location, self._remote):
            git = parse_git_or_none(location, self._remote, request.git_context)
            self._git_home = git.url if git is not None else ""
            found = open_remote(location, self._remote, request.git_depth, request.git_context)
            return self._from_stream(found, redact_url(location))
        if os.path.isfile(place):
            from firkin.builder.context.tar import open_tar

            return self._from_stream(open_tar(place, self._scratch, request.unpack), place)
        return self._from_directory(_sub_directory(place, request.context_sub_path))

    def _from_directory(self, root: str) -> Source:
        if not os.path.isdir(root):
            what = "is not a directory" if os.path.lexists(root) else "does not exist"
            raise ContextError(
                f"the build context {root} {what}",
                code="context-missing",
                hints=(Hint.of("context-missing"),),
            )
        given = self._given_dockerfile()
        if given is not None:
            source = given
            ignore_name, ignore = read_ignore_file(root)
        else:
            texts = read_texts(root, self._dockerfile_place(root))
            source = Source(self._shown(texts.name), texts.dockerfile.decode("utf-8", "surrogateescape"))
            ignore_name, ignore = texts.ignore_name, texts.ignore
        matcher = self._read_ignore(ignore, ignore_name) if ignore is not None else None
        self.main_matcher, self.main_ignore = matcher, ignore or b""
        self.files[""] = Files(DirectoryContext(root, matcher, ignore_name))
        return source

    def _dockerfile_place(self, root: str) -> str:
        """Return the path of the file that -f names, relative to the working directory, else to the context."""
        if not self._request.dockerfile:
            return f"{root}/Dockerfile"
        place = os.path.normpath(os.path.join(self._request.cwd, self._request.dockerfile))
        inside = os.path.normpath(os.path.join(root, self._request.dockerfile))
        return inside if not os.path.lexists(place) and os.path.lexists(inside) else place

    def _shown(self, place: str) -> str:
        prefix = self._request.cwd.rstrip("/") + "/"
        return place[len(prefix) :] if place.startswith(prefix) else place

    def _given_dockerfile(self) -> Source | None:
        """Return the Dockerfile if it does not come from the context, else None."""
        request = self._request
        if request.dockerfile_text is not None:
            return Source(request.dockerfile or "Dockerfile", request.dockerfile_text)
        if request.dockerfile == "-":
            from firkin.builder.context.stdin import read_all

            data = read_all(_read_standard_input(), "standard input")
            return Source("standard input", data.decode("utf-8", "surrogateescape"))
        if request.dockerfile.startswith(("http://", "https://")):
            found = open_remote(request.dockerfile, self._remote)
            shown = redact_url(request.dockerfile)
            if not isinstance(found, bytes):
                raise ContextError(f"{shown} is no Dockerfile", code="dockerfile-missing")
            return Source(shown, found.decode("utf-8", "surrogateescape"))
        return None

    def _from_stream(self, found: View | bytes, what: str) -> Source:
        """Take a tree with its Dockerfile, or a Dockerfile alone (then the context is empty)."""
        if isinstance(found, bytes):
            from firkin.builder.context.stdin import nothing

            self.files[""] = Files(nothing())
            return Source("Dockerfile", found.decode("utf-8", "surrogateescape"))
        view: View = found
        if self._request.context_sub_path:
            view = _below(view, self._request.context_sub_path, what)
        self.files[""] = Files(self._behind_ignore_file(view, what))
        given = self._given_dockerfile()
        if given is not None:
            return given
        name = self._request.dockerfile or "Dockerfile"
        data = read_text(view, name, what)
        if data is None and not self._request.dockerfile:
            data = read_text(view, "dockerfile", what)
        if data is None:
            raise ContextError(
                f"cannot find the Dockerfile: {what} has no `{name}`",
                code="dockerfile-missing",
                hints=(Hint.of("dockerfile-in-context"),),
            )
        return Source(name, data.decode("utf-8", "surrogateescape"))

    def _behind_ignore_file(self, view: View, what: str) -> View:
        """Return a tree without the files that its ignore file names, if the request asks for that."""
        if not self._request.dialect.ignore_everywhere:
            return view
        from firkin.builder.context.ignored import IgnoredView

        own, text = (self._request.dockerfile or "Dockerfile") + IGNORE_NAME, self._request.ignore_text
        found = [(own, text.encode("utf-8", "surrogateescape"))] if text is not None else [
            (name, data) for name in (own, IGNORE_NAME) if (data := read_text(view, name, what)) is not None
        ]  # fmt: skip
        for name, data in found[:1]:
            self.main_ignore = data
            self.main_matcher = matcher = self._read_ignore(data, name)
            return IgnoredView(view, matcher, name) if matcher else view
        return view

    def check_named(self) -> None:
        """Check that named contexts exist, unused ones as well; raises ContextError."""
        for name, value in self._request.build_contexts:
            path = os.path.normpath(os.path.join(self._request.cwd, value))
            if "://" not in value and not os.path.exists(path) and not is_remote(value, self._remote):
                raise ContextError(f"{path} does not exist", code="context-missing", option=_option(name))

    def image(self, name: str, platform: Platform) -> Resolved | str | None:
        """Return the image, or the name of one, that a named context stands for; None for files."""
        value = dict(self._request.build_contexts)[name]
        scheme, separator, rest = value.partition("://")
        if separator and scheme == "docker-image":
            return rest
        if separator and scheme == "oci-layout":
            return self._layout_image(name, rest, platform)
        if name not in self.files:
            self.files[name] = Files(self._named_view(name, value))
        return None

    def _layout_image(self, name: str, location: str, platform: Platform) -> Resolved:
        from firkin.builder.context.oci_layout import OciLayout, parse_layout_name

        layout_name = parse_layout_name(location, self._request.cwd)
        layout = self._opened.get(layout_name.path)
        if layout is None:
            layout = self._opened[layout_name.path] = OciLayout(layout_name.path, self._scratch, self._request.unpack)
            self.layouts[layout_name.path] = layout
        digest, image = layout.image(layout_name, platform)
        origin = f"oci-layout://{layout_name.path}@{image.manifest.digest}"
        return Resolved(name, digest, image, origin)

    def _named_view(self, name: str, value: str) -> View:
        root = os.path.normpath(os.path.join(self._request.cwd, value))
        if not os.path.isdir(root) and is_remote(value, self._remote):
            found = open_remote(value, self._remote)
            if isinstance(found, bytes):
                raise ContextError(f"{redact_url(value)} is no archive", code="context", option=_option(name))
            return found
        if os.path.isfile(root):
            from firkin.builder.context.tar import open_tar

            return open_tar(root, self._scratch, self._request.unpack)
        return open_directory(root, self._read_ignore)

    def fetch(self, op: Http | Git, vertex: str, cancel: Cancel) -> Files:
        """Download the source of an ADD; raises ContextError.

        A Dockerfile from a repository may name other hosts, but these do not get the repository's credentials.
        """
        return Files(fetch_source(op, self._remote._replace(git_home=self._git_home)))

    @property
    def _scratch(self) -> Scratch:
        return self._store.layout.scratch_path


def _option(name: str) -> Hint:
    return Hint.of("option-build-context", name=name)


def _git_environ(request: BuildRequest) -> dict[str, str]:
    """Return the environment of git and ssh; `--ssh default` is their agent, as in BuildKit."""
    environ = dict(request.git_environ)
    for agent in request.ssh:
        if agent.id == "default" and len(agent.paths) == 1 and not os.path.isfile(agent.paths[0]):
            environ["SSH_AUTH_SOCK"] = agent.paths[0]
    return environ


def _sub_directory(place: str, sub_path: str) -> str:
    """Return the directory at a sub path of a context. Links in it stay inside; a `..` of the user may lead out."""
    if not sub_path or ".." in sub_path.split("/") or not os.path.isdir(place):
        return os.path.normpath(os.path.join(place, sub_path.lstrip("/")))
    with Beneath(place) as beneath:
        return os.path.normpath(os.path.join(place, beneath.real_path(sub_path)))


def _below(view: View, sub_path: str, what: str) -> View:
    parts = [part for part in sub_path.split("/") if part not in ("", ".")]
    entry = None if ".." in parts else view.lstat("/".join(parts))
    if entry is None or entry.kind != "dir":
        raise ContextError(f"{what} has no directory `{sub_path}`", code="context-missing")
    return Below(view, "/".join(parts))


def _read_standard_input() -> Iterator[bytes]:
    with open(0, "rb", closefd=False) as stream:
        while chunk := stream.read(1 << 20):
            yield chunk
