"""Numbers of the paper, to stand beside ours: relative errors of Omega in per cent at its three epochs (P tables 3 and 4).

References
----------
Kalda, Green & Ghosh 2023, arXiv:2310.00040, tables 3 and 4, section 4.
"""

from __future__ import annotations

OMEGA_ERRORS: dict[str, tuple[int, int, int]] = {
    "disc": (-15, 17, 28),
    "4 kpc": (1, 14, 5),
    "4 kpc mirrored": (-5, 8, -2),
    "2 kpc": (14, 16, 21),
    "2 kpc mirrored": (14, 18, 9),
}
"""Relative error of Omega [%] by volume, one number an epoch. The epochs are those of the paper's own simulation."""

FORCE_ERROR, DENSITY_ERROR, DARK_MATTER_FACTOR = 20, 50, 2
"""P: accelerations within 20 %, densities within 50 %, the profile of the dark matter within a factor of two at r > 2 kpc."""
