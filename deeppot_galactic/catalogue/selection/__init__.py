r"""The selection function S(x): which fraction of the stars at x made it into the catalogue.

The catalogue samples f S, not f. With S known, the score is :math:`\nabla \ln f = \nabla \ln (f S) - \nabla \ln S` (velocities are
untouched), and every sum over stars becomes one over all stars with weights 1/S. Both need S > 0: where it is small the few stars
there stand for many, so stars with S below a threshold are cut, and the cut is counted; a `masks.Mask` gives the edge that makes the
smooth weight it needs. A distance limit is a mask and nothing else: within it the catalogue is taken as complete.
"""

from .base import SelectionFunction
from .function import CallableSelection
from .stored import StoredSelection
from .tables import DistanceLimit, TableSelection
from .weighting import divide_by

__all__ = ["CallableSelection", "DistanceLimit", "SelectionFunction", "StoredSelection", "TableSelection", "divide_by"]
