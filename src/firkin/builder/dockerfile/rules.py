"""The build checks: names, texts and pages. Pure. `dockerfile` and `builder.build` import it.

Mirrors: buildkit frontend/dockerfile/linter/ruleset.go; names and descriptions are the same.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """A check; `experimental`: it is off by default. `builder`: the builder that a check of compat.py is about."""

    name: str
    description: str
    url: str = ""
    experimental: bool = False
    builder: str = ""


def _page(slug: str) -> str:
    return f"https://docs.docker.com/go/dockerfile/rule/{slug}/"


RULES: Final = {
    rule.name: rule
    for rule in (
        Rule("StageNameCasing", "Stage names should be lowercase", _page("stage-name-casing")),
        Rule(
            "FromAsCasing",
            "The 'as' keyword should match the case of the 'from' keyword",
            _page("from-as-casing"),
        ),
        Rule(
            "NoEmptyContinuation",
            "Empty continuation lines will become errors in a future release",
            _page("no-empty-continuation"),
        ),
        Rule(
            "ConsistentInstructionCasing",
            "All commands within the Dockerfile should use the same casing (either upper or lower)",
            _page("consistent-instruction-casing"),
        ),
        Rule("DuplicateStageName", "Stage names should be unique", _page("duplicate-stage-name")),
        Rule(
            "ReservedStageName",
            "Reserved words should not be used as stage names",
            _page("reserved-stage-name"),
        ),
        Rule(
            "JSONArgsRecommended",
            "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
            _page("json-args-recommended"),
        ),
        Rule(
            "MaintainerDeprecated",
            "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
            _page("maintainer-deprecated"),
        ),
        Rule("UndefinedArgInFrom", "FROM command must use declared ARGs", _page("undefined-arg-in-from")),
        Rule(
            "WorkdirRelativePath",
            "Relative workdir without an absolute workdir declared within the build can have unexpected results "
            "if the base image changes",
            _page("workdir-relative-path"),
        ),
        Rule("UndefinedVar", "Variables should be defined before their use", _page("undefined-var")),
        Rule(
            "MultipleInstructionsDisallowed",
            "Multiple instructions of the same type should not be used in the same stage",
            _page("multiple-instructions-disallowed"),
        ),
        Rule(
            "LegacyKeyValueFormat",
            "Legacy key/value format with whitespace separator should not be used",
            _page("legacy-key-value-format"),
        ),
        Rule("InvalidBaseImagePlatform", "Base image platform does not match expected target platform"),
        Rule(
            "RedundantTargetPlatform",
            "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
            _page("redundant-target-platform"),
        ),
        Rule(
            "SecretsUsedInArgOrEnv",
            "Sensitive data should not be used in the ARG or ENV commands",
            _page("secrets-used-in-arg-or-env"),
        ),
        Rule(
            "InvalidDefaultArgInFrom",
            "Default value for global ARG results in an empty or invalid base image name",
            _page("invalid-default-arg-in-from"),
        ),
        Rule(
            "FromPlatformFlagConstDisallowed",
            "FROM --platform flag should not use a constant value",
            _page("from-platform-flag-const-disallowed"),
        ),
        Rule(
            "CopyIgnoredFile",
            "Attempting to Copy file that is excluded by .dockerignore",
            _page("copy-ignored-file"),
        ),
        Rule(
            "InvalidDefinitionDescription",
            "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. "
            "If this is not intended to be a description comment, add an empty line or comment between the "
            "instruction and the comment.",
            _page("invalid-definition-description"),
            experimental=True,
        ),
        Rule(
            "ExposeProtoCasing",
            "Protocol in EXPOSE instruction should be lowercase",
            _page("expose-proto-casing"),
        ),
        Rule(
            "ExposeInvalidFormat",
            "IP address and host-port mapping should not be used in EXPOSE instruction. "
            "This will become an error in a future release",
            _page("expose-invalid-format"),
        ),
    )
}
"""BuildKit's checks by name."""

_SECRET_WORDS: Final = frozenset(
    "apikey auth credential credentials key password pword passwd secret token".split()
)
_HARMLESS_WORDS: Final = frozenset(("public", "file", "version"))


def is_secret_name(name: str) -> bool:
    """Say whether a variable's name suggests a secret: `API_KEY`, but not `PUBLIC_KEY`.

    Mirrors: dockerfile2llb validateNoSecretKey.
    """
    words = set(name.lower().split("_"))
    return bool(words & _SECRET_WORDS) and not words & _HARMLESS_WORDS
