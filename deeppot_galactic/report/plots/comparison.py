"""The learned potential beside models of the Milky Way: rotation curve, vertical force, density, escape speed.

Draws the table of `deeppot_galactic.dynamics.compare`; `compare_figure` tabulates and draws in one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...dynamics.comparison import compare
from .style import BLUE, GREEN, GREY, INK, ORANGE, VERMILLION, styled, tidy

QUANTITIES = {
    "vc": ("circular speed [km s⁻¹]", 1.0, False),
    "Kz": ("−K_z [10³ km² s⁻² kpc⁻¹]", -1e-3, True),
    "rho": ("density in the plane [M⊙ pc⁻³]", 1e-9, True),
    "vesc": ("escape speed [km s⁻¹]", 1.0, False),
}
COLOURS = {"learned": BLUE, "MWPotential2014": ORANGE, "MilkyWayPotential2022": VERMILLION, "McMillan17": GREEN}


def model_comparison(ax: Axes, table: QTable, quantity: str) -> Axes:
    """One quantity against R, for every model in the table.

    Parameters
    ----------
    ax : Axes
        To draw into.
    table : QTable
        From `deeppot_galactic.dynamics.compare`.
    quantity : {"vc", "Kz", "rho", "vesc"}
        Circular speed [km/s], -K_z [10^3 km^2/s^2/kpc], density in the plane [Msun/pc^3] or escape speed [km/s].

    Returns
    -------
    Axes
        The same.
    """
    label, factor, logarithmic = QUANTITIES[quantity]
    tidy(ax)
    columns: Any = table
    radius = columns["R"].value
    for column in table.colnames:
        if not column.startswith(f"{quantity}_") or column.startswith("vc_error"):
            continue
        name = column.removeprefix(f"{quantity}_")
        values = factor * columns[column].value
        if name == "published":
            # the points themselves, not what was interpolated to the radii of the table
            points: Any = (table.meta or {})["published"]
            ax.errorbar(points["R"], points["vc"], points.get("vc_error"), fmt="o", markersize=3.5, color=INK, label="published")
            continue
        learned = name == "learned"
        ax.plot(radius, values, color=COLOURS.get(name, GREY), linewidth=2.4 if learned else 1.4, label=name, zorder=3 if learned else 2)
    if logarithmic:
        ax.set_yscale("log")
    ax.set(xlabel="R [kpc]", ylabel=label, xlim=(radius.min(), radius.max()))
    return ax


def compare_figure(potential: Any, radii: Any, **options: Any) -> tuple[QTable, Figure]:
    """Tabulate and draw.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential or AxisymmetricPotential
        The learned potential.
    radii : Quantity, shape (N,)
        Radii in the plane.
    **options
        Passed to `deeppot_galactic.dynamics.compare`: ``height``, ``models``, ``published``.

    Returns
    -------
    table : QTable
        As of `deeppot_galactic.dynamics.compare`.
    figure : Figure
        Four panels, one for each quantity.

    Raises
    ------
    DeepPotError
        For an unknown model, or a published table without ``R`` and ``vc``.
    """
    table = compare(potential, radii, **options)
    with styled():
        figure = Figure(figsize=(10.5, 7.5), layout="constrained")
        panels = np.ravel(figure.subplots(2, 2))
        for ax, quantity in zip(panels, QUANTITIES, strict=True):
            model_comparison(ax, table, quantity)
        panels[0].legend(loc="lower right")
    return table, figure
