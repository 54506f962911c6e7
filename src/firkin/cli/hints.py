"""Hints in the words of the command line. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.hints import Texts

_UNPACK = "where that is meant, allow more with `--max-unpack-{0}` or `max-{0}` in the table `unpack` of config.toml"

COMMAND_LINE: Texts = {
    "allow-host-network": "allow it with `--allow network.host`",
    "allow-insecure": "allow it with `--allow security.insecure`",
    "build-arg": "give `{name}` a value: `ARG {name}=...` before the first FROM, or `--build-arg {name}=...`",
    "build-for-this-machine": "`{path}` is a program for {machine}, which this machine does not run: install "
    "`qemu-user-static` (binfmt_misc) to have it emulated, or build for this machine with `--platform`",
    "context-kind": "a context is a directory, or a tar archive; `-f PATH` names the Dockerfile",
    "context-missing": "the context is the last argument: `firkin build -t app:1 .`",
    "dockerfile": "name it with `-f PATH`",
    "dockerfile-in-context": "name it with `-f PATH`, counted from the root of the context",
    "dockerfile-link": "links are followed inside the context only, absolute ones as well; copy the file, or name it "
    "with `-f` where it is",
    "git-host-secret": "no credentials are sent there: those for another host have to name it, as in "
    "`--secret id=GIT_AUTH_TOKEN.{host},env=...`",
    "git-secret": "for a private repository pass `--secret id=GIT_AUTH_TOKEN,env=...`",
    "output-mediatypes": "leave out `oci-mediatypes=false`, or add `compression=gzip,force-compression=true`",
    "output-platforms": "use type=oci, or one platform",
    "output-split": "leave out `platform-split=false`, and each gets a directory",
    "push-name": "add `-t registry/repository:tag`",
    "secret": "pass it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`",
    "ssh": "pass an agent with `--ssh {id}`",
    "ssh-agent": "install OpenSSH's client, or give the socket of a running agent: `--ssh default`",
    "ssh-passphrase": "a key with a passphrase must be added to an agent: `ssh-add KEY`, then `--ssh default`",
    "unpack-entries": _UNPACK.format("entries"),
    "unpack-size": _UNPACK.format("size"),
    "epoch": "`--source-date-epoch SECONDS` sets it",
    "epoch-of-both": "only times differ: build both with SOURCE_DATE_EPOCH (`--source-date-epoch SECONDS`)",
    "rewrite-timestamp": "only times differ: `--rewrite-timestamp` makes those of copied files equal as well",
    "builds": "`firkin builds ls` lists the builds that are recorded",
    "copy-gzip": "`--dest-compress-format gzip` compresses it again",
    "copy-platform": "choose one with `--platform`",
    "images": "`firkin images` lists what is in the store",
    "objects": "`firkin ps -a`, `firkin images` and `firkin volume ls` list what there is",
    "no-cache": "build again with `--no-cache`",
    "no-cache-or-pull": "build again with `--no-cache`, or remove the image and pull it again",
    "no-cache-or-remove": "remove the image and build again with `--no-cache`",
    "push-target": "firkin push {image} REGISTRY/NAME:TAG",
    "replace": "`--force` replaces what is there; or name another place",
    "tag": "an image is taken from the store by its name: `firkin tag ID NAME` gives it one",
    "disk-full": "`firkin prune` frees what is not in use; `--root DIR` moves the store",
    "prune": "`firkin prune` tells more",
    "store-full": "free some space with `firkin prune`, or move the store with `--root DIR`",
    "store-full-step": "the disk is full where the store is ({store}): `firkin prune`, or `--root DIR`, makes room",
    "store-newer": "use the firkin that made it or a later one, or another place with `--root DIR`",
    "store-one-version": "let one version of firkin use the store at a time, or give each its own with `--root DIR`",
    "store-other": "use another place with `--root DIR`, or remove that one",
    "store-own": "run firkin as {user}, or name a store of your own with `--root DIR`",
    "store-overlay": "put the store on ext4, xfs, btrfs or tmpfs with `--root DIR`; in a container, on a volume",
    "store-place": "`--root DIR` or FIRKIN_ROOT names another place",
    "store-shorter": "directories are nested too deep; a store with a shorter path (`--root`) leaves more room",
    "store-writable": "choose a place you may write to with `--root DIR` or FIRKIN_ROOT",
    "insecure-registry": "it seems to speak plain HTTP: `--insecure-registry {host}` allows that",
    "login": "no credentials for `{host}` were found; run `firkin login {host}`",
    "mirror": "is this the registry's host and port, and does it run? "
    "A mirror can stand in for it: `--registry-mirror REGISTRY=URL`",
    "mirror-hub": "where Docker Hub cannot be reached, a mirror can stand in: `--registry-mirror docker.io=URL`, "
    "or `registry.mirrors` in config.toml; or a proxy: `HTTPS_PROXY`",
    "tls-ca": "if you trust it, name its CA: `--tls-ca {host}=FILE`, or `registry.ca` in config.toml",
    "tls-ca-spoken": "it seems to speak TLS: `--tls-ca {host}=FILE` names its CA",
    "tls-cert": "it wants a client certificate: `--tls-cert {host}=CERT,KEY`",
    "executor-image": "run `firkin executor` in the executor image",
    "host-ids": "this needs root, or subordinate ids: see `firkin info`",
    "host-lacks": "`firkin info` says what this machine lacks and how to get it",
    "host-sandboxes": "`firkin info` says which sandboxes this machine offers and what the others lack",
    "host-ways": "`firkin info` lists every way and what it lacks",
    "isolation-chroot": "`--isolation chroot` builds it; or keep mounts and the context away from `{path}`",
    "isolation-inplace": "`--isolation inplace` runs them where they can read `{path}`",
    "root-mount": "before chroot, make it one: `mount --bind DIR DIR`; or choose `--isolation chroot`",
    "host-more-ids": "`firkin info` says how to get more ids",
    "isolation-for-credentials": "`--isolation=chroot`, or in Kubernetes `automountServiceAccountToken: false`, keeps "
    "it from them",
    "limits-warn": "`--limits=warn` goes on without it",
    "service-by-hand": "have whatever starts this machine's services run `firkin start --restored`",
    "service-session": "log in as that user (su and sudo make no session), or have their systemd run always: "
    "`loginctl enable-linger USER`, as root",
    "container-damaged": "`firkin rm -f {id}` removes it",
    "container-network": "choose `--network host`, where a container is reached at the ports that it listens on, "
    "`--network none` or `--network container:ID`",
    "container-gpus": "`--device PATH` gives it the device files themselves",
    "container-quota": "leave it out, and put the store on a file system with a quota: `--root DIR`",
    "bug": "this is a fault of firkin; please report it, with what `--debug` shows",
    "option-build-context": "--build-context {name}",
    "option-platform": "invalid --platform",
    "option-ssh": "--ssh {id}",
    "option-verify": "option `--verify`",
}
