""".dockerignore: reading and matching. Pure. `lint` and the modules beside `builder.build` import it.

Mirrors: moby/patternmatcher (MatchesUsingParentResults) and its ignorefile.ReadAll. Patterns are not
turned into regular expressions: most become a comparison of strings, the others are matched component
by component, so that no pattern costs more than pattern length times path length.
Two deliberate differences: a backslash makes any character literal, and `*` and `?` between brackets are
literal (as in Go's filepath.Match; patternmatcher passes both to the regexp package).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from firkin.builder.dockerfile.words import BLANKS
from firkin.errors import DockerfileError
from firkin.source import Source

ParentState = int
"""The patterns that matched a directory (a bit for each), which its children inherit."""

ROOT: Final = ParentState(0)

Matches = Callable[[str], bool]


def read_ignore(text: str) -> tuple[str, ...]:
    """Return the cleaned patterns of a .dockerignore. Mirrors: ignorefile.ReadAll."""
    return tuple(pattern for _, pattern in _read_lines(text))


def _read_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.startswith("#"):
            continue
        pattern = line.strip(BLANKS)
        if not pattern:
            continue
        negated = pattern.startswith("!")
        if negated:
            pattern = pattern[1:].strip(BLANKS)
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        yield number, "!" + pattern if negated else pattern


def parse_ignore(source: Source) -> IgnoreMatcher:
    """Make the matcher of a .dockerignore; raises DockerfileError at an invalid line."""
    lines = list(_read_lines(source.text))
    try:
        return IgnoreMatcher(pattern for _, pattern in lines)
    except DockerfileError:
        for number, pattern in lines:
            try:
                IgnoreMatcher((pattern,))
            except DockerfileError as error:
                raise DockerfileError(error.message, span=source.span(number)) from None
        raise


def clean(path: str) -> str:
    """Return the shortest equal path. Mirrors: Go path.Clean."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts and parts[-1] != "..":
                parts.pop()
            elif not rooted:
                parts.append(part)
        elif part and part != ".":
            parts.append(part)
    joined = "/".join(parts)
    return "/" + joined if rooted else joined or "."


