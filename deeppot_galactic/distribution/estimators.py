"""Names of the estimators, and what each is called in a file or a preset."""

from __future__ import annotations

from ..errors import StoreError
from .base import Distribution


def estimator_class(name: str) -> type[Distribution]:
    """The class behind the name stored in a file.

    Raises
    ------
    StoreError
        For a name this version does not know.
    """
    from .ensemble import EnsembleDistribution
    from .flow import FlowDistribution
    from .score_matching import ScoreMatchingDistribution
    from .stitching import StitchedDistribution

    known = (ScoreMatchingDistribution, FlowDistribution, EnsembleDistribution, StitchedDistribution)
    classes: dict[str, type[Distribution]] = {c.estimator: c for c in known}
    if name not in classes:
        raise StoreError(f"estimator {name!r} is unknown; this version knows {', '.join(sorted(classes))}")
    return classes[name]
