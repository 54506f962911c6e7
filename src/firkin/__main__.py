"""`python -m firkin`: the same as the `firkin` command. Does I/O. Nobody imports it."""

import sys

from firkin.cli.main import main

sys.exit(main())
