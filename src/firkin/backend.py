"""Facts and requirements → the backend that build steps run with, or the one fact that is missing. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.errors import HostError
from firkin.hints import AnyHint, Hint
from firkin.linux.enter import ROOT_MOUNT_HINT, NamespacePlan
from firkin.linux.probe import (
    CAP_SETGID,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    CAP_SYS_CHROOT,
    MAKING_FILES,
    HostFacts,
    IdMapping,
    Trial,
)

Isolation = Literal["auto", "namespaces", "chroot", "inplace"]
RootfsName = Literal["overlay", "directory", "inplace"]
SandboxName = Literal["namespaces", "chroot", "bare"]

_NEEDED_KERNEL = (5, 12)  # mount_setattr; 5.11 had userxattr
_EPERM, _EINVAL, _ENODEV, _ENOSPC = 1, 22, 19, 28


class Requirements(msgspec.Struct, frozen=True):
    """What the user asked for; `inplace`: `/` may be overwritten (the executor image).

    `exposed` are files with credentials that a step on this container's own root could read. They rule that root
    out. The token that Kubernetes mounts into every pod does not: a chroot lacks /proc/self, so many builds fail.
    """

    isolation: Isolation = "auto"
    inplace: bool = False
    exposed: tuple[str, ...] = ()


NO_REQUIREMENTS = Requirements()
_POD_TOKEN = "/secrets/kubernetes.io/serviceaccount/"


class Backend(msgspec.Struct, frozen=True):
    """A decision. The worker enters `enter`. With `fresh_proc` false, steps share the PID namespace of the host.

    `chroot_too` allows a chroot for images that this container's own root cannot become. `readable` are files with
    credentials that steps can read nevertheless.
    """

    rootfs: RootfsName
    sandbox: SandboxName
    enter: NamespacePlan
    single_id: bool = False
    fresh_proc: bool = True
    reasons: tuple[str, ...] = ()
    chroot_too: bool = False
    readable: tuple[str, ...] = ()

    @property
    def shares_processes(self) -> bool:
        """Whether steps see firkin's own processes, which must then be protected from them."""
        return self.sandbox != "namespaces" or not self.fresh_proc


class Offer(msgspec.Struct, frozen=True):
    """One backend as `firkin info` shows it: its description, or the missing fact and how to get it."""

    name: str
    isolation: Isolation
    available: bool
    detail: str
    how: AnyHint = ""


_MAPPING_TEXT: dict[IdMapping, str] = {
    "root": "root, no user namespace",
    "identity": "user namespace with all ids of this one",
    "subordinate": "user namespace with subordinate ids",
    "single": "user namespace with one id: owners are kept as metadata",
}


def choose_backend(facts: HostFacts, requirements: Requirements = NO_REQUIREMENTS) -> Backend:
    """Return the best backend that the facts allow within the requirements; `facts` must hold trials.

    Raises HostError that names the missing fact and how to get it.
    """
    trial = next((trial for trial in facts.trials if trial.ok), None)
    if requirements.isolation in ("auto", "namespaces") and trial is not None and facts.kernel >= _NEEDED_KERNEL:
        return _namespaces(facts, trial)
    offers: dict[Isolation, Offer] = {offer.isolation: offer for offer in list_offers(facts, requirements)}
    for isolation in _without_namespaces_order(requirements):
        if offers[isolation].available:
            return _without_namespaces(offers[isolation], facts, requirements)
    raise _refusal(facts, requirements, offers)


def _without_namespaces_order(requirements: Requirements) -> tuple[Isolation, ...]:
    """Return the isolations to try after namespaces, in this order."""
    match requirements.isolation:
        case "namespaces":
            return ()
        case "auto":
            return ("chroot",) if _forbidding(requirements) else ("inplace", "chroot")
        case isolation:
            return (isolation,)


def _refusal(facts: HostFacts, requirements: Requirements, offers: dict[Isolation, Offer]) -> HostError:
    """Return the error that names what the requirements lack, and how to get it."""
    missing, how = _missing_namespaces(facts)
    match requirements.isolation:
        case "namespaces":
            return HostError(f"this machine offers no namespaces: {missing}", code="no-namespaces", hints=(how,))
        case "inplace" | "chroot" as isolation:
            offer = offers[isolation]
            message = f"isolation `{isolation}` cannot be had: {offer.detail}"
            return HostError(message, code=f"no-{isolation}", hints=(offer.how,))
    hints: list[AnyHint] = [how]
    inplace = offers["inplace"]
    if facts.uid and requirements.inplace:
        # In the executor's container root has all the rights that are needed, so this always works.
        hints.insert(0, "run the container as root: `--user 0`, in Kubernetes `runAsUser: 0`")
        missing = f"uid {facts.uid} is not root, and {missing}"
    if inplace.available:
        hints.append(Hint.of("isolation-inplace", path=_forbidding(requirements)[0]))
    elif requirements.inplace and not facts.uid:
        hints.append(inplace.how)
    elif facts.uid and not requirements.inplace:
        hints.append("or run as root, which needs no user namespace")
    elif not requirements.inplace:
        hints.append(offers["chroot"].how)
    return HostError(
        f"no way to run commands on this machine: {missing}",
        code="no-backend",
        hints=(*hints, Hint.of("host-ways")),
    )


