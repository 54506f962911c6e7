import time

import pytest

from firkin.builder.dockerfile.words import (
    Lexer,
    NameValue,
    NameValues,
    quote,
    split_json_array,
    split_name_values,
    split_whitespace,
    split_words,
)
from firkin.text import nearest

PATH = "/usr/local/lib/file.tar.gz"


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("plain", {}, "plain"),
        ("$A-${A}-$B.", {"A": "x"}, "x-x-."),
        ("$", {}, "$"),
        ("$ $/", {}, "$ $/"),
        ("$AB_1$A", {"A": "a", "AB_1": "b"}, "ba"),
        ("$1x$12", {"1": "one"}, "onex"),
        ("a\\$A \\\\ \\b", {"A": "x"}, "a$A \\ b"),
        ("'$A\\'\"$A\\\"\\z\"", {"A": "x"}, '$A\\x"\\z'),
        ("tail\\", {}, "tail"),
        ("${A:-d}${A-d}${B:-d}${B-d}", {"B": ""}, "ddd"),
        ("${A:+d}${A+d}|${B:+d}${B+d}|${C:+d}${C+d}", {"B": "", "C": "c"}, "|d|dd"),
        ("${C:?no}${C?no}${B?no}", {"B": "", "C": "c"}, "cc"),
        ("${X:-${Y:-${C}}}${X:-$C-$C}", {"C": "c"}, "cc-c"),
        ("${X:-'$C'}${X:-\"a b\"}", {"C": "c"}, "$Ca b"),
        ("${P#*/}", {"P": PATH}, "usr/local/lib/file.tar.gz"),
        ("${P##*/}", {"P": PATH}, "file.tar.gz"),
        ("${P%/*}", {"P": PATH}, "/usr/local/lib"),
        ("${P%%.*}", {"P": PATH}, "/usr/local/lib/file"),
        ("${P%.??}|${P%nope}|${P#}|${P%%*}", {"P": "a.gz"}, "a|a.gz|a.gz|"),
        ("${P#()[]{\\}^$.\\*\\?|\\\\}", {"P": "()[]{}^$.*?|\\x"}, "x"),
        ("${P#$Q}", {"P": "xxyy", "Q": "x"}, "xyy"),
        ("${P%%\\**\\*}", {"P": "a***yy*"}, "a"),
        ("${P/$N/.} - ${P//$N/.}", {"P": "/foo*/*/*.txt", "N": "\\*/"}, "/foo.*/*.txt - /foo..*.txt"),
        ("${P//\\//-}${P/\\//-}", {"P": "a/b/c"}, "a-b-ca-b/c"),
        ("${P//b/\\/}${P/b/\\*}", {"P": "abc"}, "a\\/ca\\*c"),
        ("${P/$E/w}|${P///}|${Q///}", {"P": "xy", "E": ""}, "wxy|xy|"),
        ("${P//?/-}${P//*/-}", {"P": "ab"}, "---"),
        ("${P//b*/-}", {"P": "abc\nabc"}, "a-\na-"),
        ("${P//l/[$D]}", {"P": "all", "D": "$0"}, "a[l][l]"),
        ("${K:-한국어}${K#한}", {"K": "한국어"}, "한국어국어"),
        ("\ufeffa\ufeff$A", {"A": "\ufeffx"}, "a\ufeff\ufeffx"),
    ],
)
def test_expand(text: str, env: dict[str, str], expected: str) -> None:
    assert Lexer().expand(text, env).text == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${", "missing '}'"),
        ("${A", "missing '}'"),
        ("${A:-b", "missing '}'"),
        ("${A/b", "missing '/' in ${}"),
        ("${A/b/c", "missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{x}", "bad substitution"),
        ("${A=b}", "unsupported modifier (=) in substitution"),
        ("${A:=b}", "unsupported modifier (:=) in substitution"),
        ("${A:#b}", "unsupported modifier (:#) in substitution"),
        ("${A^^}", "unsupported modifier (^) in substitution"),
        ("${A?}", "A: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ("${A:?message here$X}", "A: message herex"),
        ("${E#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${A:-" * 500 + "}" * 500, "nested too deeply"),
        ("$B" * 20, "the expanded text is too long"),
    ],
)
def test_expand_refuses(text: str, words: str) -> None:
    env = {"E": "", "X": "x", "B": "b" * 1_000_000}
    with pytest.raises(ValueError) as caught:
        Lexer().expand(text, env)
    assert words in str(caught.value)
    assert str(caught.value).startswith("failed to process ")


def test_expand_says_which_names_were_used() -> None:
    found = Lexer().expand("$A ${B:-$C} ${D+x}", {"A": "", "C": "c"})
    assert found.used == {"A", "C"}
    assert found.unmatched == {"B", "D"}


def test_the_escape_may_be_a_backtick() -> None:
    assert Lexer("`").expand("C:\\x`$A`\"$A", {"A": "a"}).text == 'C:\\x$A"a'


