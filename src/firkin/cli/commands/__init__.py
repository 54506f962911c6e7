"""The table of commands. Each module has `USAGE`, `ABOUT`, `OPTIONS`, and `run(invocation) -> exit code`. Pure.

A name is one word or several: `system df` is the command `df` of the group `system`. A module is imported when it is
called (`firkin.cli.command.load_command`); this table is loaded at every start.
"""

# name: (module, summary)
COMMANDS = {
    "build": ("build", "Build an image from a Dockerfile"),
    "builds ls": ("builds_ls", "List the builds that are recorded"),
    "builds show": ("builds_show", "Show what is recorded of a build"),
    "builds logs": ("builds_logs", "Print the log of a build"),
    "builds rm": ("builds_rm", "Remove records of builds"),
    "explain": ("explain", "Say why steps of a build did not come from the cache"),
    "check": ("check", "Check a Dockerfile without building it"),
    "images": ("images", "List the images in the store"),
    "inspect": ("inspect", "Show what containers, images and volumes are"),
    "ps": ("ps", "List containers"),
    "logs": ("logs", "Print what a container wrote"),
    "port": ("port", "List where ports of a container are published"),
    "kill": ("kill", "Send containers a signal"),
    "pause": ("pause", "Freeze containers"),
    "restart": ("restart", "Stop containers and start them again"),
    "stop": ("stop", "Stop containers"),
    "top": ("top", "Show the processes of a container"),
    "unpause": ("unpause", "Let paused containers go on"),
    "update": ("update", "Change limits and restart policies of containers"),
    "wait": ("wait", "Wait until containers end"),
    "stats": ("stats", "Show what containers use of this machine"),
    "ls": ("ls", "List the files of an image"),
    "cat": ("cat", "Print files of an image"),
    "extract": ("extract", "Copy files of an image to this machine"),
    "history": ("history", "Show the steps that an image was made of"),
    "diff": ("diff", "Show what differs between two images, or what a container changed"),
    "tag": ("tag", "Give an image further names"),
    "rmi": ("rmi", "Remove images from the store"),
    "push": ("push", "Push an image to a registry"),
    "pull": ("pull", "Pull images into the store"),
    "save": ("save", "Write an image as a tar that other tools read"),
    "import": ("import_", "Make an image of a tar with a root file system"),
    "load": ("load", "Load images from an archive into the store"),
    "copy": ("copy", "Copy an image between registries, archives, layouts and the store"),
    "digest": ("digest", "Print the digest that a name means"),
    "config": ("config", "Print the configuration of an image"),
    "ls-tags": ("ls_tags", "List the tags of a repository"),
    "validate": ("validate", "Check digests, sizes and layers of images"),
    "delete": ("delete", "Delete names in a registry"),
    "manifest-digest": ("manifest_digest", "Print the digest of a manifest in a file"),
    "login": ("login", "Keep credentials for a registry"),
    "logout": ("logout", "Forget the credentials for a registry"),
    "cache": ("cache", "List or prune a layer cache in a registry or a directory"),
    "manifest create": ("manifest_create", "Begin a list of images of several platforms"),
    "manifest annotate": ("manifest_annotate", "Say for which platform an image of a list is"),
    "manifest inspect": ("manifest_inspect", "Show a list, or a manifest of a registry"),
    "manifest push": ("manifest_push", "Push a list to its registry"),
    "buildx imagetools inspect": ("imagetools_inspect", "Show what a name points to in its registry"),
    "buildx imagetools create": ("imagetools_create", "Make an index of images in registries"),
    "manifest rm": ("manifest_rm", "Remove lists from the store"),
    "du": ("du", "Show what the store takes on disk"),
    "prune": ("prune", "Free the space of what is not in use"),
    "service install": ("service_install", "Have containers start with the machine, as their restart policies say"),
    "service status": ("service_status", "Show whether containers start with the machine"),
    "service uninstall": ("service_uninstall", "No longer have containers start with the machine"),
    "executor": ("executor", "Build with the command line of the Kaniko executor"),
    "warmer": ("warmer", "Fetch base images for executors"),
    "info": ("info", "Show what this machine offers for builds, and what it lacks"),
    "completion": ("completion", "Print a completion script for a shell"),
    "version": ("version", "Show the versions of client and server"),
    "run": ("run", "Make a container and run a command in it"),
    "create": ("create", "Make a container"),
    "cp": ("cp", "Copy files between a container and this machine"),
    "container diff": ("container_diff", "List the files that a container changed"),
    "export": ("export", "Write the files of a container as a tar"),
    "commit": ("commit", "Make an image of a container"),
    "start": ("start", "Start containers"),
    "attach": ("attach", "Attach to a running container"),
    "exec": ("exec", "Run a command in a running container"),
    "system df": ("system_df", "Show how much space images and the build cache take, as docker counts it"),
    "system prune": ("system_prune", "Remove images and build cache that are not in use"),
    "buildx du": ("buildx_du", "Show the build cache"),
    "buildx prune": ("buildx_prune", "Remove the build cache"),
    "events": ("events", "Print what happens to containers, images and volumes"),
    "rm": ("rm", "Remove containers"),
    "rename": ("rename", "Give a container another name"),
    "container prune": ("container_prune", "Remove all containers that do not run"),
    "volume create": ("volume_create", "Make a volume"),
    "volume inspect": ("volume_inspect", "Show what volumes are"),
    "volume ls": ("volume_ls", "List the volumes"),
    "volume prune": ("volume_prune", "Remove volumes that no container mounts"),
    "volume rm": ("volume_rm", "Remove volumes"),
    "image prune": ("image_prune", "Remove images without a tag, or all that are not in use"),
    "buildx create": ("buildx_create", "Print the name of a builder; firkin itself is the one"),
    "buildx inspect": ("buildx_inspect", "Show the builder"),
    "buildx ls": ("buildx_ls", "List the builders"),
    "buildx rm": ("buildx_rm", "Remove no builder, and go on"),
    "buildx stop": ("buildx_stop", "Stop no builder, and go on"),
    "buildx use": ("buildx_use", "Use the builder, as always"),
    "buildx version": ("buildx_version", "Show the version of buildx that firkin follows"),
}

