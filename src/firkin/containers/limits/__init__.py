"""Limits of containers: what this machine's control groups can do, and what is to be written for one. Pure.

`facts.py` looks at the machine, `plan.py` decides (pure), linux/cgroups.py acts, in the monitor.
"""
