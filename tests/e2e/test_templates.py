"""The docker command writes the same templates in the same way. `docker context ls` needs no daemon."""

import shutil
import subprocess
from pathlib import Path

import pytest

from firkin.render.rows import rows_text
from firkin.templates.failure import TemplateError

DESCRIPTION = "Current DOCKER_HOST based configuration"
FIELDS = {"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT"}
ROW = {"Name": "default", "Description": DESCRIPTION, "DockerEndpoint": "unix:///var/run/docker.sock"}

pytestmark = [pytest.mark.skipif(not shutil.which("docker"), reason="docker is not installed"), pytest.mark.clients]


@pytest.mark.parametrize("template", [
    "{{.Name}}", "{{.Name}}\\t{{.Description}}\\n", "table {{.Name}}\\t{{.Description}}", "table {{.Name}}|{{upper .Name}}",
    "table {{pad .Name 2 2}}|\\t{{.Name | json}}\\t{{truncate .Description 4}}", "{{ .Name -}}  x", "a {{- /* b */ -}} c",
    "{{1000000.0}} {{123456789.0}} {{1e20}} {{1e21}} {{0.00001}} {{0x10}} {{1_000}} {{'a'}}",
    '{{printf "%v %g %5.2f|%-5s|%x|%T" 123456789.0 1e21 3.14159 "ab" "hi" 1.5}}',
    '{{printf "%+d %05d %x %#x %q %v %6.2v|%c|%U" 5 -42 255 255 65 nil 3.14159 65 65}}',
    '{{printf "%d %s" "a" 4}} {{printf "%s"}} {{printf "a" 3}} {{printf "%t %q %8.3e" true .Name 12345.678}}',
    '{{printf "%s %q %v" (split "a,b" ",") (split "a,b" ",") (split "a,b" ",")}}',
    '{{print 1 2 "a" 3 nil}}|{{println 1 "a"}}', "{{len .Name}} {{index .Name 0}} {{slice .Name 1 3}}",
    '{{title "hello wörld-foo_bar"}} {{html "<a&\'b>"}} {{js "a<b\\"c"}} {{urlquery "a b&c/é"}}',
    '{{range $i, $e := split "a,b" ","}}{{$i}}={{$e}};{{else}}none{{end}}', '{{join (split "a,b" ",") "-"}} {{lower "ÄB"}}',
    '{{if and true ""}}a{{else if 1}}b{{else}}c{{end}}', "{{with $x := 5}}{{$x}}{{end}}", "{{with .Name}}{{.}} {{$.Name}}{{end}}",
    '{{define "t"}}[{{.}}]{{end}}{{template "t" .Name}}', '{{block "t" .Name}}({{.}}){{end}}', '{{eq .Name "a" "default"}}',
    "{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ne 1 2}} {{not 1}} {{or 0 \"x\"}}", '{{json "<&>"}} {{json .Name}}',
    "{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", '{{"\\u00e9\\x41"}} {{`raw`}}', "{{(.Name) | printf \"%s-%s\" \"a\"}}",
])  # fmt: skip
def test_docker_writes_the_same(template: str, tmp_path: Path) -> None:
    assert rows_text(template, FIELDS, [ROW], "") == docker(template, tmp_path).stdout


@pytest.mark.parametrize("template", [
    "{{.Foo}}", "{{.Name.foo}}", "{{eq 1 1.0}}", "{{nil}}", "{{index .Name 100}}", "{{printf}}", '{{join "a"}}', "{{foo .}}",
    "{{.Name", "{{$x}}", "{{end}}", "{{if}}a{{end}}", "{{if 1}}a", "{{1 | 2}}", "{{}}", "{{( .Name }}", "{{ .Name ) }}",
    "{{.Name$}}", "{{#}}", "{{/* x", '{{"a" "b"}}', '{{template "x"}}', "{{.Name 3}}", "{{upper 3}}", "{{3k}}", "{{range .Name}}{{end}}",
])  # fmt: skip
def test_docker_refuses_the_same(template: str, tmp_path: Path) -> None:
    told = docker(template, tmp_path)
    assert told.returncode == 1 and "template parsing error: template: :1" in told.stderr
    with pytest.raises(TemplateError, match="template parsing error: template: :1"):
        rows_text(template, FIELDS, [ROW], "")


def docker(template: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "DOCKER_CONFIG": str(home)}
    return subprocess.run(
        ["docker", "context", "ls", "--format", template], capture_output=True, text=True, env=environment
    )
