"""Extreme catalogues: every stage ends in a result that is finite or in a named error, and never in a silent NaN or a bare exception."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import astropy.units as u
import numpy as np
import pytest

import deeppot_galactic as dg
from deeppot_galactic.errors import CatalogueError, DeepPotError, DeepPotWarning, FitError, VolumeError

VOLUME = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
Stars = np.ndarray


def disc(n: int = 2500) -> Stars:
    rng = np.random.default_rng(0)
    radius, phi = rng.gamma(2.0, 2.5, n), rng.uniform(0, 2 * np.pi, n)
    c, s = np.cos(phi), np.sin(phi)
    v_r, v_phi = rng.normal(0, 40, n), rng.normal(200, 40, n)
    return np.stack([radius * c, radius * s, rng.normal(0, 0.3, n), v_r * c - v_phi * s, v_r * s + v_phi * c, rng.normal(0, 20, n)], axis=1)


def put(columns: slice | int, value: object, rows: slice | int = slice(None)) -> Callable[[Stars], Stars]:
    def change(x: Stars) -> Stars:
        x[rows, columns] = value
        return x

    return change


def circular(x: Stars) -> Stars:
    radius = np.hypot(x[:, 0], x[:, 1])
    x[:, 3], x[:, 4] = -200 * x[:, 1] / radius, 200 * x[:, 0] / radius
    return x


CASES: dict[str, tuple[Callable[[Stars], Stars], type[DeepPotError] | None, type[DeepPotError] | None]] = {
    # how the stars are changed; what the pattern speed and the distribution end with (None: a finite result)
    "1e30": (lambda x: x * 1e30, VolumeError, VolumeError),
    "one star at 1e30": (put(slice(None), 1e30, 0), None, None),
    "one speed of 1e30": (put(4, 1e30, 0), CatalogueError, CatalogueError),
    "one speed of 1e308": (put(4, -1e308, 0), CatalogueError, CatalogueError),
    "speeds of 1e30": (put(slice(3, 6), 1e30), CatalogueError, CatalogueError),
    "denormals": (lambda x: x * 1e-310, None, FitError),
    "denormal velocities": (lambda x: np.concatenate([x[:, :3], x[:, 3:] * 1e-310], axis=1), None, FitError),
    "one star repeated 100,000 times": (lambda x: np.repeat(x[:1], 100_000, axis=0), FitError, FitError),
    "one star repeated 100,000 times among others": (lambda x: np.concatenate([x, np.repeat(x[:1], 100_000, axis=0)]), None, FitError),
    "all at rest": (put(slice(3, 6), 0.0), None, FitError),
    "all with one velocity": (put(slice(3, 6), [10.0, 20.0, 30.0]), None, FitError),
    "circular orbits without dispersion": (circular, None, None),
    "circular orbits in a plane": (lambda x: put(2, 0.0)(put(5, 0.0)(circular(x))), None, FitError),
    "all at the origin": (put(slice(0, 3), 0.0), None, FitError),
    "all on the axis": (put(slice(0, 2), 0.0), None, FitError),
    "along one line": (lambda x: np.outer(x[:, 0], [1.0, 2.0, 0.1, 30.0, 40.0, 5.0]), None, FitError),
    "four dimensions": (lambda x: np.concatenate([x[:, :4], x[:, :2] * 30.0], axis=1), None, FitError),
    "whole numbers": (np.round, None, None),
}


@pytest.mark.parametrize("case", CASES)
def test_every_extreme_has_a_named_outcome(case: str) -> None:
    change, pattern_error, fit_error = CASES[case]
    tracers = dg.Tracers(change(disc()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)  # named, too; a warning of NumPy would still be an error
        if pattern_error is None:
            speed = dg.pattern_speed(tracers, VOLUME, n_bootstrap=10)
            assert np.isfinite([speed.value.value, speed.error.value]).all()
        else:
            with pytest.raises(pattern_error) as caught:
                dg.pattern_speed(tracers, VOLUME, n_bootstrap=10)
            assert "\n" not in str(caught.value)
        options = {"preset": "quick", "steps": 5, "width": 16, "batch": 128}
        if fit_error is None:
            df = dg.fit_distribution(tracers, VOLUME, **options)
            inside = tracers.within(VOLUME).phase_space
            assert all(np.isfinite(values).all() for values in df.evaluate(inside))
            return
        with pytest.raises(fit_error) as caught:
            dg.fit_distribution(tracers, VOLUME, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_becomes_a_tracer(bad: float) -> None:
    with pytest.raises(CatalogueError, match="1 of 2500 stars"):
        dg.Tracers(put(2, bad, 7)(disc()))


def test_copies_are_said_where_they_are_tolerated() -> None:
    x = disc()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dg.pattern_speed(dg.Tracers(np.concatenate([x, x, x])), dg.Cylinder(r_out=1e6 * u.kpc, half_height=1e6 * u.kpc), n_bootstrap=10)
    assert any("5000 of 7500 stars repeat another one exactly" in str(warning.message) for warning in said)
