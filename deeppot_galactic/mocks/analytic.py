"""The analytic distribution functions under one roof: known f, exact scores, own potential and pattern speed.

| class | frame | potential | f |
|---|---|---|---|
| `Plummer` | at rest | its own | (e)^(7/2), isotropic |
| `GaussianBar` | rotating | quadratic | exp(-E_J / sigma^2): Gaussian |
| `ErgodicBar` | rotating | disc + halo + bar | (E_L - E_J)^p inside corotation |
| `StaeckelDisc` | at rest | Kuzmin-Kutuzov | quasi-isothermal in E, L_z, I_3 |

Each has ``sample(n, rng)``, ``log_density(x)``, ``score(x)``, ``potential(pos)``, ``acceleration(pos)``, ``residual(x)``, ``omega`` and
``tracers(n, seed)``; see `deeppot_galactic.mocks.base`.
"""

from .barred_potential import BarredPotential
from .base import AnalyticDistribution
from .ergodic_bar import ErgodicBar
from .gaussian_bar import GaussianBar
from .kuzmin_kutuzov import KuzminKutuzov
from .plummer import Plummer
from .staeckel_disc import StaeckelDisc

__all__ = ["AnalyticDistribution", "BarredPotential", "ErgodicBar", "GaussianBar", "KuzminKutuzov", "Plummer", "StaeckelDisc"]
