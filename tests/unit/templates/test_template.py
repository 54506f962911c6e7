"""Templates do what docker's `--format` does with them; the texts are those of docker 28 (Go 1.24)."""

import pytest

from firkin.templates.failure import TemplateError
from firkin.templates.parse import MOST_NESTED
from firkin.templates.template import parse_template
from firkin.templates.values import NO_LIST, NO_MAP, NO_POINTER, Record, json_text

DATA = Record(
    Name="default",
    Id="sha256:1",
    Size=123456,
    Ratio=0.5,
    Current=True,
    Tags=["app:1", "app:2"],
    Labels={"b": "2", "a": "1"},
    Ports={"80/tcp": {}, "443/tcp": {}},
    Nothing=None,
    Cmd=NO_LIST,
    Volumes=NO_MAP,
    Health=NO_POINTER,
    Label=lambda name: {"a": "1"}.get(name, ""),
)


def run(text, data=DATA):
    return parse_template(text).execute(data)


@pytest.mark.parametrize(("template", "text"), [
    ("plain", "plain"),
    ("{{.Name}}\t{{.Size}}", "default\t123456"),
    ("{{ .Name -}}  x", "defaultx"),
    ("x \n {{- .Name}}", "xdefault"),
    ("{{/* no */}}a{{- /* no */ -}} b", "ab"),
    ("{{.Labels}} {{.Tags}} {{.Ports}}", "map[a:1 b:2] [app:1 app:2] map[443/tcp:map[] 80/tcp:map[]]"),
    ("{{.Nothing}} {{.Labels.c}} {{.Labels.c.d}}", "<no value> <no value> <no value>"),
    ("{{.Cmd}} {{.Volumes}} {{.Health}}", "[] map[] <nil>"),
    ("{{json .Cmd}} {{json .Volumes}} {{json .Tags}}", 'null null ["app:1","app:2"]'),
    ("{{json .Labels}} {{json \"<&>\"}}", '{"b":"2","a":"1"} "<&>"'),
    ("{{.ID}}", "sha256:1"),
    ("{{.Label \"a\"}}{{.Label \"x\"}}", "1"),
    ("{{index .Labels \"a\"}}|{{index .Labels \"none\"}}|{{index .Volumes \"x\"}}", "1||"),
    ("{{index .Tags 1}} {{len .Tags}} {{len .Name}} {{len .Cmd}}", "app:2 2 7 0"),
    ("{{index (split \"a,b\" \",\") 1}}", "b"),
    ("{{range .Tags}}<{{.}}>{{end}}", "<app:1><app:2>"),
    ("{{range $i, $t := .Tags}}{{$i}}={{$t}};{{end}}", "0=app:1;1=app:2;"),
    ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
    ("{{range .Cmd}}x{{else}}none{{end}}", "none"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ("{{range $i := 5}}{{if eq $i 1}}{{continue}}{{end}}{{if eq $i 3}}{{break}}{{end}}{{$i}}{{end}}", "02"),
    ("{{if .Nothing}}a{{else if .Current}}b{{else}}c{{end}}", "b"),
    ("{{if .Cmd}}a{{end}}{{if not .Volumes}}b{{end}}{{if .}}c{{end}}", "bc"),
    ("{{with .Name}}{{.}} {{$.Size}}{{end}}{{with .Cmd}}x{{else}}y{{end}}", "default 123456y"),
    ("{{with $x := 5}}{{$x}}{{end}}", "5"),
    ("{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{$y}}{{end}}{{$x}}", "32"),
    ("{{$first := index .Tags 0}}{{$first}}", "app:1"),
    ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Name}}", "[default]"),
    ("{{block \"t\" .Name}}({{.}}){{end}}", "(default)"),
    ("{{.Name | upper | printf \"%s-%d\" | printf \"%s\"}}", "DEFAULT-%!d(MISSING)"),
    ("{{(index .Tags 0) | upper}} {{(split .Name \"f\") }}", "APP:1 [de ault]"),
    ("{{and true \"\" }}|{{or \"\" 0 \"x\"}}|{{and 1 2}}|{{true | and 0}}", "|x|2|0"),
    ("{{eq .Name \"a\" \"default\"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
     "true true true true true false"),
    ("{{eq nil .Nothing}} {{eq .Name nil}}", "true false"),
    ("{{join .Tags \", \"}} {{join .Cmd \"-\"}}{{lower \"AB\"}} {{pad \"x\" 1 2}}|{{pad \"\" 3 3}}|", "app:1, app:2 ab  x  ||"),
    ("{{truncate .Id 6}} {{truncate .Name 100}} {{truncate \"é\" 1}}", "sha256 default \ufffd"),
    ("{{title \"hello wörld-foo_bar\"}}", "Hello Wörld-Foo_bar"),
    ("{{slice .Name 1 3}} {{slice .Tags 1}} {{slice .Name}}", "ef [app:2] default"),
    ("{{index .Name 0}}", "100"),
    ("{{html \"<a&'b>\"}} {{js \"a<b\\\"c\"}} {{urlquery \"a b&c/é\"}}", "&lt;a&amp;&#39;b&gt; a\\u003Cb\\\"c a+b%26c%2F%C3%A9"),
    ("{{print 1 2 \"a\" 3 nil}}|{{println 1 \"a\"}}", "1 2a3 <nil>|1 a\n"),
    ("{{1000000.0}} {{123456789.0}} {{1e21}} {{0.00001}} {{.Ratio}} {{-1.5}}", "1e+06 1.23456789e+08 1e+21 1e-05 0.5 -1.5"),
    ("{{0x10}} {{1_000}} {{0b11}} {{010}} {{'a'}} {{+5}}", "16 1000 3 8 97 5"),
    ("{{`raw\\n`}} {{\"\\u00e9\\x41\\101\\t\"}}", "raw\\n éAA\t"),
])  # fmt: skip
def test_templates(template, text):
    assert run(template) == text


