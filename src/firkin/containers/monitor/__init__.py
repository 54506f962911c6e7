"""The stand-alone program beside each running container. Does I/O. Nothing imports it, nor does it import firkin.

Its parts share their global names with each other and with those of `sandbox/init` (`containers/link/program.py` lists
them in order). docs/dev/monitor.md is its contract.

    wire        frames and JSON                     spawning    forks that become commands
    clock       texts of times, back-off            streams     output to log and clients, input from clients
    loop        epoll and timers                    health      when to probe, and what a probe means
    files       whole files, locks, trees           execs       second commands
    notes       state.json and events               removal     --rm
    log_lines   the lines of a log                  limits      control groups, memory, freezing
    log_files   its files                           life        start, end, restart, stop, pause
    connection  one client                          requests    what a client may ask for
                                                    serving     the program
"""
