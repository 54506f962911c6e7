"""The command line: arguments and ambient state in, a BuildRequest out; processes, signals, exit codes. Does I/O.

`main` the way to a command · `commands` their table, and one file each · `command` what one is · `run` runs it ·
`options` one row per option · `arguments` rows → values · `values`, `outputs` the grammars of single options ·
`requests` values → BuildRequest · `front` the process that draws · `store` what image commands open · `reference`,
`completions` pages and completion made from the rows.
"""