@pytest.mark.parametrize(("form", "values", "text"), [
    ("%v %g", "123456789.0 1e21", "1.23456789e+08 1e+21"),
    ("%5.2f|%-5s|%x|%T", '3.14159 "ab" "hi" 1.5', " 3.14|ab   |6869|float64"),
    ("%+d %05d %x %#x %q", "5 -42 255 255 65", "+5 -0042 ff 0xff 'A'"),
    ("%6.2v|%c|%U", "3.14159 65 65", "   3.1|A|U+0041"),
    ("%d %s", '"a" 4', "%!d(string=a) %!s(int=4)"),
    ("a", "3", "a%!(EXTRA int=3)"),
    ("%s", "nil", "%!s(<nil>)"),
    ("%d%%", "50", "50%"),
    ("%", "", "%!(NOVERB)"),
    ("%-6s|%6s|%.2s", '"ab" "ab" "abc"', "ab    |    ab|ab"),
    ("%*d", "5 3", "    3"),
    ("%q", '"a\\"b\\n\\x01é"', '"a\\"b\\n\\x01é"'),
    ("%s %q %d", '(split "a,b" ",") (split "a,b" ",") (split "a,b" ",")', '[a b] ["a" "b"] [%!d(string=a) %!d(string=b)]'),
    ("%t %t", "true 1", "true %!t(int=1)"),
    ("%08.3f|%+.1e|%X", "3.14159 12345.678 255", "0003.142|+1.2e+04|FF"),
    ("%b %o %O", "5 8 8", "101 10 0o10"),
])  # fmt: skip
def test_printf(form, values, text):
    assert run(f"{{{{printf `{form}` {values}}}}}") == text


