"""The table of checks, in the order in which they are run and told."""

from types import ModuleType
from typing import Final

from palate.study.checks import (
    agreement,
    appended,
    audit,
    cartoon,
    contradictions,
    displacement,
    distance,
    duplicates,
    dynamics,
    grounding,
    leakage,
    learnable,
    length,
    off_policy,
    same_kind,
    shortcuts,
    smoothing,
    surface,
    suspects,
    truncation,
    well_formed,
)
from palate.study.checks.base import Check

_MODULES: Final[tuple[ModuleType, ...]] = (
    well_formed, leakage, contradictions, duplicates, truncation, length, appended, shortcuts,
    surface, grounding, same_kind, distance, cartoon, off_policy, learnable, displacement,
    suspects, audit, agreement, smoothing, dynamics,
)  # fmt: skip
CHECKS: Final[tuple[Check, ...]] = tuple(module.CHECK for module in _MODULES)
