"""The learned potential in other packages: compiled to splines, and as galpy, gala and agama objects.

Everything here takes a `~deeppot_galactic.potential.blended.GlobalPotential` (or an axisymmetrised one) and imports the host inside the
function that needs it.
"""

from __future__ import annotations

from .compiled import ForceErrorReport, compile_potential

__all__ = ["ForceErrorReport", "compile_potential"]
