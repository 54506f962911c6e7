"""Docker's options of containers, as values for `firkin.containers`. Does I/O."""