def _forbidding(requirements: Requirements) -> tuple[str, ...]:
    """Return the exposed files that forbid steps on this container's own root, unless `inplace` was asked for."""
    return tuple(path for path in requirements.exposed if _POD_TOKEN not in path)


def _namespaces(facts: HostFacts, trial: Trial) -> Backend:
    maps = facts.maps(trial.mapping)
    reasons = [_MAPPING_TEXT[trial.mapping]]
    if trial.mapping == "single":
        reasons.append(_missing_subordinate(facts)[0])
    if not trial.proc:
        reasons.append("/proc is masked here, so steps share the process list of this container")
    single = maps is not None and maps.single_id
    return Backend("overlay", "namespaces", NamespacePlan(maps=maps), single, trial.proc, tuple(reasons))


def _without_namespaces(offer: Offer, facts: HostFacts, requirements: Requirements) -> Backend:
    reasons: tuple[str, ...] = (_missing_namespaces(facts)[0], offer.detail)
    forbidding = _forbidding(requirements)
    if forbidding and requirements.inplace:
        reasons += (f"`{forbidding[0]}` has to stay where it is, and steps in place could read it",)
    plan = NamespacePlan(mount=False)
    if offer.isolation == "inplace":
        either = requirements.isolation == "auto" and _offer_chroot(facts).available
        return Backend("inplace", "bare", plan, reasons=reasons, chroot_too=either, readable=requirements.exposed)
    return Backend("directory", "chroot", plan, reasons=reasons)


def list_offers(facts: HostFacts, requirements: Requirements = NO_REQUIREMENTS) -> tuple[Offer, ...]:
    """Return every backend, available or not, best first. For `firkin info`, whose `facts` hold every trial."""
    offers = []
    mappings: tuple[IdMapping, ...] = ("root", "identity") if facts.uid == 0 else ("subordinate",)
    for mapping in (*mappings, "single"):
        trial = facts.trial(mapping)
        name = f"namespaces ({_MAPPING_TEXT[mapping].partition(':')[0]})"
        if trial is not None and trial.ok and facts.kernel >= _NEEDED_KERNEL:
            detail = "overlay mounts, " + ("own process list" if trial.proc else "process list shared: /proc is masked")
            offers.append(Offer(name, "namespaces", True, detail))
        else:
            offers.append(Offer(name, "namespaces", False, *_missing_for(facts, mapping)))
    offers.append(_offer_chroot(facts))
    offers.append(_offer_inplace(facts, requirements))
    return tuple(offers)


def _lacking(facts: HostFacts, needed: tuple[tuple[str, int], ...]) -> list[str]:
    return [name for name, number in needed if not facts.can(number)]


def _offer_chroot(facts: HostFacts) -> Offer:
    identity = (("CAP_SETUID", CAP_SETUID), ("CAP_SETGID", CAP_SETGID))
    lacking = _lacking(facts, (("CAP_SYS_CHROOT", CAP_SYS_CHROOT), *MAKING_FILES, *identity))
    name = "chroot (copied root)"
    if not lacking:
        return Offer(name, "chroot", True, "no mounts: /proc holds a few plain files, the network is the host's")
    how = "run as root" if facts.uid else f"start the container with {' '.join(lacking)} (Docker's default has it)"
    return Offer(name, "chroot", False, f"{lacking[0]} is missing", how)


def _offer_inplace(facts: HostFacts, requirements: Requirements) -> Offer:
    name = "inplace (this container's own root)"
    if not requirements.inplace:
        return Offer(name, "inplace", False, "this is not the executor image", Hint.of("executor-image"))
    if facts.uid != 0:
        return Offer(name, "inplace", False, f"uid {facts.uid} may not write to `/`", "run the container as root")
    if not facts.root_writable:
        how = "in Kubernetes, remove `readOnlyRootFilesystem`"
        return Offer(name, "inplace", False, "the root file system is read-only", how)
    lacking = _lacking(facts, MAKING_FILES)
    if lacking:
        how = f"start the container with {' '.join(lacking)} (Docker's default has it)"
        return Offer(name, "inplace", False, f"{lacking[0]} is missing", how)
    return Offer(name, "inplace", True, "steps run on this container's own root, one at a time")


