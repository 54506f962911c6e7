"""`firkin rmi`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.cli.store import freeing_store, say
from firkin.errors import UsageError
from firkin.images.find import nearest_name
from firkin.images.remove import Removal, Remover

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Remove images from the store, or names of images: a name removes itself, and with the last name the image goes; "
    "an id removes the image with its name. What other images or cached steps need stays on disk."
)
OPTIONS = (
    Option(("--force", "-f"), "force", "flag",
           "remove an id with all its names; images that are not there are no error", takes_value=False),
    Option(("--no-prune",), "", "ignored", "there are no parents without a name to remove", takes_value=False),
    Option(("--platform",), "", "refused", "name the platform's own id or digest; `firkin inspect NAME` shows them"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Remove each; what failed is told at the end. Raises UsageError."""
    operands, force = invocation.arguments.operands, invocation.arguments.flag("force")
    if not operands:
        raise UsageError("`firkin rmi` needs an image")
    with freeing_store(invocation) as store:
        remover = Remover(store)

        def remove(text: str) -> None:
            try:
                write_out(removal_text(remover.remove(text, force=force)))
            except UsageError as error:
                if error.code != "no-image":
                    raise
                meant = nearest_name(store, text)
                if not force:
                    hints = (f"did you mean `{meant}`?",) if meant else error.hints
                    raise UsageError(error.message, code=error.code, hints=hints) from None
                say(f"warning: {error.message} ({error.code})")

        each(operands, remove)
    return 0


def removal_text(removal: Removal) -> str:
    """Return docker's lines about what was removed."""
    return "".join(
        f"{word}: {what}\n"
        for image in removal.images
        for word, names in (("Untagged", image.untagged), ("Deleted", image.deleted))
        for what in names
    )
