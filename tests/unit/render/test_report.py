"""Errors and warnings as people read them."""

from firkin.errors import DockerfileError, FirkinError, StepFailed
from firkin.events import Warned
from firkin.render.report import error_text, warning_text
from firkin.source import Source

SOURCE = Source("Dockerfile", "FROM busybox\n\nRUN fasle\nCMD x\n")


def test_an_error_shows_causes_place_and_hint_in_this_order():
    error = DockerfileError("unknown instruction `RUNN`", span=SOURCE.span(3), hints=("did you mean `RUN`?", "or not"))
    error.__cause__ = FirkinError("first reason")
    error.__cause__.__cause__ = OSError(2, "No such file or directory", "x")
    assert error_text(error, (SOURCE,)) == """error: unknown instruction `RUNN`
  caused by: first reason
  caused by: no such file or directory
Dockerfile:3:
 1 |     FROM busybox
 2 |
 3 | >>> RUN fasle
 4 |     CMD x
hint: did you mean `RUN`?
hint: or not"""


def test_a_place_without_its_text_is_still_named():
    error = StepFailed("no", span=SOURCE.span(3))
    assert error_text(error) == "error: no\n  at Dockerfile:3"


def test_a_cause_that_says_the_same_is_not_repeated():
    error = FirkinError("cannot read x: permission denied")
    error.__cause__ = FirkinError("permission denied")
    assert error_text(error) == "error: cannot read x: permission denied"


def test_on_a_terminal_a_dockerfile_cannot_send_escape_sequences():
    source = Source("Dockerfile", "RUN \x1b[2Jx\n")
    error = StepFailed("`\x1b]0;t\x07` failed", span=source.span(1))
    assert "\x1b" not in error_text(error, (source,), terminal=True)
    assert "\x1b" in error_text(error, (source,))


def test_warnings_carry_their_code():
    assert warning_text(Warned(0, "X", "odd"), None) == "warning: odd (X)"
