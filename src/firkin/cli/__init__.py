"""The command line: arguments and ambient state in, a BuildRequest out; processes, signals, exit codes. Does I/O.

`main` table of commands · `options` one row per option · `arguments` rows → values · `values` the
grammars of single options · `requests` values → BuildRequest · `front` the process that draws ·
`commands` one file each · `reference` pages and completion made from the rows.
"""
