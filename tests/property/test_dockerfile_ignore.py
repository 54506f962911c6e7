"""The ignore matcher against the rules written down slowly, and against arbitrary patterns."""

import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from firkin.builder.dockerfile.ignore import ROOT, IgnoreMatcher, parse_ignore, read_ignore
from firkin.errors import DockerfileError
from firkin.source import Source

NAMES = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.builds(
    lambda negated, body: ("!" if negated else "") + body,
    st.booleans(),
    st.lists(
        st.sampled_from(["a", "b", ".", "*", "**", "?", "/", "[ab]", "[^a]", "\\*", "**/", "/**"]),
        min_size=1,
        max_size=6,
    ).map("".join),
)


def _regexp(pattern: str) -> str:
    """Translate as patternmatcher's Pattern.compile does, for the patterns generated here."""
    out, position, kind = "", 0, "exact"
    while position < len(pattern):
        if pattern.startswith("**", position):
            start = position
            position += 2
            if pattern.startswith("/", position):
                position += 1
            if position == len(pattern):
                out += ".*"
                kind = "prefix" if kind == "exact" else "regexp"
            else:
                out += "(.*/)?"
                kind = "regexp"
            if start == 0:
                kind = "suffix"
            continue
        char = pattern[position]
        position += 1
        if char == "*":
            out, kind = out + "[^/]*", "regexp"
        elif char == "?":
            out, kind = out + "[^/]", "regexp"
        elif char == "\\":
            out, kind = out + re.escape(pattern[position]), "regexp"
            position += 1
        elif char == "[":
            end = pattern.index("]", position)
            out, kind = out + "[" + pattern[position : end + 1], "regexp"
            position = end + 1
        else:
            out += re.escape(char)
    if kind == "suffix":
        tail = re.escape(pattern[2:])
        whole = re.escape(pattern[3:]) if pattern[2:3] == "/" else tail
        return f"(.*{tail}|{whole})" if pattern != "**" else ".*"
    if kind == "prefix":
        return re.escape(pattern[:-2]) + ".*"
    return out


def _reference(patterns: list[str], path: str) -> bool:
    """Walk down to `path` with MatchesUsingParentResults, pattern by pattern."""
    rules = [(re.compile(_regexp(p.removeprefix("!")), re.DOTALL), p.startswith("!")) for p in patterns]
    inherited = [False] * len(rules)
    matched = False
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        matched = False
        results = []
        for (expression, negated), above in zip(rules, inherited):
            hit = above or (negated == matched and expression.fullmatch(here) is not None)
            results.append(hit)
            if hit:
                matched = not negated
        inherited = results
    return matched


def _walk(matcher: IgnoreMatcher, path: str) -> tuple[bool, list[str]]:
    """Return the decision, and the directories that a walker would not have entered."""
    state, ignored, closed = ROOT, False, []
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        ignored, state = matcher.match(here, state)
        if count < len(parts) and ignored and not matcher.may_reinclude(here):
            closed.append(here)
    return ignored, closed


@settings(max_examples=1500, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=4), PATHS)
def test_it_decides_as_the_rules_say(written: list[str], path: str) -> None:
    patterns = [pattern for pattern in read_ignore("\n".join(written)) if pattern not in ("!", "!/")]
    ignored, closed = _walk(IgnoreMatcher(patterns), path)
    assert ignored == _reference(patterns, path)
    # What lies below a directory that is not entered is ignored, so nothing is lost by not entering it.
    assert ignored or not closed


@settings(max_examples=500, deadline=None)
@given(st.lists(PATTERNS.filter(lambda pattern: not pattern.startswith("!")), min_size=1, max_size=4), PATHS)
def test_without_negation_one_look_is_as_good_as_a_walk(written: list[str], path: str) -> None:
    matcher = IgnoreMatcher(read_ignore("\n".join(written)))
    assert matcher.ignored(path) == _walk(matcher, path)[0]


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="a/*?[]^-\\!# \n.\r\ufeff", max_size=40),
        st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")),
    ),
    PATHS,
)
def test_arbitrary_texts_raise_only_errors_with_a_position(text: str, path: str) -> None:
    source = Source(".dockerignore", text)
    try:
        matcher = parse_ignore(source)
    except DockerfileError as error:
        assert error.span is not None
        assert 1 <= error.span.start.line <= len(text.split("\n"))
        return
    _walk(matcher, path)
    matcher.ignored(path)


@given(st.lists(PATHS, min_size=1, max_size=3), PATHS)
def test_literal_patterns_mean_themselves_and_what_is_below(literals: list[str], path: str) -> None:
    assume(not any(".." in literal.split("/") for literal in literals))
    expected = any(path == literal or path.startswith(literal + "/") for literal in literals)
    assert _walk(IgnoreMatcher(literals), path)[0] == expected