class IgnoreMatcher:
    """Decides for each path whether it is ignored. Call it for a directory before its contents.

    A walker keeps the state that `match` returned for a directory and passes it on for its children:

        ignored, state = matcher.match("a/b", parent_state)
        if ignored and not matcher.may_reinclude("a/b"): do not descend

    An ignored directory still exists if something below it is not ignored.
    """

    __slots__ = ("_exact", "_negated", "_others", "_prefixes", "_rules", "_suffixes", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile patterns in order (those of read_ignore, or of --exclude); raises DockerfileError."""
        self.patterns: tuple[str, ...] = tuple(_cleaned(patterns))
        self._rules = tuple(_read_rule(pattern) for pattern in self.patterns)
        rules = self._rules
        self._negated = tuple(rule for rule, negated in rules if negated)
        # Without negation the order does not matter, so strings can be looked up in bulk.
        self._exact = frozenset(x for rule, _ in rules for x in rule.exact)
        self._prefixes = tuple(x for rule, _ in rules for x in rule.prefixes)
        self._suffixes = tuple(x for rule, _ in rules for x in rule.suffixes)
        self._others = tuple(rule.matches for rule, _ in rules if not rule.is_string)

    def __bool__(self) -> bool:
        """Say whether there are any patterns."""
        return bool(self._rules)

    @property
    def negates(self) -> bool:
        """Whether any pattern begins with `!`."""
        return bool(self._negated)

    def match(self, path: str, parent: ParentState = ROOT) -> tuple[bool, ParentState]:
        """Say whether `path` (relative, no slashes at the ends) is ignored, and its state for children.

        Mirrors: MatchesUsingParentResults.
        """
        if not self._negated:
            hit = bool(parent) or self._any(path)
            return hit, ParentState(1 if hit else 0)
        matched = False
        state = 0
        bit = 1
        for rule, negated in self._rules:
            if parent & bit or (negated is matched and rule.matches(path)):
                state |= bit
                matched = not negated
            bit <<= 1
        return matched, ParentState(state)

    def _any(self, path: str) -> bool:
        return (
            path in self._exact
            or path.endswith(self._suffixes)
            or path.startswith(self._prefixes)
            or any(matches(path) for matches in self._others)
        )

    def may_reinclude(self, path: str) -> bool:
        """Say whether a `!` pattern can match something below the directory `path`."""
        below = path + "/"
        return any(rule.may_match_below(below) for rule in self._negated)

    def ignored(self, path: str) -> bool:
        """Decide for one path without a walk; its parents count. Mirrors: MatchesOrParentMatches."""
        candidates = [path]
        while "/" in path:
            path = path.rpartition("/")[0]
            candidates.append(path)
        matched = False
        for rule, negated in self._rules:
            if negated is matched and any(map(rule.matches, candidates)):
                matched = not negated
        return matched


def _cleaned(patterns: Iterable[str]) -> Iterator[str]:
    for written in patterns:
        pattern = written.strip(BLANKS)
        if pattern:
            yield clean(pattern)


class _Rule:
    """One compiled pattern; if `is_string`, comparing `exact`, `prefixes` and `suffixes` is enough."""

    __slots__ = ("exact", "is_string", "matches", "may_match_below", "prefixes", "suffixes")

    def __init__(
        self,
        matches: Matches,
        may_match_below: Matches,
        exact: tuple[str, ...] = (),
        prefixes: tuple[str, ...] = (),
        suffixes: tuple[str, ...] = (),
    ) -> None:
        self.matches = matches
        self.may_match_below = may_match_below
        self.exact = exact
        self.prefixes = prefixes
        self.suffixes = suffixes
        self.is_string = bool(exact or prefixes or suffixes)


# An element of a pattern: a literal character, `?`, `*`, `**` (its slash included) or a class.
_Class = tuple[bool, tuple[tuple[str, str], ...]]  # negated?, ranges
_Element = str | _Class
_ONE: Final = "?*"  # two characters, so it differs from any literal
_MANY: Final = "*!"
_DEEP: Final = "**"


def _always(_path: str) -> bool:
    return True


def _read_rule(pattern: str) -> tuple[_Rule, bool]:
    """Return the rule of a cleaned pattern, and whether the pattern is negated."""
    if pattern == "!":
        raise DockerfileError('illegal exclusion pattern: "!"')
    return _compile(pattern.removeprefix("!")), pattern.startswith("!")


def _compile(pattern: str) -> _Rule:
    """Choose how to match. Mirrors: Pattern.compile and its matchType."""
    elements = _parse(pattern)
    rule = _string_rule(pattern, elements)
    if rule is not None:
        return rule
    components = _components(elements)
    if components is None:
        return _Rule(_Deep(elements).matches, _always)
    ending = _ending(components)
    if ending:
        return _Rule(lambda path: path.endswith(ending), _always, suffixes=(ending,))
    matcher = _Components(components)
    return _Rule(matcher.matches, matcher.may_match_below)


def _string_rule(pattern: str, elements: list[_Element]) -> _Rule | None:
    """Return the rule if comparing strings is enough: no wildcard, or `**` alone at one end. Else return None."""
    special = [x for x in elements if len(x) != 1]
    if not special:
        return _exact_rule(_literal(elements))
    if special != [_DEEP] or "\\" in pattern:
        return None
    if elements[0] == _DEEP:
        return _suffix_rule(pattern[2:])
    return _prefix_rule(pattern[:-2]) if elements[-1] == _DEEP else None


def _literal(elements: Iterable[_Element]) -> str:
    return "".join(str(x) for x in elements)


def _ending(components: list[_Component | None]) -> str:
    """Return `.ext` of the pattern `**/*.ext`, "" for any other pattern."""
    if len(components) != 2 or components[0] is not None or components[1] is None:
        return ""
    first, *tail = components[1]
    return _literal(tail) if first == _MANY and all(len(x) == 1 for x in tail) else ""


def _exact_rule(text: str) -> _Rule:
    return _Rule(lambda path: path == text, lambda below: text.startswith(below), exact=(text,))


def _suffix_rule(text: str) -> _Rule:
    if not text:
        return _Rule(_always, _always, prefixes=("",))
    whole = text[1:] if text.startswith("/") else text
    return _Rule(lambda path: path.endswith(text) or path == whole, _always, exact=(whole,), suffixes=(text,))


def _prefix_rule(text: str) -> _Rule:
    return _Rule(
        lambda path: path.startswith(text),
        lambda below: text.startswith(below) or below.startswith(text),
        prefixes=(text,),
    )


def _parse(pattern: str) -> list[_Element]:
    """Split a pattern into elements; raises DockerfileError for a malformed pattern.

    Mirrors: the syntax check by filepath.Match, which patternmatcher.New does.
    """
    out: list[_Element] = []
    position, size = 0, len(pattern)
    while position < size:
        char = pattern[position]
        position += 1
        if char == "*":
            if pattern.startswith("*", position):
                position += 1
                if pattern.startswith("/", position):
                    position += 1
                out.append(_DEEP)
            else:
                out.append(_MANY)
        elif char == "?":
            out.append(_ONE)
        elif char == "\\":
            if position == size:
                raise _malformed(pattern)
            out.append(pattern[position])
            position += 1
        elif char == "[":
            found, position = _parse_class(pattern, position)
            out.append(found)
        else:
            out.append(char)
    return out


def _parse_class(pattern: str, position: int) -> tuple[_Class, int]:
    negated = pattern.startswith("^", position)
    if negated:
        position += 1
    ranges: list[tuple[str, str]] = []
    while not ranges or not pattern.startswith("]", position):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        if high < low:
            raise _malformed(pattern)
        ranges.append((low, high))
    return (negated, tuple(ranges)), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith(("-", "]"), position):
        raise _malformed(pattern)
    if pattern.startswith("\\", position):
        position += 1
    if position + 1 >= len(pattern):  # there must be a `]` as well
        raise _malformed(pattern)
    return pattern[position], position + 1


def _malformed(pattern: str) -> DockerfileError:
    return DockerfileError(f"syntax error in pattern `{pattern}`")


def _in_class(found: _Class, char: str) -> bool:
    return any(low <= char <= high for low, high in found[1]) is not found[0]


_Component = tuple[_Element, ...]


def _components(elements: list[_Element]) -> list[_Component | None] | None:
    """Split at slashes; `**` becomes None. Return None if another element may match across a slash."""
    out: list[_Component | None] = []
    current: list[_Element] = []
    for element in elements:
        if element == _DEEP:
            if current:
                return None
            out.append(None)
        elif element == "/":
            if not current:
                return None
            out.append(tuple(current))
            current = []
        elif isinstance(element, tuple) and _in_class(element, "/"):
            return None
        else:
            current.append(element)
    if current:
        out.append(tuple(current))
    return out


class _Components:
    """Matches component by component; `**` stands for any number of them (at the end: at least one)."""

    __slots__ = ("tests",)

    def __init__(self, components: list[_Component | None]) -> None:
        self.tests: list[Matches | None] = [None if x is None else _component_test(x) for x in components]
        if components[-1] is None:
            self.tests.append(_always)

    def matches(self, path: str) -> bool:
        parts, tests = path.split("/"), self.tests
        part = test = 0
        retry_part = retry_test = -1
        while part < len(parts):
            if test < len(tests):
                check = tests[test]
                if check is None:
                    test += 1
                    retry_part, retry_test = part, test
                    continue
                if check(parts[part]):
                    part += 1
                    test += 1
                    continue
            if retry_test < 0:
                return False
            retry_part += 1  # let the last `**` take one component more
            part, test = retry_part, retry_test
        return test == len(tests)

    def may_match_below(self, below: str) -> bool:
        tests = self.tests
        reached = {0}
        for part in below.rstrip("/").split("/"):
            following = set()
            for test in reached:
                while test < len(tests) and tests[test] is None:
                    following.add(test)
                    test += 1
                if test < len(tests):
                    check = tests[test]
                    if check is not None and check(part):
                        following.add(test + 1)
            reached = following
        return any(test < len(tests) for test in reached)


def _component_test(component: _Component) -> Matches:
    """Return the test of one component; it contains no slash."""
    if component == (_MANY,):
        return _always
    if all(isinstance(x, str) and (len(x) == 1 or x == _MANY) for x in component):
        texts = [str(x) for x in component]
        if _MANY not in texts:
            return "".join(texts).__eq__
        if texts.count(_MANY) == 1:
            star = texts.index(_MANY)
            head, tail = "".join(texts[:star]), "".join(texts[star + 1 :])
            least = len(head) + len(tail)
            return lambda text: len(text) >= least and text.startswith(head) and text.endswith(tail)
    return lambda text: _glob(component, text)


def _glob(component: _Component, text: str) -> bool:
    """Match with `*`, `?` and classes; backtrack to the last star only."""
    position = element = 0
    retry_position = retry_element = -1
    while position < len(text):
        if element < len(component):
            wanted = component[element]
            if wanted == _MANY:
                element += 1
                retry_position, retry_element = position, element
                continue
            if _fits(wanted, text[position]):
                position += 1
                element += 1
                continue
        if retry_element < 0:
            return False
        retry_position += 1
        position, element = retry_position, retry_element
    return all(x == _MANY for x in component[element:])


def _fits(wanted: _Element, char: str) -> bool:
    if isinstance(wanted, tuple):
        return _in_class(wanted, char)
    return wanted == char or (wanted == _ONE and char != "/")


class _Deep:
    """Matches any pattern by following all its alternatives at once (bit i: i characters are consumed)."""

    __slots__ = ("elements",)

    def __init__(self, elements: list[_Element]) -> None:
        self.elements = elements

    def matches(self, path: str) -> bool:
        plain = _positions([char != "/" for char in path])
        slashes = ((1 << len(path)) - 1) ^ plain
        state = 1
        for index, element in enumerate(self.elements):
            if not state:
                return False
            if element == _DEEP:
                if index == len(self.elements) - 1:
                    return True
                state |= (slashes & -(state & -state)) << 1
            elif element == _MANY:
                state |= ((state & plain) + plain) ^ plain
            else:
                state = (state & _positions([_fits(element, char) for char in path])) << 1
        return bool(state >> len(path))


def _positions(hits: list[bool]) -> int:
    """Return the bits that are True."""
    return int("".join("1" if hit else "0" for hit in reversed(hits)) or "0", 2)
