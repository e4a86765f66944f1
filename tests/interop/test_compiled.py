"""The quintic spline against what it was made from, and against itself by finite differences."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from interop_models import MODEL, Learned, barred_galaxy, disc_points, soft_galaxy

from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.errors import ExportError
from deeppot_galactic.interop.compiled import SplinePotential, compile_potential, with_backend
from deeppot_galactic.potential.blended import GlobalPotential


@pytest.fixture(scope="module")
def exact():
    return barred_galaxy()


@pytest.fixture(scope="module")
def compiled(exact):
    return compile_potential(exact)


@pytest.mark.parametrize("make", [barred_galaxy, soft_galaxy])
def test_forces_agree_to_a_ten_thousandth_and_the_report_says_so(make):
    exact = make()
    compiled = compile_potential(exact)
    report = compiled.report
    assert report.median < 1e-6 and report.p95 < 1e-4 and report.maximum < 2e-3
    x = disc_points(2000)
    g, expected = compiled.gradient(x), exact.gradient(x)
    error = np.linalg.norm(g - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(error) < 1e-6 and error.max() < 3 * report.maximum
    assert "quintic spline" in str(report) and "kpc" in str(report)
    hessian, expected = compiled.hessian(x), exact.hessian(x)
    norm = np.linalg.norm(expected, axis=(1, 2), keepdims=True)
    assert np.percentile(np.abs(hessian - expected) / norm, 99) < 2e-3


def test_a_coarse_grid_reports_a_larger_error(exact, compiled):
    coarse = compile_potential(exact, nodes=(21, 21, 15))
    assert coarse.report.median > 30 * compiled.report.median


def test_a_cusp_needs_its_base(exact, compiled):
    blind = Learned()
    blind.base = None
    without = compile_potential(exact.with_inner(blind))
    assert without.report.p95 > 100 * compiled.report.p95


def test_derivatives_are_of_one_function(compiled):
    x = disc_points(500)
    x = np.concatenate([x, compiled.volume.sample(200, np.random.default_rng(0)), [[0.3, 0, 0]]])
    phi, grad, hess = compiled.evaluate(x, 2)
    step = 1e-4
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = compiled.evaluate(x + shift, 1), compiled.evaluate(x - shift, 1)
        size = np.linalg.norm(grad, axis=1)
        assert np.all(np.abs((up[0] - down[0]) / (2 * step) - grad[:, axis]) < 1e-5 * size + 1e-3)
        norm = np.linalg.norm(hess, axis=(1, 2))[:, None]
        assert np.all(np.abs((up[1] - down[1]) / (2 * step) - hess[:, axis]) < 1e-4 * norm)
    np.testing.assert_allclose(compiled.evaluate(x, 0)[0], phi, rtol=1e-14)
    np.testing.assert_allclose(compiled.evaluate(x, 1)[1], grad, rtol=1e-12)


def test_many_points_go_in_chunks(compiled):
    x = disc_points(20000)
    np.testing.assert_array_equal(compiled.gradient(x)[-7:], compiled.gradient(x[-7:]))


def test_a_ball_away_from_the_centre():
    volume = Ball([7.5, 2.7, 0.02] * u.kpc, 4 * u.kpc)
    report = compile_potential(GlobalPotential(MODEL, volume)).report
    assert report.median < 1e-6 and report.maximum < 1e-4


def test_arrays_round_trip(compiled):
    spline = compiled.inner
    again = SplinePotential.from_arrays(spline.to_arrays(), compiled.report.to_dict())
    x = disc_points(50)
    np.testing.assert_array_equal(again.evaluate(x, 1)[1], spline.evaluate(x, 1)[1])
    assert again.report == compiled.report
    with pytest.raises(ExportError, match="lacks"):
        SplinePotential.from_arrays({"axes": np.zeros((3, 4))})


def test_backends_are_never_mixed(exact, compiled):
    assert with_backend(exact, "exact") is exact
    assert with_backend(compiled, "compiled") is compiled
    with pytest.raises(ExportError, match="exact backend is in the model"):
        with_backend(compiled, "exact")
    with pytest.raises(ExportError, match="'fast'"):
        with_backend(exact, "fast")
    with pytest.raises(ExportError, match="at least 10 each"):
        compile_potential(exact, nodes=(5, 5, 5))


class Holed:
    def evaluate(self, x, order):
        phi, grad, hess = MODEL.evaluate(x, order)
        return np.where(np.abs(x[:, 0]) < 0.5, np.nan, phi), grad, hess


def test_a_potential_that_is_not_finite_is_refused(exact):
    with pytest.raises(ExportError, match="not finite"):
        compile_potential(exact.with_inner(Holed()))
