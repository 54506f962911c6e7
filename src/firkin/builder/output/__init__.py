"""Outputs: where a finished image goes. Does I/O. One file each; rows in `outputs.py` load them on first use."""
