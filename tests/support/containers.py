"""Containers of the tests: an image to run, and an end without anything left behind."""

from support.accounts import Firkin


def make_box(firkin: Firkin) -> None:
    """Put busybox into the store as `box:1`, its layers unpacked."""
    context = firkin.directory("box")
    (context / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    firkin.account.give(context)
    firkin.run("build", "-t", "box:1", context)


def remove_containers(firkin: Firkin) -> None:
    """Remove all containers of a store by force, and its volumes."""
    names = firkin.run("ps", "-aq", "--no-trunc").stdout.split()
    if names:
        firkin.run("rm", "-f", "-v", *names)
