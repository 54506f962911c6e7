"""What this firkin is and what its machine offers, as documents of docker's API. Does I/O.

`version`, `info` and the builders of buildx; the command line and the other fronts show them.
"""
