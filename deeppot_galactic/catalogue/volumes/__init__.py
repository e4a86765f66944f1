r"""Training volumes: where the stars are used, and how their weight falls to zero at the edge.

A volume is a closed region V of space together with a smooth weight g(x): one in the interior, zero with zero first and second
derivative at and beyond the boundary. With :math:`s(t) = t^3 (10 - 15 t + 6 t^2)` (C2, s(0) = 0, s(1) = 1, clipped outside),

.. math::
   g = s\left(\frac{r_{out} - R}{\tau\, r_{out}}\right) s\left(\frac{h - |z|}{\tau\, h}\right)
       s\left(\frac{R - r_{in}}{\tau\, r_{out}}\right) \quad\text{(cylinder)}, \qquad
   g = s\left(\frac{r_{max} - r}{\tau\, r_{max}}\right) \quad\text{(ball)},

where :math:`\tau` is ``taper`` and the factor of r_in is present only if r_in > 0. Objectives that integrate by parts need g and
grad g: a hard edge would add a surface term. A volume may have a mask (`masks`), for a catalogue that does not fill it: the stars count
where the mask is positive, and g is multiplied by it.
"""

from .ball import Ball
from .base import TAPER, Volume, positions, smoother_step
from .cylinder import Cylinder

__all__ = ["TAPER", "Ball", "Cylinder", "Volume", "positions", "smoother_step"]
