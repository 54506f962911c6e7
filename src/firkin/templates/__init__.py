"""Go's text/template, as far as docker's `--format` uses it. Pure. `render` and the fronts may import it.

`template` the way in: parse, then execute · `lex` text → tokens · `parse` tokens → tree · `nodes` the tree ·
`execute` tree and data → text · `functions`, `compare`, `printf` what a template can call · `values` data, and how Go
prints it · `failure` the one error. docs/format.md lists what there is.
"""
