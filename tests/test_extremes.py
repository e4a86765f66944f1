"""Extreme catalogues: every stage ends in a result that is finite or in a named error, and never in a silent NaN or a bare exception.

In discs and in balls, from Python and from the command line, for the pattern speed, the distribution and the potential."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest

import deeppot_galactic as dg
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import CatalogueError, DeepPotError, DeepPotWarning, FitError, VolumeError

VOLUME = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
BALL = dg.Ball([0.5, -3.5, 0] * u.kpc, 4 * u.kpc)
"""Holds the first of 6000 stars, off the axis."""
SCALES = np.array([5.0, 5.0, 0.3, 120.0, 120.0, 20.0])
QUICK = {"preset": "quick", "steps": 5, "width": 16, "batch": 128}
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
        if fit_error is None:
            df = dg.fit_distribution(tracers, VOLUME, **QUICK)
            inside = tracers.within(VOLUME).phase_space
            assert all(np.isfinite(values).all() for values in df.evaluate(inside))
            return
        with pytest.raises(fit_error) as caught:
            dg.fit_distribution(tracers, VOLUME, **QUICK)
        assert "\n" not in str(caught.value)


def outcome(wanted: type[DeepPotError] | None, result: Callable[[], Any]) -> None:
    """A result of finite numbers, or the wanted error in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)  # named, too; a warning of NumPy would still be an error
        if wanted is None:
            assert all(np.isfinite(values).all() for values in result())
            return
        with pytest.raises(wanted) as caught:
            result()
    assert "\n" not in str(caught.value)


def learned(points: GradientSample, **options: Any) -> list[Any]:
    """What a fitted potential says."""
    model = dg.fit_potential(points, **options)
    x = points.volume.sample(50, np.random.default_rng(0)) * u.kpc
    values = [getattr(model, name)(x).value for name in ("potential", "acceleration", "density", "hessian")]
    return [*values, model.omega.value, model.omega_error[2].value]


def with_scores(stars: Stars, volume: dg.Volume, score: Callable[[Stars], Stars] | None = None, **more: Any) -> GradientSample:
    """Those in the volume, with the scores of a Gaussian."""
    inside = dg.Tracers(stars).within(volume).phase_space
    gradient = -inside / SCALES**2 if score is None else score(inside)
    ln_f = more.pop("ln_f", lambda x: -0.5 * np.sum((x / SCALES) ** 2, axis=1))(inside)
    return GradientSample(inside, ln_f, gradient, volume=volume, meta={"n_stars": len(inside)})


@pytest.mark.parametrize("case", CASES)
def test_every_extreme_has_a_named_outcome_as_a_potential(case: str) -> None:
    """In the disc from the stars alone, which is what every method starts from: what is no distribution is no potential either."""
    change, _, error = CASES[case]
    tracers = dg.Tracers(change(disc()))
    outcome(error, lambda: learned(GradientSample.of_stars(tracers, VOLUME), method="weak"))


@pytest.mark.parametrize("case", CASES)
def test_every_extreme_has_a_named_outcome_in_a_ball(case: str) -> None:
    change, pattern_error, error = CASES[case]
    tracers = dg.Tracers(change(disc(6000)))
    if not tracers.select(BALL.contains(tracers.phase_space[:, :3])).phase_space.size:
        pattern_error = error = VolumeError
    outcome(pattern_error, lambda: [(speed := dg.pattern_speed(tracers, BALL)).value.value, speed.error.value])
    outcome(error, lambda: dg.fit_distribution(tracers, BALL, **QUICK).evaluate(tracers.within(BALL).phase_space))
    for options in ({"method": "linear"}, {"preset": "quick", "steps": 5, "width": 16, "n_places": 256}):
        outcome(error, lambda options=options: learned(with_scores(tracers.phase_space, BALL), **options))


def clump(size: float) -> Callable[[Stars], Stars]:
    """All stars within ``size`` kpc of one place."""
    return lambda x: put(slice(0, 3), [0.5, -3.5, 0.1] + size * np.random.default_rng(1).normal(size=(len(x), 3)))(x)


