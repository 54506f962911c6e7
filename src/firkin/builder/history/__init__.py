"""Records of builds: what was built when, from what, how each step ended and why. Does I/O.

`record` what is kept of a build · `redact` what is not · `ledger` facts that the engine notes of its steps · `log` the
events that are kept, within bounds · `recording` writes a record while a build runs · `shelf` the records of a store ·
`files` lists of the files that steps read · `explain` why a step ran, by comparison with earlier records.
docs/dev/builds.md is the contract.
"""
