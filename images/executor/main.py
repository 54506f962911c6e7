"""Entry of the executor image: `main.py /path/to/NAME ARGS...`, NAME being executor, warmer or firkin."""

import os
import sys

sys.path.insert(0, "/kaniko/rt/site")
del sys.argv[0]
name = sys.argv[0].rpartition("/")[2]
if name == "warmer":
    from firkin.cli.kaniko.executor import main_warmer as main
elif name == "firkin":
    os.environ.setdefault("FIRKIN_ROOT", "/kaniko/store")  # where the executor works too, and any user may write
    from firkin.cli.main import main
else:
    from firkin.cli.kaniko.executor import main
sys.exit(main())