PLACES = np.array([[0.5, -3, 0], [1, -2, 0.3], [-1, -3, -0.2], [0, -4, 0.4], [2, -3, -0.5]])
PLACED: dict[str, tuple[Callable[[Stars], Stars], type[DeepPotError] | None, str]] = {
    "1500 copies of one star": (lambda x: np.repeat(x[:1], 1500, axis=0), FitError, "constant"),
    "two copies of each": (lambda x: np.repeat(x, 2, axis=0), None, ""),
    "three copies of each": (lambda x: np.repeat(x, 3, axis=0), FitError, "repeat another one exactly"),
    "most at rest": (lambda x: put(slice(3, 6), 0.0, slice(0, len(x) * 3 // 4))(x), FitError, "are at rest"),
    "a clump": (clump(1e-3), FitError, "within 0.001 kpc of one place"),
    "a clump of one size": (clump(1e-9), FitError, "of one place"),
    "a clump that is wide enough": (clump(0.2), None, ""),
    "five places": (lambda x: put(slice(0, 3), PLACES[np.arange(len(x)) % 5])(x), None, ""),
    "velocities of nothing": (lambda x: put(slice(3, 6), x[:, 3:] * 1e-9)(x), None, ""),
}


@pytest.mark.parametrize("case", PLACED)
def test_stars_in_few_places_and_copies_are_named_by_the_potential(case: str) -> None:
    change, error, words = PLACED[case]
    points = with_scores(change(disc(6000)), BALL)
    outcome(error, lambda: learned(points, method="weak"))
    if error is not None:
        with pytest.raises(error, match=words):
            dg.fit_potential(points, method="linear")


SCORES: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"score": np.zeros_like}, "vanish"),
    "denormal": ({"score": lambda x: x * 1e-310}, "vanish"),
    "1e30": ({"score": lambda x: np.sign(x) * 1e30}, "no density has"),
    "1e307": ({"score": lambda x: np.sign(x) * 1e307}, "no density has"),
    "one of 1e30": ({"score": lambda x: put(2, 1e30, 3)(-x / SCALES**2)}, "1 of .* no density has"),
    "one NaN": ({"score": lambda x: put(2, np.nan, 3)(-x / SCALES**2)}, "1 of .* have none"),
    "ln f of 1e30": ({"ln_f": lambda x: np.full(len(x), 1e30)}, "ln f"),
    "ln f of -1e30": ({"ln_f": lambda x: np.full(len(x), -1e30)}, "ln f"),
    "no ln f": ({"ln_f": lambda x: np.full(len(x), np.nan)}, "ln f"),
}


@pytest.mark.parametrize("case", SCORES)
def test_impossible_gradients_are_named(case: str) -> None:
    changes, words = SCORES[case]
    points = with_scores(disc(6000), BALL, **changes)
    methods = [{"preset": "paper-small"}] if "ln_f" in changes else [{"method": "linear"}, {"method": "network"}]
    for options in methods:
        with pytest.raises(FitError, match=words):
            dg.fit_potential(points, **options)


RUN = """
[catalogue]
path = "stars.npz"
[volume]
kind = "cylinder"
r_out = 16.0
half_height = 2.0
[distribution]
preset = "quick"
options = {steps = 5, width = 16, batch = 128}
[gradients]
n = 2000
[potential]
method = "weak"
"""


@pytest.mark.parametrize("case", CASES)
def test_every_extreme_ends_a_command_in_one_line(case: str, deeppot: Callable[..., tuple[int, str, str]]) -> None:
    """Status 0 with finite numbers, or 2 with one line; a run that would go through (half a minute each) is another test."""
    change, pattern_error, fit_error = CASES[case]
    x = change(disc())
    np.savez("stars.npz", pos=x[:, :3], vel=x[:, 3:])
    Path("run.toml").write_text(RUN)
    commands = {"pattern-speed": (["stars.npz"], pattern_error), "run": (["run.toml", "--out", "out"], fit_error)}
    for command, (arguments, error) in commands.items():
        if command == "run" and error is None:
            continue
        status, out, err = deeppot(command, *arguments, "--json")
        assert status == (0 if error is None else 2), err
        assert err.count("\n") == (error is not None)
        assert "Traceback" not in err
        assert "NaN" not in out
        json.loads(out)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case, (_, _, error) in CASES.items() if error is None])
def test_a_run_of_what_is_extreme_and_possible_is_finite(case: str, deeppot: Callable[..., tuple[int, str, str]]) -> None:
    x = CASES[case][0](disc())
    np.savez("stars.npz", pos=x[:, :3], vel=x[:, 3:])
    Path("run.toml").write_text(RUN)
    status, out, err = deeppot("run", "run.toml", "--out", "out", "--json")
    assert status == 0, err
    assert "Traceback" not in err
    assert np.isfinite(json.loads(out)["omega"]["value"]).all()
    assert Path("out", "report.html").is_file()


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
