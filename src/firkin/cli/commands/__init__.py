"""The table of commands. Each module has `USAGE`, `ABOUT`, `OPTIONS`, and `run(invocation) -> exit code`. Pure.

A module is imported when it is called (`firkin.cli.command.load_command`); this table is loaded at every start.
"""

# name: (module, summary)
COMMANDS = {
    "build": ("build", "Build an image from a Dockerfile"),
    "check": ("check", "Check a Dockerfile without building it"),
    "images": ("images", "List the images in the store"),
    "inspect": ("inspect", "Show what images consist of"),
    "tag": ("tag", "Give an image further names"),
    "rmi": ("rmi", "Remove images from the store"),
    "push": ("push", "Push an image to a registry"),
    "pull": ("pull", "Pull images into the store"),
    "save": ("save", "Write an image as a tar that other tools read"),
    "login": ("login", "Keep credentials for a registry"),
    "logout": ("logout", "Forget the credentials for a registry"),
    "cache": ("cache", "List or prune a layer cache in a registry or a directory"),
    "manifest": ("manifest", "Join images of several platforms under one name"),
    "du": ("du", "Show what the store takes on disk"),
    "prune": ("prune", "Free the space of what is not in use"),
    "executor": ("executor", "Build with the command line of the Kaniko executor"),
    "warmer": ("warmer", "Fetch base images for executors"),
    "info": ("info", "Show what this machine offers for builds, and what it lacks"),
    "completion": ("completion", "Print a completion script for a shell"),
    "version": ("version", "Show the version"),
}
