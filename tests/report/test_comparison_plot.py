"""The figure that sets the learned potential beside models of the Milky Way."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.potential.analytic import Plummer
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.report.plots.comparison import compare_figure


def test_every_model_is_drawn_in_every_panel(tmp_path):
    pytest.importorskip("galpy")
    model = Plummer(1e11, 5.0)
    sphere = GlobalPotential(model, Cylinder(r_out=12 * u.kpc, half_height=3 * u.kpc), outer=model)
    published = Table({"R": [4.0, 12.0], "vc": [220.0, 230.0], "vc_error": [3.0, 3.0]})
    table, figure = compare_figure(sphere, np.linspace(2, 12, 12) * u.kpc, models=["MWPotential2014"], published=published)
    labels = [[line.get_label() for line in ax.get_lines()] for ax in figure.axes]
    assert all({"learned", "MWPotential2014"} <= set(names) for names in labels)
    assert len(figure.axes) == 4 and len(figure.axes[0].containers) == 1
    # the published points stand where they were published
    drawn = figure.axes[0].containers[0][0]
    np.testing.assert_allclose(drawn.get_xydata(), [[4.0, 220.0], [12.0, 230.0]])
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), table["vc_learned"].value)
    figure.savefig(tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
