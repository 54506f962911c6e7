"""The Kaniko executor's command line. Does I/O."""
