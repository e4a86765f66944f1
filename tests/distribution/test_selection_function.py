"""A selection function enters as f = f_obs / S: stars that were seen too rarely count more."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.mocks.gaussian_bar import GaussianBar

VOLUME = Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc)
SMALL = {"steps": 100, "batch": 256, "width": 24, "depth": 2, "rate": 1e-2}
OPTIONS = {
    "score-matching": {"preset": "quick"} | SMALL,
    "flow-matching": {"preset": "flow-matching", "ema": 0.95, "warmup": 5, "whiten": False} | SMALL,
}


def seen(x):
    """S falls from 1 to 0.25 along x."""
    return 0.25 + 0.75 / (1.0 + np.exp(np.asarray(x)[:, 0] / 0.7))


@pytest.mark.parametrize("name", list(OPTIONS))
def test_weights_remove_the_gradient_of_the_selection(name):
    mock = GaussianBar(lengths=(2.0, 1.2, 0.5), sigma=100.0, omega=40.0, angle=0.4)
    rng = np.random.default_rng(5)
    x = mock.sample(12_000, rng)
    selection = SelectionFunction.from_callable(seen)
    chosen = Tracers(x[rng.uniform(size=len(x)) < seen(x)])
    test = mock.sample(3000, rng)
    test = test[np.hypot(test[:, 0], test[:, 1]) < 2.5]
    truth = mock.score(test)[:, 0]
    bias = []
    for stars in (chosen, chosen.weighted(selection)):
        df = fit_distribution(stars, VOLUME, **OPTIONS[name])
        bias.append(float(np.mean(df.evaluate(test)[1][:, 0] - truth)))
    step = 1e-4 * np.eye(6)[0]
    slope = float(np.mean((np.log(seen(test + step)) - np.log(seen(test - step))) / 2e-4))
    assert slope < -0.3
    assert bias[0] == pytest.approx(slope, abs=0.15)  # without weights the scores are those of f S
    assert abs(bias[1]) < 0.12
    assert df.n_stars == pytest.approx(len(x[VOLUME.contains(x[:, :3])]), rel=0.05)  # all stars, the unseen ones too
