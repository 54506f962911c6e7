"""Where containers live in the store: directories, names, locks, times, and the engine over them. Does I/O."""
