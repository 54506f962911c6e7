"""One module a command: `USAGE`, `ABOUT`, `OPTIONS`, and `run(invocation) -> exit code`.

`firkin.cli.main.COMMANDS` names them; each is imported when it is called.
"""
