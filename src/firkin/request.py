"""Public: what a build is asked for and what came of it, as callers from Python write them. Pure.

The structures live with the rooms that use them; this module gives them one address.
"""

from firkin.builder.request import (
    BUILDKIT,
    KANIKO,
    BuildRequest,
    BuildResult,
    CacheRef,
    Dialect,
    ImageResult,
    Output,
    RunOptions,
    Secret,
    SshAgent,
    StepResult,
)
from firkin.layer.limits import UnpackLimits
from firkin.oci.run_settings import Ulimit
from firkin.registry.settings import Mirror, RegistrySettings
from firkin.store.rules import GcRules

__all__ = [
    "BUILDKIT", "KANIKO", "BuildRequest", "BuildResult", "CacheRef", "Dialect", "GcRules", "ImageResult", "Mirror",
    "Output", "RegistrySettings", "RunOptions", "Secret", "SshAgent", "StepResult", "Ulimit", "UnpackLimits",
]  # fmt: skip