# Other spellings of the same commands, as docker has them; what follows is the name, and options that it implies.
ALIASES = {
    "container remove": "rm",
    "container rename": "rename",
    "container rm": "rm",
    "system events": "events",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "container inspect": "inspect --type=container",
    "container list": "ps",
    "container ls": "ps",
    "container logs": "logs",
    "container port": "port",
    "container ps": "ps",
    "container stats": "stats",
    "container kill": "kill",
    "container pause": "pause",
    "container restart": "restart",
    "container stop": "stop",
    "container top": "top",
    "container unpause": "unpause",
    "container update": "update",
    "container wait": "wait",
    "image build": "build",
    "image history": "history",
    "image inspect": "inspect --type=image",
    "image import": "import",
    "image list": "images",
    "image load": "load",
    "image ls": "images",
    "image pull": "pull",
    "image push": "push",
    "image remove": "rmi",
    "image rm": "rmi",
    "image save": "save",
    "image tag": "tag",
    "container attach": "attach",
    "container create": "create",
    "container commit": "commit",
    "container cp": "cp",
    "container export": "export",
    "container exec": "exec",
    "container run": "run",
    "container start": "start",
    "system info": "info",
    "builder b": "build",
    "builder build": "build",
    "builder du": "buildx du",
    "builder prune": "buildx prune",
    "builder version": "version",
    "buildx b": "build",
    "buildx build": "build",
    "list-tags": "ls-tags",
    "tags": "ls-tags",
    "builds inspect": "builds show",
    "builds list": "builds ls",
    "buildx history inspect": "builds show",
    "buildx history logs": "builds logs",
    "buildx history ls": "builds ls",
    "buildx history rm": "builds rm",
    "bud": "build",
    "build-using-dockerfile": "build",
    "/kaniko/executor": "executor",
    "/kaniko/warmer": "warmer",
}

LONGEST = 3
"""Words in the longest name (`buildx imagetools inspect`)."""


def find_command(words: list[str]) -> tuple[str, list[str]] | None:
    """Return the name of the command that the words begin with, and the words that follow it; None for no command."""
    for count in range(min(LONGEST, len(words)), 0, -1):
        spelling = " ".join(words[:count])
        if spelling in COMMANDS:
            return spelling, words[count:]
        if spelling in ALIASES:
            found = find_command([*ALIASES[spelling].split(), *words[count:]])
            assert found is not None, f"{spelling} stands for no command"
            return found
    return None


def group_of(words: list[str]) -> dict[str, str]:
    """Return the commands of the group that the words name: what follows them, and its summary."""
    start = " ".join(words) + " "
    listed = {name[len(start) :]: summary for name, (_, summary) in COMMANDS.items() if name.startswith(start)}
    for spelling in ALIASES:
        found = find_command(spelling.split()) if spelling.startswith(start) else None
        if found is not None:
            listed.setdefault(spelling[len(start) :], COMMANDS[found[0]][1])
    return listed


def spellings(name: str) -> tuple[str, ...]:
    """Return the other spellings of a command: `images` is also `image ls`."""
    # What follows the name are options that the spelling implies.
    same = (spelling for spelling, words in ALIASES.items() if f"{words} ".startswith(f"{name} "))
    return tuple(spelling for spelling in same if " " in spelling)
