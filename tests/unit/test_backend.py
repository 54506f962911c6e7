"""Facts and requirements → a backend, or the missing fact."""

import msgspec
import pytest
from support.hints import hints_of

from firkin.backend import Requirements, choose_backend, list_offers
from firkin.errors import HostError
from firkin.linux.probe import HostFacts, Trial

DEFAULT_CAPABILITIES = 0xA80425FB  # Docker's
ALL = (1 << 41) - 1
HELPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")

USER = HostFacts(
    uid=1000, gid=1000, user="me", machine="x86_64", kernel=(6, 1), capabilities=0, no_new_privs=False, seccomp=False,
    restriction="", overlay=True, helpers=HELPERS, subordinate_uids=((100000, 65536),),
    subordinate_gids=((100000, 65536),), trials=(Trial("subordinate", proc=True),),
)  # fmt: skip
ROOT = msgspec.structs.replace(USER, uid=0, gid=0, capabilities=ALL, trials=(Trial("root", proc=True),))
REFUSED = (Trial("identity", "namespaces", 0, "no"), Trial("single", "namespaces", 0, "no"))
POD = msgspec.structs.replace(ROOT, capabilities=DEFAULT_CAPABILITIES, seccomp=True, trials=REFUSED)


def changed(facts: HostFacts, **values: object) -> HostFacts:
    return msgspec.structs.replace(facts, **values)  # type: ignore[arg-type]


def test_root_needs_no_user_namespace() -> None:
    backend = choose_backend(ROOT)
    assert (backend.rootfs, backend.sandbox, backend.enter.maps) == ("overlay", "namespaces", None)


def test_a_user_gets_subordinate_ids() -> None:
    backend = choose_backend(USER)
    assert backend.enter.maps is not None
    assert not backend.single_id
    assert backend.enter.maps.helpers == HELPERS


def test_a_user_without_gets_one_id_and_the_reason() -> None:
    facts = changed(USER, subordinate_uids=(), trials=(Trial("single", proc=False),))
    backend = choose_backend(facts)
    assert backend.single_id
    assert not backend.fresh_proc
    assert any("/etc/subuid has no range for `me`" in reason for reason in backend.reasons)


def test_a_pod_falls_back_to_chroot_and_the_executor_image_to_its_root() -> None:
    assert choose_backend(POD).sandbox == "chroot"
    assert choose_backend(POD, Requirements(inplace=True)).sandbox == "bare"
    assert choose_backend(POD, Requirements("chroot", inplace=True)).rootfs == "directory"


def test_credentials_that_cannot_be_taken_away_rule_the_containers_root_out() -> None:
    secret = ("/kaniko/.docker/config.json",)
    backend = choose_backend(POD, Requirements(inplace=True, exposed=secret))
    assert backend.sandbox == "chroot"
    assert any(secret[0] in reason for reason in backend.reasons)
    assert choose_backend(POD, Requirements("inplace", inplace=True, exposed=secret)).sandbox == "bare"
    unable = changed(POD, capabilities=DEFAULT_CAPABILITIES & ~(1 << 18))
    with pytest.raises(HostError, match="no way to run commands"):
        choose_backend(unable, Requirements(inplace=True, exposed=secret))


def test_the_token_of_the_pod_is_told_of_and_rules_nothing_out() -> None:
    token = ("/run/secrets/kubernetes.io/serviceaccount/..data/token",)
    backend = choose_backend(POD, Requirements(inplace=True, exposed=token))
    assert (backend.sandbox, backend.readable) == ("bare", token)
    cloud = ("/run/secrets/eks.amazonaws.com/serviceaccount/token",)
    backend = choose_backend(POD, Requirements(inplace=True, exposed=token + cloud))
    assert (backend.sandbox, backend.readable) == ("chroot", ())
    assert any(cloud[0] in reason for reason in backend.reasons)


def test_the_containers_root_must_be_writable() -> None:
    assert choose_backend(changed(POD, root_writable=False), Requirements(inplace=True)).sandbox == "chroot"
    with pytest.raises(HostError, match="read-only"):
        choose_backend(changed(POD, root_writable=False), Requirements("inplace", inplace=True))


def test_roots_need_the_right_to_make_files_of_any_owner() -> None:
    bare = changed(POD, capabilities=0)
    with pytest.raises(HostError, match="CAP_CHOWN is missing"):
        choose_backend(bare, Requirements("inplace", inplace=True))
    with pytest.raises(HostError, match="no way to run commands") as caught:
        choose_backend(bare, Requirements(inplace=True))
    assert any("CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE" in hint for hint in hints_of(caught.value))


