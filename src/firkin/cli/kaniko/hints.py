"""Hints in the words of the Kaniko executor: its flags in place of the command line's options. Pure."""

from __future__ import annotations

from firkin.cli.hints import COMMAND_LINE
from firkin.hints import Texts

EXECUTOR: Texts = {
    **COMMAND_LINE,
    "allow-insecure": "no step of the executor has more rights; leave `--security` out",
    "build-for-this-machine": "`{path}` is a program for {machine}, which this machine does not run: install "
    "`qemu-user-static` (binfmt_misc) to have it emulated, or build for this machine with `--custom-platform`",
    "context-missing": "`--context` names it",
    "git-secret": "for a private repository set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD",
    "ssh": "the executor has no agents: `firkin build --ssh {id}`",
    "epoch": "the variable SOURCE_DATE_EPOCH sets it",
    "no-cache": "build again with `--cache=false`",
    "no-cache-or-pull": "build again with `--cache=false`, or remove the image and pull it again",
    "no-cache-or-remove": "remove the image and build again with `--cache=false`",
    "store-place": "run as root, or name another place: `--root DIR`",
    "login": "no credentials for `{host}` were found; run `executor login {host}`",
    "mirror": "is this the registry's host and port, and does it run? "
    "A mirror can stand in for it: `--registry-map REGISTRY=HOST`",
    "mirror-hub": "where Docker Hub cannot be reached, a mirror can stand in: `--registry-map docker.io=HOST`; "
    "or a proxy: `HTTPS_PROXY`",
    "tls-ca": "if you trust it, name its CA: `--registry-certificate {host}=FILE`",
    "tls-ca-spoken": "it seems to speak TLS: `--registry-certificate {host}=FILE` names its CA",
    "tls-cert": "it wants a client certificate: `--registry-client-cert {host}=CERT,KEY`",
    "option-platform": "invalid --custom-platform",
}
