"""The command line: arguments and environment in, a BuildRequest out; processes, signals, exit codes. Does I/O.

`main` finds a command · `commands` their table, and one file each · `command` what one is · `run` runs it ·
`options` one row per option · `arguments` rows → values · `values`, `outputs` the grammars of single options ·
`requests` values → BuildRequest · `front` the process that draws · `store` what image commands open · `reference`,
`completions` the pages and shell completion that are made from the rows · `lean_import`, `lean_msgspec` what makes
loading short.
"""
