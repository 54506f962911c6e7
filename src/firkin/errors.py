"""The error tree. Pure. Any module may import it.

An error says what failed (`message`: lower case, no full stop), which kind of error it is (`code`), how the process
ends (`exit_code`), what to do (`hints`), where it is (`span`) and which argument it is about (`option`). Only
`render/report.py` prints errors. Passwords in URLs are hidden here; callers hide other secrets.
"""

from __future__ import annotations

from firkin.text import hide_passwords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Literal

    from firkin.hints import AnyHint, Hint, Texts
    from firkin.source import Span

    ContainerFault = Literal["invalid", "missing", "forbidden", "conflict", "failed", "unsupported"]


class FirkinError(Exception):
    """Anything that firkin refuses or fails to do."""

    default_code: ClassVar[str] = "firkin"
    default_exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        exit_code: int | None = None,
        hints: tuple[AnyHint, ...] = (),
        span: Span | None = None,
        option: Hint | None = None,
    ) -> None:
        message = hide_passwords(message)
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.exit_code = self.default_exit_code if exit_code is None else exit_code
        self.hints = tuple(hide_passwords(hint) if isinstance(hint, str) else hint for hint in hints)
        self.span = span
        self.option = option

    def put(self, texts: Texts) -> None:
        """Put the error into the words of a front: hints become texts, the option is put before the message."""
        if self.option is None and all(isinstance(hint, str) for hint in self.hints):
            return  # they read the same in every front
        from firkin.hints import hint_text, hint_texts

        self.hints = hint_texts(self.hints, texts)
        if self.option is not None:
            self.message = f"{hint_text(self.option, texts)}: {self.message}"
            self.option = None

    def __str__(self) -> str:
        return f"{self.span}: {self.message}" if self.span else self.message


class DockerfileError(FirkinError):
    """The Dockerfile (or .dockerignore) is invalid."""

    default_code = "dockerfile"


class ContextError(FirkinError):
    """The build context cannot be read, or lacks something that the Dockerfile needs."""

    default_code = "context"


class StepFailed(FirkinError):
    """A step of the build failed; a failed RUN carries its command's exit code.

    `output` is the end (64 KiB) of the step's output, both streams in the order of arrival; the Python API sets it.
    """

    default_code = "step"
    output: bytes = b""


class UsageError(FirkinError):
    """The command line, the request or a configuration file is wrong."""

    default_code = "usage"
    default_exit_code = 2


class ImageNotFound(UsageError):
    """No image of the store has this name, id or digest. The client of the Python API raises it (`firkin.connect`)."""


class ContainerError(FirkinError):
    """A container or volume cannot do what it was told.

    `kind` is what a front makes an exit code or status of: `invalid` is a wrong request (400), `missing` an object
    that does not exist (404), `conflict` a state that forbids it (409), `failed` anything else (500). For a command
    that could not be started, `exit_code` is 125, 126 or 127, as of `docker run`.
    """

    default_code = "container"

    def __init__(
        self,
        message: str,
        *,
        kind: ContainerFault,
        code: str | None = None,
        exit_code: int | None = None,
        hints: tuple[AnyHint, ...] = (),
    ) -> None:
        super().__init__(message, code=code, exit_code=exit_code, hints=hints)
        self.kind = kind


class NotFound(ContainerError):
    """No container, volume or file in a container has this name. The client of the Python API raises it."""

    default_code = "not-found"


class CommandFailed(ContainerError):
    """The command of `client.containers.run` ended with another exit code than 0.

    `container` is its handle, `exit_status` the code, `image` what it was made of, `stderr` the end (64 KiB) of what it
    wrote there.
    """

    default_code = "command-failed"

    def __init__(self, container: object, exit_status: int, image: str, stderr: bytes) -> None:
        said = stderr.decode("utf-8", "replace").strip()
        message = f"a command in image `{image}` returned non-zero exit status {exit_status}"
        super().__init__(f"{message}: {said}" if said else message, kind="failed", exit_code=exit_status)
        self.container = container
        self.exit_status = exit_status
        self.image = image
        self.stderr = stderr


class HostError(FirkinError):
    """This machine lacks something, or the kernel refused it."""

    default_code = "host"
    default_exit_code = 3


class RegistryError(FirkinError):
    """A registry could not be reached, refused a request, or sent an invalid answer.

    `method`, `url` (redacted) and `status` (0: no answer) describe the request. `temporary` says that
    the same request may succeed later; `retry_after_s` is the shortest wait, if the registry gave one.
    """

    default_code = "registry"
    default_exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        exit_code: int | None = None,
        hints: tuple[AnyHint, ...] = (),
        span: Span | None = None,
        method: str = "",
        url: str = "",
        status: int = 0,
        temporary: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, exit_code=exit_code, hints=hints, span=span)
        self.method = method
        self.url = url
        self.status = status
        self.temporary = temporary
        self.retry_after_s = retry_after_s


class StoreError(FirkinError):
    """The store is damaged, full, or of a version that this firkin does not know."""

    default_code = "store"
    default_exit_code = 5


class Cancelled(FirkinError):
    """The build was told to stop; `exit_code` is 128 + the signal's number."""

    default_code = "cancelled"
    default_exit_code = 130


class InternalError(FirkinError):
    """A bug in firkin. `traceback` is for the bug report that we ask for."""

    default_code = "bug"
    default_exit_code = 70

    def __init__(self, message: str, *, traceback: str = "", hints: tuple[AnyHint, ...] = ()) -> None:
        super().__init__(message, hints=hints)
        self.traceback = traceback


def cause_texts(error: BaseException) -> tuple[str, ...]:
    """Return the causes of the error, nearest first, without those that its message contains already."""
    told = [error.message if isinstance(error, FirkinError) else str(error)]
    cause = error.__cause__
    while cause is not None and len(told) < 8:
        if isinstance(cause, FirkinError):
            text = cause.message
        elif isinstance(cause, OSError) and cause.strerror:
            text = cause.strerror.lower()
        else:
            text = hide_passwords(str(cause).strip()) or type(cause).__name__
        if not any(text.lower() in known.lower() for known in told):
            told.append(text)
        cause = cause.__cause__
    return tuple(told[1:])