def _missing_namespaces(facts: HostFacts) -> tuple[str, AnyHint]:
    """Return the missing fact that matters most for this user, and how to get it."""
    mapping: IdMapping = "root" if facts.can(CAP_SYS_ADMIN) and facts.uid == 0 else "single"
    return _missing_for(facts, mapping)


def _missing_for(facts: HostFacts, mapping: IdMapping) -> tuple[str, AnyHint]:
    if facts.kernel < _NEEDED_KERNEL:
        have = ".".join(map(str, facts.kernel))
        return f"Linux {have} is too old", "use Linux 5.12 or newer"
    missing = _missing_right(facts, mapping)
    if missing[0]:
        return missing
    if mapping != "root" and facts.restriction:
        return _restriction_missing(facts.restriction)
    trial = facts.trial(mapping)
    if trial is None:
        return "not tried, as a better way works", ""
    return _trial_missing(facts, trial)


def _missing_right(facts: HostFacts, mapping: IdMapping) -> tuple[str, str]:
    """Return the right that the worker lacks and how to get it; empty texts if it lacks none."""
    match mapping:
        case "root" if not (facts.uid == 0 and facts.can(CAP_SYS_ADMIN)):
            how = "run as root, in a container with `--privileged` or `--cap-add SYS_ADMIN`"
            return "CAP_SYS_ADMIN is missing", how
        case "identity" if not (facts.can(CAP_SETUID) and facts.can(CAP_SETGID)):
            how = "start the container with Docker's default capabilities"
            return "CAP_SETUID and CAP_SETGID are missing", how
        case "subordinate":
            return _missing_subordinate(facts)
        case _:
            return "", ""


def _missing_subordinate(facts: HostFacts) -> tuple[str, str]:
    user = facts.user or str(facts.uid)
    for name, helper in zip(("newuidmap", "newgidmap"), facts.helpers):
        if not helper:
            return f"`{name}` is not installed", "install the package `uidmap` (Debian) or `shadow-utils` (Fedora)"
    for path, ranges in (("/etc/subuid", facts.subordinate_uids), ("/etc/subgid", facts.subordinate_gids)):
        if not ranges:
            option = "--add-subuids" if path == "/etc/subuid" else "--add-subgids"
            return f"{path} has no range for `{user}`", f"as root: usermod {option} 100000-165535 {user}"
    if facts.no_new_privs:
        return (
            "no_new_privs is set, so newuidmap gains no rights",
            "allow it: `allowPrivilegeEscalation: true` in Kubernetes, no `no-new-privileges` in Docker",
        )
    return "", ""


def _restriction_missing(setting: str) -> tuple[str, str]:
    key = setting.partition("=")[0]
    how = {
        "user.max_user_namespaces": "as root: sysctl -w user.max_user_namespaces=28633",
        "kernel.unprivileged_userns_clone": "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        "kernel.apparmor_restrict_unprivileged_userns": (
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give firkin's interpreter an"
            " AppArmor profile with `userns,`"
        ),
    }[key]
    return f"{setting} forbids user namespaces", how


def _trial_missing(facts: HostFacts, trial: Trial) -> tuple[str, AnyHint]:
    """Return the fact that a failed trial shows to be missing, and how to get it."""
    unconfined = "`--security-opt seccomp=unconfined`, in Kubernetes `seccompProfile: {type: Unconfined}`"
    match trial.op:
        case "namespaces":
            if facts.seccomp:
                return "a seccomp filter refuses namespaces", f"start the container with {unconfined}"
            return trial.said, "ask whoever runs this machine which security module refuses it"
        case "id-map":
            return trial.said, "check /etc/subuid and /etc/subgid, and that newuidmap is setuid root"
        case "root-mount":
            return trial.said, ROOT_MOUNT_HINT
        case "overlay" if trial.errno == _ENODEV or not facts.overlay:
            return "the kernel has no overlayfs", "as root: modprobe overlay"
        case "overlay" | "overlay-write" if trial.errno == _EINVAL:
            return (
                "the file system of the store cannot hold an overlay",
                Hint.of("store-overlay"),
            )
        case "overlay" | "mount-api" if trial.errno == _EPERM:
            what = "a seccomp filter or security module refuses mounts"
            return what, f"start the container with {unconfined} and `--security-opt apparmor=unconfined`"
        case "pid-namespace" if trial.errno == _ENOSPC:
            return "user.max_pid_namespaces is used up", "as root: sysctl -w user.max_pid_namespaces=28633"
        case "":
            return "", ""
        case _:
            return f"{trial.op}: {trial.said}", "see dmesg for the kernel's reason"
