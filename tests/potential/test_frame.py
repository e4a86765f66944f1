"""The rotating frame: what may be free, priors, units, and d ln f / dt of an exact distribution."""

import itertools

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
        (("omega_z", "x0_z"), "along it changes nothing"),
        (("omega_z", "v0_z", "x0_x"), "cannot both be free"),
        (("omega_w",), "unknown frame component"),
        (("omega_z", "omega_z"), "'omega_z' is named twice"),
        (["v0_x", "omega_z", "v0_x"], "'v0_x' is named twice"),
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


AXES = {"z": [0, 0, 40], "x": [-30, 0, 0], "in a plane": [0, 20, 30], "any": [10, -20, 30]}


@pytest.mark.parametrize("omega", AXES.values(), ids=AXES)
def test_what_is_refused_is_what_the_stars_cannot_tell(omega):
    """Brute force: the derivatives of d ln f/dt along Omega, x0, v0 and a tilt of Phi are dependent exactly where x0 is refused."""
    w = GaussianBar(omega=40.0, angle=0.4).sample(400, np.random.default_rng(0))
    score, gradient = np.random.default_rng(1).normal(size=w.shape), np.zeros((len(w), 3))
    step, start = 0.01, RotatingFrame(omega=omega * KMSKPC)

    def derivative(group: str, k: int) -> np.ndarray:
        vectors = {name: getattr(start, f"{name}_vector").copy() for name in ("omega", "x0", "v0")}
        vectors[group][k] += step
        moved = start.with_vectors(vectors["omega"], vectors["x0"], vectors["v0"])
        return (stationarity_rate(w, score, gradient, moved) - stationarity_rate(w, score, gradient, start)) / step

    fixed = [derivative("omega", k) for k in range(3)] + list(score[:, 3:].T)
    for group in ("x0", "v0"):
        for size in (1, 2, 3):
            for axes in itertools.combinations(range(3), size):
                columns = np.stack(fixed + [derivative(group, k) for k in axes], axis=1)
                values = np.linalg.svd(columns / np.linalg.norm(columns, axis=0).clip(1e-12), compute_uv=False)
                free = tuple(f"{group}_{'xyz'[k]}" for k in axes)
                if values[-1] > 1e-6:
                    assert RotatingFrame(omega=omega * KMSKPC, free=free).free == free
                else:
                    assert group == "x0"
                    with pytest.raises(FrameError, match="along it changes nothing"):
                        RotatingFrame(omega=omega * KMSKPC, free=free)


def test_an_axis_that_is_not_known_yet_is_any_that_omega_may_take():
    free = ("omega_x", "omega_z", "x0_z")
    assert RotatingFrame(free=free).free == free
    with pytest.raises(FrameError, match="along it changes nothing"):
        RotatingFrame(omega=40 * KMSKPC, free=free)
    with pytest.raises(FrameError, match="along it changes nothing"):
        RotatingFrame(free=("omega_y", "x0_y"))
    with pytest.raises(FrameError, match="does not rotate"):
        RotatingFrame(free=("x0_x",))


def test_the_lab_frame_neither_rotates_nor_starts_to():
    assert RotatingFrame(free=()).is_lab
    assert RotatingFrame(free=("v0_x",)).is_lab
    assert not RotatingFrame().is_lab
    assert not RotatingFrame(omega=[0, 1, 0] * KMSKPC, free=()).is_lab
