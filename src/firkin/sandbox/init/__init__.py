"""The stand-alone program that starts every command. Does I/O. Nothing imports it, and it imports nothing of firkin.

    python -I -S -c 'import marshal, sys; codes, arguments = marshal.loads(open(3, "rb").read()); …; main(*arguments)'

It needs only os, sys, ctypes (and the built-in _signal), so it is ready in about 10 ms. Descriptor 3 holds its compiled
parts (`sandbox/spawn.py` lists them), which all share its global names, and the plan (see `sandbox/operations.py`).
Secrets come in the plan and never by argv. The program becomes three processes:

    A  `main.py`: unshares, performs the operations of `setup` in order, waits, performs `after`, removes mount
       points again
    B  `supervisor.py`: pid 1 of the new PID namespace; performs `inside` (mounts /proc), reaps orphans
    C  `command.py`: takes on limits, capabilities and user, and becomes the command

Descriptor 4 takes lines of fields separated by NUL; exec closes it:

    setup OP ERRNO PATH     an operation failed; the command never ran
    exec ERRNO PATH         the command could not be executed
    warn OP ERRNO DETAIL    something that the command may do without was refused
    unheard ERRNO           calls of the command that need an answer get none (`listener.py`)
    cover PATH              a file of the image was covered for the command (`emulated_mounts.py`)
    exit CODE, signal N     how the command ended
    undone                  everything that the command started has ended, and emulated mounts are removed

When C ends, B ends, and the kernel kills everything in the namespace. TERM to A does the same.

A plan that joins a running command has the same three processes. A enters the namespaces of that command through its
descriptor (pidfd_open(2)), the last argument. B is an ordinary process there, and its command dies with it.
"""
