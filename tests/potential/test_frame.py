"""The rotating frame: what may be free, priors, units, and d ln f / dt of an exact distribution."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.errors import FrameError, UnitsError
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.potential.frame import RotatingFrame, stationarity_rate

KMSKPC = u.km / u.s / u.kpc


@pytest.mark.parametrize(
    ("free", "word"),
    [
        (("x0_x", "v0_y"), "cannot both be free"),
        (("v0_z",), "tilt"),
        (("x0_z",), "shift"),
        (("omega_w",), "unknown frame component"),
        (("x0_x",), "does not rotate"),
    ],
)
def test_combinations_that_stars_cannot_identify_are_refused(free, word):
    with pytest.raises(FrameError, match=word):
        RotatingFrame(free=free)


def test_priors_belong_to_free_components():
    with pytest.raises(FrameError, match="prior on omega_x"):
        RotatingFrame(free=("omega_z",), prior={"omega_x": (0 * KMSKPC, 1 * KMSKPC)})
    with pytest.raises(FrameError, match="positive"):
        RotatingFrame(prior={"omega_z": (0 * KMSKPC, 0 * KMSKPC)})
    with pytest.raises(UnitsError):
        RotatingFrame(omega=39.0)


def test_units_and_storage():
    frame = RotatingFrame(
        omega=40 * u.rad / u.Gyr, x0=[100, 0, 0] * u.pc, free=("omega_z", "v0_x"), prior={"v0_x": (1 * u.km / u.s, 2 * u.km / u.s)}
    )
    assert frame.omega_vector[2] == pytest.approx(40 * 0.9777922, rel=1e-6)
    again = RotatingFrame.from_dict(frame.to_dict())
    assert again.to_dict() == frame.to_dict()
    assert again.x0_vector[0] == pytest.approx(0.1)


def test_an_exact_rotating_bar_is_stationary_in_its_frame_only():
    bar = GaussianBar(omega=40.0, angle=0.4)
    w = bar.sample(500, np.random.default_rng(0))
    gradient = -bar.acceleration(w)
    own = stationarity_rate(w, bar.score(w), gradient, RotatingFrame(omega=40 * KMSKPC))
    other = stationarity_rate(w, bar.score(w), gradient, RotatingFrame(omega=20 * KMSKPC))
    assert np.abs(own).max() < 1e-8
    assert np.median(np.abs(other)) > 1.0