def test_options_keep_what_they_name() -> None:
    text = "'a' \"$A\" \\b ${X:-y} $X"
    assert Lexer(raw_quotes=True).expand(text, {"A": "z"}).text == "'a' \"z\" b y "
    assert Lexer(raw_escapes=True).expand(text, {"A": "z"}).text == "a z \\b y "
    assert Lexer(skip_process_quotes=True).expand(text, {"A": "z"}).text == "'a' \"z\" b y "
    assert Lexer(skip_unset_env=True).expand(text, {}).text == "a $A b ${X:-y} $X"
    assert Lexer(skip_unset_env=True).expand("${X}${X/a/b}${X:+c}", {}).text == "${X}${X/a/b}${X:+c}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  a  b ", ("a", "b")),
        ("'a b' c\\ d", ("a b", "c d")),
        ("$D \"$D\" x$D", ("1", "2", "1 2", "x1", "2")),
        ("'' a", ("a",)),
        ("a <<  EOF b", ("a", "<<  EOF", "b")),
        ("a\u3000b\xa0c\x1fd", ("a", "b", "c\x1fd")),
    ],
)
def test_expand_words(text: str, expected: tuple[str, ...]) -> None:
    assert Lexer().expand_words(text, {"D": "1 2"}).words == expected


def test_split_words_keeps_quotes_and_escapes() -> None:
    assert split_words("a='b c'd  x\\ y \"q\\\"r s\"", "\\") == ("a='b c'd", "x\\ y", '"q\\"r s"')
    assert split_words("a` b\\", "`") == ("a` b\\",)
    assert split_words("open 'to the end", "\\") == ("open", "'to the end")
    assert split_words("end\\", "\\") == ("end",)
    assert split_words(" \t", "\\") == ()


def test_split_name_values() -> None:
    assert split_name_values("", "\\", "env") == NameValues(())
    assert split_name_values('a="b c" d=e=f g=', "\\", "env") == NameValues(
        (NameValue("a", '"b c"'), NameValue("d", "e=f"), NameValue("g", ""))
    )
    assert split_name_values("a \t b 'c' d=e", "\\", "env") == NameValues((NameValue("a", "b 'c' d=e"),), legacy=True)
    with pytest.raises(ValueError, match="ENV must have two arguments"):
        split_name_values("a", "\\", "env")
    with pytest.raises(ValueError, match=r"can't find = in \"b\"\. Must be of the form: name=value"):
        split_name_values("a=1 b", "\\", "label")


def test_split_whitespace_knows_no_quotes() -> None:
    assert split_whitespace("'a b'\t\v\f\r c\xa0d") == ("'a", "b'", "c\xa0d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b"]', ("a", "b")),
        ('  [ "a\\u00e9\\n"\t] ', ("aé\n",)),
        ("[]", ()),
        ("['a']", None),
        ('["a",]', None),
        ('["a"] b', None),
        ('["a', None),
        ('{"a": "b"}', None),
        ("echo [a]", None),
        ("[" * 100_000, None),
        ('["\t"]', None),
        ('["\udcff"]', ("\ufffd",)),
    ],
)
def test_split_json_array(text: str, expected: tuple[str, ...] | None) -> None:
    assert split_json_array(text) == expected


def test_split_json_array_replaces_half_characters() -> None:
    text = r'["\ud83d\ude00", "\ud83d", "\uDE00x", "\ud83d\u0041", "\\ud83d", "\ud83d\ud83d\ude00"]'
    assert split_json_array('["\udcff\udce2\udc80x"]') == ("\ufffd\ufffd\ufffdx",)
    assert split_json_array(text) == ("😀", "\ufffd", "\ufffdx", "\ufffdA", "\\ud83d", "\ufffd😀")


@pytest.mark.parametrize("text", ["[1]", '["a", null]', '["a", ["b"]]', "[{}]"])
def test_split_json_array_wants_strings(text: str) -> None:
    with pytest.raises(ValueError, match="arrays must be comprised of strings only"):
        split_json_array(text)


def test_quote_is_that_of_go() -> None:
    assert quote("a b") == '"a b"'
    assert quote('"\\\n\x00\x7f\udcff\u200b é') == '"\\"\\\\\\n\\x00\\x7f\\xff\\u200b é"'


def test_nearest() -> None:
    assert nearest("chwon", ("chmod", "chown")) == "chown"
    assert nearest("FORM", ("from", "run"), case_sensitive=False) == "FROM"
    assert nearest("Form", ("from", "run"), case_sensitive=False) == "from"
    assert nearest("chown", ("chown", "chmod")) is None
    assert nearest("something", ("chown",)) is None
    assert nearest("x" * 100_000, ("chown",)) is None


def test_long_texts_take_linear_time() -> None:
    started = time.process_time()
    value = "ab" * 200_000
    lexer = Lexer()
    assert lexer.expand("${V//a/}", {"V": value}).text == "b" * 200_000
    assert lexer.expand("${V##*b*b*b*c}", {"V": value}).text == value
    assert lexer.expand("x" * 1_000_000 + "$A", {"A": "y"}).text[-1] == "y"
    assert len(lexer.expand_words("word " * 200_000, {}).words) == 200_000
    assert len(split_words("'a b' " * 100_000, "\\")) == 100_000
    assert time.process_time() - started < 5
