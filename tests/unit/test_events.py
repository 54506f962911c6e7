"""Events of a build of several graphs get the name of their graph."""

from firkin.events import (
    Event,
    Finished,
    Planned,
    PlatformPrefix,
    Started,
    Vertex,
    Warned,
    decode_event,
    encode_event,
    qualified,
)


def test_without_a_name_events_pass_as_they_are() -> None:
    events: list[Event] = []
    prefix = PlatformPrefix(events.append)
    prefix(Started(1.0, "2"))
    assert events == [Started(1.0, "2")] and qualified(prefix, "2") == "2"


def test_steps_get_the_name_of_their_platform_and_nothing_else_does() -> None:
    events: list[Event] = []
    prefix = PlatformPrefix(events.append)
    prefix.enter("linux/arm64", "linux/arm64")
    prefix(Planned(1.0, (Vertex("1", "RUN x", "build"), Vertex("1", "RUN y"), Vertex("export", "exporting"))))
    prefix(Started(1.0, "1"))
    prefix(Finished(1.0, "resolve", "done"))
    prefix(Warned(1.0, "code", "message"))
    planned, started, finished, warned = events
    assert isinstance(planned, Planned)
    assert [(vertex.id, vertex.stage) for vertex in planned.vertices] == [
        ("linux/arm64 1", "linux/arm64 build"), ("linux/arm64 1", "linux/arm64"), ("export", "")]  # fmt: skip
    assert (started, finished) == (Started(1.0, "linux/arm64 1"), Finished(1.0, "resolve", "done"))
    assert warned == Warned(1.0, "code", "message")
    assert qualified(prefix, "1") == "linux/arm64 1" and qualified(prefix, "resolve") == "resolve"
    prefix.enter("")
    assert qualified(prefix, "1") == "1"


def test_an_emit_of_another_kind_qualifies_nothing() -> None:
    assert qualified(lambda event: None, "1") == "1"


def test_an_event_is_one_line() -> None:
    event = Started(1.0, "a\nb")
    assert b"\n" not in encode_event(event) and decode_event(encode_event(event)) == event
