"""Outputs: where a finished image goes. One file each; rows in `build.py` load them on first use."""