@pytest.mark.parametrize(("template", "message"), [
    ("{{.Foo}}", ':1:2: executing "" at <.Foo>: can\'t evaluate field Foo'),
    ("{{.Name.foo}}", ':1:2: executing "" at <.Name.foo>: can\'t evaluate field foo in type string'),
    ("a\n{{len .}}", ':2:2: executing "" at <len .>: error calling len: len of type struct'),
    ("{{eq 1 1.0}}", "error calling eq: incompatible types for comparison"),
    ("{{nil}}", "nil is not a command"),
    ("{{.Health.Test}}", "nil pointer evaluating Test"),
    ("{{index .Name 100}}", "error calling index: index out of range: 100"),
    ("{{index .Cmd 0}}", "index out of range: 0"),
    ("{{printf}}", "wrong number of args for printf: want at least 1 got 0"),
    ("{{join \"a\"}}", "wrong number of args for join: want 2 got 1"),
    ("{{.Name 3}}", "Name is not a method but has arguments"),
    ("{{.Label}}", "error calling Label"),
    ("{{\"a\" \"b\"}}", 'can\'t give argument to non-function "a"'),
    ("{{upper 3}}", "expected string; got int"),
    ("{{range .Name}}{{end}}", "range can't iterate over default"),
    ("{{template \"x\"}}", 'at <template "x">: template "x" not defined'),
    ("{{foo .}}", ':1: function "foo" not defined'),
    ("{{.Name", ":1: unclosed action"),
    ("{{$x}}", ':1: undefined variable "$x"'),
    ("{{with $x := 5}}{{end}}{{$x}}", 'undefined variable "$x"'),
    ("{{$x = 5}}", 'undefined variable "$x"'),
    ("{{end}}", "unexpected {{end}}"),
    ("{{if}}a{{end}}", "missing value for if"),
    ("{{if 1}}a", "unexpected EOF"),
    ("{{if 1}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
    ("{{1 | 2}}", "non executable command in pipeline stage 2"),
    ("{{}}", "missing value for command"),
    ("{{( .Name }}", "unclosed left paren"),
    ("{{ .Name ) }}", "unexpected right paren"),
    ("{{.Name$}}", "bad character U+0024 '$'"),
    ("{{#}}", 'unexpected "#" in command'),
    ("{{é̀}}", "bad character"),
    ("{{/* x", "unclosed comment"),
    ("{{/* x */ a}}", "comment ends before closing delimiter"),
    ("{{\"a\nb\"}}", "unterminated quoted string"),
    ("{{\"\\q\"}}", "invalid syntax"),
    ("{{3k}}", 'bad number syntax: "3k"'),
    ("{{99999999999999999999}}", "bad number syntax"),
    ("{{break}}", "{{break}} outside {{range}}"),
    ("{{if true}}{{define \"x\"}}{{end}}{{end}}", "unexpected <define> in command"),
    ("{{1.5.x}}", "bad number syntax"),
    ("{{.x:}}", "expected :="),
])  # fmt: skip
def test_errors(template, message):
    with pytest.raises(TemplateError) as caught:
        run(template)
    assert message in caught.value.message
    assert caught.value.message.startswith("template parsing error: template: :")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("template", [
    "{{if true}}" * (MOST_NESTED + 1) + "{{end}}" * (MOST_NESTED + 1),
    "{{" + "(" * (MOST_NESTED + 1) + "1" + ")" * (MOST_NESTED + 1) + "}}",
    "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
    "{{range 3000}}{{range 3000}}{{end}}{{1}}{{range 3000}}a{{end}}{{end}}",
    "{{$x := \"aaaaaaaaaa\"}}{{range 100}}{{$x = print $x $x}}{{end}}",
    "{{range 100}}{{printf \"%999999d\" 1}}{{end}}",
    "{{range 9000000000000}}{{end}}",
    "x" * (1 << 20) + "y",
], ids=["blocks", "parentheses", "itself", "steps", "doubling", "padding", "numbers", "length"])  # fmt: skip
def test_what_a_template_costs_is_bounded(template):
    with pytest.raises(TemplateError):
        run(template)


def test_data_nested_deep_is_an_error_of_the_template():
    data: list[object] = []
    for _ in range(100_000):
        data = [data]
    with pytest.raises(TemplateError, match="nested too deep"):
        parse_template("{{.}}").execute(data)


def test_json_is_as_go_writes_it():
    assert json_text({"a": ["<\u2028\x01é\ud800", 1, None, True]}) == '{"a":["<\\u2028\\u0001é\ufffd",1,null,true]}'
    assert json_text({"a": {}, "b": [1]}, indent=4) == '{\n    "a": {},\n    "b": [\n        1\n    ]\n}'
