"""The volumes of the paper's tables 3 and 4: the whole disc, and balls at the Sun's place and opposite.

The disc is R < 16, |z| < 2 kpc. The balls have radii of 4 and 2 kpc, 8 kpc from the centre and 20 degrees behind the bar; mirrored ones
lie on the other side of the centre, where the same bar should be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume

DISC = "disc"
RADII = (4.0, 2.0)
SHELLS = (0.0, 2.0, 5.0, 10.0, 16.0)
"""Radii between the shells in which the paper fits the distribution of a whole disc (P table 2) [kpc]."""
DISTANCE, LAG = 8.0, np.radians(20.0)
"""Of the balls from the centre [kpc], and of their azimuth behind the bar [rad]."""


def volume_table(bar_angle: float) -> dict[str, dict[str, Any]]:
    """The volumes as sections ``[volume]`` of a configuration.

    Parameters
    ----------
    bar_angle : float
        Azimuth of the bar [rad].

    Returns
    -------
    dict
        By name ("disc", "4 kpc", "4 kpc mirrored", ...): keys of `deeppot_galactic.config.VolumeConfig`, lengths in kpc.

    References
    ----------
    Kalda, Green & Ghosh 2023, arXiv:2310.00040, section 4.
    """
    table: dict[str, dict[str, Any]] = {DISC: {"kind": "cylinder", "r_out": 16.0, "half_height": 2.0}}
    for radius in RADII:
        for name, turn in ((f"{radius:g} kpc", 0.0), (f"{radius:g} kpc mirrored", np.pi)):
            angle = bar_angle - LAG + turn
            centre = [float(c) for c in DISTANCE * np.array([np.cos(angle), np.sin(angle), 0.0])]
            table[name] = {"kind": "ball", "center": centre, "radius": radius}
    return table


def volumes(bar_angle: float) -> dict[str, Volume]:
    """The volumes themselves, by name.

    Parameters
    ----------
    bar_angle : float
        Azimuth of the bar [rad].

    Returns
    -------
    dict of str to Volume
        See `volume_table`.
    """
    from ..config import VolumeConfig
    from ..preparation import make_volume

    return {name: make_volume(VolumeConfig.model_validate(keys)) for name, keys in volume_table(bar_angle).items()}
