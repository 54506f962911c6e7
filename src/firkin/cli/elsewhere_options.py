"""Options of other tools that firkin does not have, and what to write instead. Pure. `cli` only.

Loaded only when an option is unknown. `options` holds every option of `docker buildx build`, with its answer for the
reference page; this table holds those of podman, buildah, the Kaniko executor and docker's other commands.
"""

from __future__ import annotations

from collections.abc import Mapping

_BUILD = "--target"  # an option that only `build` and `check` have
_RUN_RIGHTS = "steps run unprivileged; `--allow` and RUN --security give rights to a step"
_ALWAYS = "firkin does that anyway; leave it out"
_FLAGS = "Kaniko's flags are those of `firkin executor`"
_REGISTRY_PULL = "for pulling and pushing alike: `--insecure-registry HOST` or `--tls-skip-verify HOST`"

# (an option that the command must have, the other tools' options, what to write instead)
_ROWS: tuple[tuple[str, str, str], ...] = (
    ("--tag", "--destination", "write `--tag NAME` and `--push`"),
    ("--file", "--dockerfile", "write `--file PATH`"),
    (_BUILD, "--context -d --context-sub-path --use-new-run --snapshot-mode --snapshotMode --single-snapshot --cleanup "
     "--kaniko-dir --cache-repo --cache-dir --cache-copy-layers --cache-run-layers --force --ignore-path "
     "--custom-platform --compressed-caching --image-fs-extract-retry --push-retry --skip-unused-stages --verbosity "
     "--log-format", _FLAGS),
    (_BUILD, "--tarPath --tar-path", "write `--output type=docker,dest=FILE`"),
    (_BUILD, "--oci-layout-path", "write `--output type=oci,tar=false,dest=DIR`"),
    (_BUILD, "--no-push", "nothing is pushed without `--push`; leave it out"),
    (_BUILD, "--digest-file --image-name-with-digest-file",
     "`--metadata-file FILE` has the digest, `--iidfile FILE` the id"),
    (_BUILD, "--reproducible --timestamp", "write `--source-date-epoch SECONDS` and `--rewrite-timestamp`"),
    (_BUILD, "--cache",
     "layers are cached anyway; `--cache-to` and `--cache-from` share them, `--no-cache` runs every step"),
    (_BUILD, "--cache-ttl", "write it into the cache: `--cache-from type=registry,ref=NAME,ttl-seconds=SECONDS`"),
    (_BUILD, "--layers", _ALWAYS),
    (_BUILD, "--squash-all", "layers are not squashed; a last stage `FROM scratch` with COPY --from has one layer"),
    (_BUILD, "--insecure --insecure-pull --skip-tls-verify --skip-tls-verify-pull", _REGISTRY_PULL),
    ("--insecure-registry", "--tls-verify", _REGISTRY_PULL),
    ("--auth-file", "--authfile", "write `--auth-file FILE`"),
    ("--auth-file", "--creds --cred", "a command line is no place for a password; `firkin login REGISTRY` keeps it"),
    ("--tls-ca", "--cert-dir --tls-cacert --registry-certificate", "write `--tls-ca [HOST=]FILE`"),
    ("--tls-cert", "--registry-client-cert", "write `--tls-cert HOST=CERT,KEY`"),
    ("--registry-retries", "--retry --retry-delay --retry-times", "write `--registry-retries N`"),
    ("--parallel", "--jobs -j", "write `--parallel N`"),
    ("--registry-parallel", "--max-concurrent-downloads --max-concurrent-uploads", "write `--registry-parallel N`"),
    (_BUILD, "--volume -v --mount --device", "write RUN --mount=type=bind or type=cache into the Dockerfile, and "
     "`--build-context NAME=DIR` for directories outside of the context"),
    (_BUILD, "--env -e --unsetenv --env-file", "write ENV into the Dockerfile, or `--build-arg KEY=VALUE`"),
    (_BUILD, "--build-arg-file --argfile", "write a `--build-arg KEY=VALUE` for each"),
    (_BUILD, "--cap-add --cap-drop --privileged --userns --userns-uid-map --userns-gid-map --runtime --group-add "
     "--user -u", _RUN_RIGHTS),
    (_BUILD, "--cgroupns --cpus --pids-limit --memory-reservation",
     "start firkin in a limited scope instead, e.g. `systemd-run --user --scope -p CPUQuota=200%`"),
    (_BUILD, "--dns --dns-option --dns-search --hooks-dir --ipc --pid --uts --cni-config-dir --cni-plugin-path",
     "steps see the machine's own; `--add-host NAME:ADDRESS` adds a host"),
    (_BUILD, "--os --arch --variant", "write `--platform OS/ARCH[/VARIANT]`"),
    (_BUILD, "--all-platforms", "write `--platform` for each"),
    (_BUILD, "--manifest", "several `--platform` make an index under the name of `--tag`"),
    (_BUILD, "--from", "write `--build-context NAME=docker-image://OTHER`, which stands in for a base"),
    (_BUILD, "--ignorefile", "put it beside the Dockerfile as `Dockerfile.dockerignore`"),
    (_BUILD, "--format",
     "write `--output type=image,oci-mediatypes=false` for Docker's media types; OCI's are the default"),
    (_BUILD, "--stream", _ALWAYS),
    (_BUILD, "--name -n --detach --restart --interactive -i --tty",
     "that is for running containers, which firkin cannot yet"),
    (_BUILD, "--sign-by --signature-policy --sign-passphrase-file",
     "firkin does not sign; `cosign` signs what was pushed"),
    (_BUILD, "--logfile", "progress goes to standard error: `2> FILE`"),
    (_BUILD, "--omit-history --identity-label --created-annotation --inherit-labels",
     "the result is that of BuildKit, which has no such switch"),
    (_BUILD, "--set --print", "firkin reads no bake files"),
    ("--keep-storage", "--reserved-space --max-storage --min-free-space", "write `--max-used-space SIZE`"),
    ("--keep-storage", "--volumes --external --build", "there are no volumes; cache mounts go with the rest"),
    ("--older-than", "--until", "write `--older-than TIME`"),
    ("--root", "--host -H", "firkin has no daemon to connect to"),
    ("--root", "--storage-driver --storage-opt --runroot", "firkin has one kind of store; `--root DIR` says where"),
    ("--root", "--log-level", "`--debug` shows what helps to find a fault"),
)  # fmt: skip


def instead_of(name: str, known: Mapping[str, object]) -> str | None:
    """Return what to write instead of an option `name` that a command with the options `known` does not have."""
    return next((text for needs, flags, text in _ROWS if needs in known and name in flags.split()), None)
