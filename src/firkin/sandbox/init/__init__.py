"""The stand-alone program that every command starts under. Does I/O. Nothing imports it, and it nothing of firkin.

    python -I -S -c 'import marshal, sys; codes, arguments = marshal.loads(open(3, "rb").read()); …; main(*arguments)'

It needs os, sys, ctypes (and the built-in _signal) only, so it is ready in about 10 ms. Descriptor 3 holds its parts
compiled (`sandbox/spawn.py` lists them), which are executed in one set of names, and the plan, which
`sandbox/operations.py` describes; secrets come that way and never by argv. Three processes come of it:

    A  `main.py`: unshares, performs the operations of `setup` in order, waits, performs `after`, takes mount points
       away again
    B  `supervisor.py`: pid 1 of the new PID namespace; performs `inside` (mounts /proc), reaps whatever is orphaned
    C  `command.py`: takes on limits, capabilities and user, and becomes the command

Descriptor 4 takes lines of fields separated by NUL and is closed by exec:

    setup OP ERRNO PATH     an operation failed; the command never ran
    exec ERRNO PATH         the command could not be executed
    warn OP ERRNO DETAIL    something was refused that the command may do without
    unheard ERRNO           calls of the command that need an answer have none (`listener.py`)
    cover PATH              something of the image was covered for the command (`emulated_mounts.py`)
    exit CODE, signal N     how the command ended
    undone                  nothing that it started is left, and what was put in place is out again

When C ends, B ends, and with it the kernel kills everything in the namespace. TERM to A does the same.

A plan that joins a running command has the same three processes: A enters the namespaces of that command, whose
descriptor (pidfd_open(2)) is the last one, and B is an ordinary process there, whose command dies with it.
"""
