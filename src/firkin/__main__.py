"""`python -m firkin`: the same as the `firkin` command. I; nobody imports it."""

import sys

from firkin.cli.main import main

sys.exit(main())
