"""From a record to what the sandbox does for it: one plan of mounts, rights and surroundings. Pure."""