def test_root_is_told_of_the_capability_that_a_chroot_lacks() -> None:
    with pytest.raises(HostError, match="no way to run commands") as caught:
        choose_backend(changed(POD, capabilities=DEFAULT_CAPABILITIES & ~(1 << 18)))
    assert any("CAP_SYS_CHROOT" in hint for hint in hints_of(caught.value))


def test_a_chroot_may_take_over_when_nothing_was_asked_for() -> None:
    assert choose_backend(POD, Requirements(inplace=True)).chroot_too
    assert not choose_backend(POD, Requirements("inplace", inplace=True)).chroot_too


def test_requirements_are_not_replaced_by_something_else() -> None:
    with pytest.raises(HostError, match="a seccomp filter refuses namespaces") as caught:
        choose_backend(POD, Requirements("namespaces"))
    assert "seccomp=unconfined" in caught.value.hints[0]
    with pytest.raises(HostError, match="not the executor image"):
        choose_backend(ROOT, Requirements("inplace"))
    with pytest.raises(HostError, match="CAP_SYS_CHROOT is missing"):
        choose_backend(USER, Requirements("chroot"))


@pytest.mark.parametrize(
    ("values", "missing", "how"),
    [
        ({"restriction": "user.max_user_namespaces=0"}, "user.max_user_namespaces=0", "sysctl -w"),
        ({"restriction": "kernel.apparmor_restrict_unprivileged_userns=1"}, "apparmor", "userns,"),
        ({"restriction": "kernel.unprivileged_userns_clone=0"}, "userns_clone=0", "sysctl -w"),
        ({"kernel": (4, 18)}, "Linux 4.18 is too old", "5.12"),
        ({"trials": (Trial("single", "overlay", 19, "x"),)}, "no overlayfs", "modprobe"),
        ({"trials": (Trial("single", "overlay", 22, "x"),)}, "cannot hold an overlay", "--root"),
        ({"seccomp": True, "trials": (Trial("single", "overlay", 1, "x"),)}, "refuses mounts", "seccomp"),
        ({"trials": (Trial("single", "namespaces", 0, "cannot make it"),)}, "cannot make it", "security module"),
        ({"trials": (Trial("single", "root-mount", 0, "no mount point"),)}, "no mount point", "mount --bind"),
        ({"trials": (Trial("single", "trial", 0, "it ended with 70"),)}, "trial: it ended with 70", "dmesg"),
    ],
)
def test_the_missing_fact_is_named(values: dict[str, object], missing: str, how: str) -> None:
    facts = changed(USER, **({"trials": (Trial("single", "namespaces", 0, "x"),)} | values))
    with pytest.raises(HostError) as caught:
        choose_backend(facts)
    assert missing in caught.value.message
    assert how in hints_of(caught.value)[0]


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"helpers": ("", HELPERS[1])}, "`newuidmap` is not installed"),
        ({"helpers": (HELPERS[0], "")}, "`newgidmap` is not installed"),
        ({"subordinate_gids": ()}, "/etc/subgid has no range"),
        ({"no_new_privs": True}, "no_new_privs is set"),
    ],
)
def test_info_says_why_there_are_no_subordinate_ids(values: dict[str, object], missing: str) -> None:
    offers = list_offers(changed(USER, **values, trials=(Trial("single", proc=True),)))
    assert [offer.available for offer in offers] == [False, True, False, False]
    assert missing in offers[0].detail
    assert offers[0].how


def test_every_unavailable_offer_says_how_to_get_it() -> None:
    for facts in (USER, ROOT, POD):
        for offer in list_offers(facts):
            assert offer.available or offer.how or "not tried" in offer.detail


def test_mappings_that_facts_rule_out_are_not_tried() -> None:
    assert USER.mappings() == ("subordinate", "single")
    assert changed(USER, no_new_privs=True).mappings() == ("single",)
    assert ROOT.mappings() == ("root", "identity", "single")
    assert POD.mappings() == ("identity", "single")


def test_the_executor_under_an_ordinary_user_is_told_to_be_root_first() -> None:
    facts = changed(USER, subordinate_uids=(), helpers=("", ""), seccomp=True, trials=REFUSED)
    with pytest.raises(HostError) as caught:
        choose_backend(facts, Requirements(inplace=True))
    assert "uid 1000 is not root" in caught.value.message and "run the container as root" in caught.value.hints[0]
    with pytest.raises(HostError) as caught:
        choose_backend(facts)
    assert "as root" not in caught.value.hints[0] and any("or run as root" in hint for hint in hints_of(caught.value))
