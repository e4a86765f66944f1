"""Wrong calls a user makes: each ends in one line of the package's own errors that names what was wrong."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

import deeppot_galactic as dg
from deeppot_galactic import campaign, dynamics, interop, mocks
from deeppot_galactic.catalogue.copies import error_copies
from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction, StoredSelection
from deeppot_galactic.demo import demo_config
from deeppot_galactic.distribution import ensemble
from deeppot_galactic.errors import DeepPotError
from deeppot_galactic.potential import profile_loss
from deeppot_galactic.potential.analytic import NFW, MiyamotoNagai, from_array, from_list
from deeppot_galactic.potential.matter import dark_matter_density, dark_matter_profile, smoothed_density, smoothed_density_error
from deeppot_galactic.report.diagnostics import diagnose

SPEED = u.km / u.s / u.kpc
DISC = dg.Cylinder(r_out=10 * u.kpc, half_height=2 * u.kpc)
BALL = dg.Ball([0, 0, 0] * u.kpc, 3 * u.kpc).to_dict()
FRAME = dg.RotatingFrame(omega=39 * SPEED)
STORED = FRAME.to_dict()
MODEL = dg.PotentialModel(MiyamotoNagai(5e10, 3.0, 0.3) + NFW(6e11, 16.0), DISC, FRAME, omega_error=np.zeros(3))
STARS = dg.Tracers(np.random.default_rng(0).normal(0, 1, (2000, 6)) * [3, 3, 0.3, 60, 60, 30])
SAMPLE = dg.GradientSample.of_stars(STARS, DISC)
DRAWN = dg.GradientSample(SAMPLE.points, np.zeros(len(SAMPLE)), -SAMPLE.points, volume=DISC)
BLURRED = dg.Tracers(STARS.phase_space, covariance=np.tile(np.eye(6), (len(STARS), 1, 1)))
UNWEIGHTED = dg.Tracers(STARS.phase_space, weights=np.zeros(len(STARS)))
PLACE, MOTION = [[8.0, 0, 0]] * u.kpc, [[0, 200.0, 0]] * u.km / u.s
EDGES, WIDTH, DENSITY = [1, 2] * u.kpc, 0.1 * u.kpc, u.Msun / u.kpc**3
RNG = np.random.default_rng(1)
MAP = np.ones((12, 3))
FAR = [1, 2, 3] * u.kpc


def sample(weights: np.ndarray) -> dg.GradientSample:
    return dg.GradientSample(SAMPLE.points, SAMPLE.log_density, SAMPLE.score, volume=DISC, weights=weights)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    # potential
    "circular speed of bare numbers": (lambda: MODEL.circular_speed([1.0, 2.0]), "radius has no unit"),
    "circular speed at speeds": (lambda: MODEL.circular_speed([1.0] * u.km / u.s), "cannot be converted to kpc"),
    "circular speed at negative radii": (lambda: MODEL.circular_speed([-1.0] * u.kpc), "radius must be finite lengths >= 0"),
    "circular speed on a grid": (lambda: MODEL.circular_speed([[1.0, 2.0]] * u.kpc), "shape"),
    "no azimuths": (lambda: MODEL.circular_speed(3 * u.kpc, n_azimuth=0), "n_azimuth must be a whole number of at least 1"),
    "units for the bare potential": (lambda: MODEL.global_potential.potential([[1, 2, 3]] * u.pc), "bare numbers here.*in pc"),
    "two components of Omega": (lambda: dg.GlobalPotential(MODEL.inner, DISC, omega=(0, 1)), "omega must be three numbers"),
    "no file": (lambda: dg.load(None), "must be a path, found None"),  # type: ignore[arg-type]
    "analytic potentials of nothing": (lambda: from_list(None), "list of mappings"),  # type: ignore[arg-type]
    "an analytic potential by name": (lambda: from_list([["NFW", 1]]), "mapping with its type"),  # type: ignore[list-item]
    "an analytic potential with text": (lambda: from_list([{"type": "NFW", "m": "heavy", "a": 1}]), "NFW: "),
    "rows of an analytic potential": (lambda: from_array([[0, 1.0]]), "too short for a Plummer"),
    "negative smoothing": (lambda: smoothed_density(MODEL, PLACE, width=-1 * u.kpc), "width must be one length >= 0"),
    "negative seed of a kernel": (lambda: smoothed_density(MODEL, PLACE, width=WIDTH, seed=-1), "seed must be a whole number"),
    "density of a word": (lambda: smoothed_density("x", PLACE, width=WIDTH), "must be a PotentialModel"),  # type: ignore[arg-type]
    "error of a word": (lambda: smoothed_density_error("x", PLACE, width=WIDTH), "must be a PotentialModel"),  # type: ignore[arg-type]
    "dark matter of a word": (lambda: dark_matter_density("x", PLACE, len), "must be a PotentialModel"),  # type: ignore[arg-type]
    "profile of a word": (lambda: dark_matter_profile("x", EDGES), "must be a PotentialModel"),  # type: ignore[arg-type]
    "shells without end": (lambda: dark_matter_profile(MODEL, [1, np.nan] * u.kpc), "radii must be at least 2 increasing"),
    "shells that are bare": (lambda: dark_matter_profile(MODEL, [1, 2]), "radii has no unit"),
    "less than no points": (lambda: dark_matter_profile(MODEL, EDGES, n=-2), "n must be a whole number of at least 1, found -2"),
    "shells without points": (lambda: dark_matter_profile(MODEL, EDGES, n=0), "n must be a whole number of at least 1, found 0"),
    "negative seed of shells": (lambda: dark_matter_profile(MODEL, EDGES, seed=-1), "seed must be a whole number"),
    "five densities": (lambda: dark_matter_density(MODEL, PLACE, lambda x: np.ones(5) * DENSITY), "one density for each of 1 positions"),
    "one density": (lambda: dark_matter_profile(MODEL, EDGES, stars=lambda x: 1 * DENSITY), "one density for each of 2000 positions"),
    "negative seed of a model": (lambda: dg.GlobalPotential(MODEL.inner, DISC, seed=-1), "seed must be a whole number"),
    "stars that are no function": (lambda: dark_matter_density(MODEL, PLACE, 3), "function of positions"),  # type: ignore[arg-type]
    # frames
    "frame from nothing": (lambda: dg.RotatingFrame.from_dict({}), "rotating frame has no 'omega'; found nothing"),
    "frame from None": (lambda: dg.RotatingFrame.from_dict(None), "must be a mapping"),  # type: ignore[arg-type]
    "frame from text": (lambda: dg.RotatingFrame.from_dict({**STORED, "omega": "fast"}), "omega must be numbers, found 'fast'"),
    "misspelt key of a frame": (lambda: dg.RotatingFrame.from_dict({**STORED, "omgea": 1}), "unknown 'omgea'"),
    "half a prior": (lambda: dg.RotatingFrame.from_dict({**STORED, "prior": {"omega_z": [1]}}), "rotating frame is damaged"),
    "prior of nothing": (lambda: dg.RotatingFrame.from_dict({**STORED, "prior": {"foo_z": [1, 1]}}), "prior on foo_z"),
    "free as a word": (lambda: dg.RotatingFrame(omega=39 * SPEED, free="omega_z"), "must be a tuple"),  # type: ignore[arg-type]
    "prior without sigma": (lambda: dg.RotatingFrame(prior={"omega_z": 3 * SPEED}), r"must be \(mean, sigma\)"),  # type: ignore[dict-item]
    "prior that is not finite": (lambda: dg.RotatingFrame(prior={"omega_z": (np.nan * SPEED, 1 * SPEED)}), "finite mean"),
    "flat offset": (lambda: FRAME.with_vectors(np.zeros(3), x0=np.zeros(2)), "x0 must be three finite numbers"),
    "freedom twice": (lambda: dg.RotatingFrame(free=("omega_z", "omega_z")), "'omega_z' is named twice"),
    "negative error": (lambda: FRAME.starting_from(30.0, -1.0), "standard error of omega_z must be positive"),
    # volumes
    "volume from None": (lambda: dg.Volume.from_dict(None), "description of a volume must be a mapping"),  # type: ignore[arg-type]
    "volume of no kind": (lambda: dg.Volume.from_dict({"radius": 3}), "volume has no 'kind'; found radius"),
    "ball without centre": (lambda: dg.Volume.from_dict({"kind": "ball", "radius": 3}), "no 'center'"),
    "ball with more": (lambda: dg.Volume.from_dict({**BALL, "r_out": 4}), "ball has an unknown 'r_out'"),
    "ball in words": (lambda: dg.Volume.from_dict({**BALL, "radius": "3 kpc"}), "radius must be numbers, found '3 kpc'"),
    "places in words": (lambda: DISC.contains([["a", "b", "c"]]), "positions must be numbers"),
    "a wide taper": (lambda: DISC.boundary_weight([[1, 2, 3]], taper="wide"), "taper must be numbers"),  # type: ignore[arg-type]
    "minus one point": (lambda: DISC.sample(-1, RNG), "n must be a whole number of at least 0, found -1"),
    "a seed for a generator": (lambda: DISC.sample(1, 0), "rng must be a Generator, found a int"),  # type: ignore[arg-type]
    "a mask by name": (lambda: DISC.masked("mask.fits"), "mask must be a Mask"),  # type: ignore[arg-type]
    "mask of a name": (lambda: Mask("map"), "selection of a mask must be a SelectionFunction"),  # type: ignore[arg-type]
    # tracers
    "no catalogue": (lambda: dg.read_tracers(3), "must be a path, found 3"),  # type: ignore[arg-type]
    "a number as cut": (lambda: dg.read_tracers(dg.demo_path(), where=3), "where must be a cut"),
    "stars in words": (lambda: dg.Tracers([["a"] * 6]), "phase space .* must be numbers"),
    "stars with one unit": (lambda: dg.Tracers(np.ones((2, 6)) * u.kpc), "must be bare numbers here"),
    "weights in words": (lambda: dg.Tracers(np.ones((2, 6)), weights="w"), "weights must be numbers"),
    "negative weights": (lambda: dg.Tracers(np.ones((2, 6)), weights=[-1, 1]), r"finite numbers >= 0, found .* with 1 that are not"),
    "stars without weight": (lambda: UNWEIGHTED.within(DISC), "stars have weight zero"),
    "negative seed of errors": (lambda: BLURRED.redraw(-1), "seed must be a whole number"),
    "negative seed of copies": (lambda: error_copies(BLURRED, seed=-1), "seed must be a whole number"),
    "half a pair": (lambda: error_copies(BLURRED, n_pairs=0.5), "n_pairs must be a whole number"),  # type: ignore[arg-type]
    "an unknown frame": (lambda: dg.Tracers(np.ones((2, 6)), frame="v99"), "v99"),
    "a star that is not there": (lambda: STARS.select(np.array([10**9])), "index 1000000000; there are 2000 stars"),
    "a volume by name": (lambda: STARS.within("disc"), "volume must be a Volume, found a str"),  # type: ignore[arg-type]
    "two centres": (lambda: STARS.relative_to([[0, 0, 0]] * 2 * u.kpc, [0, 0, 0] * u.km / u.s), "one vector each"),
    # selection
    "selection in words": (lambda: SelectionFunction.from_callable(lambda x: ["a"] * len(x))(np.zeros((2, 3))), "must be numbers"),
    "no step": (lambda: SelectionFunction.from_callable(len, step=0 * u.kpc), "step .* must be a positive length"),  # type: ignore[arg-type]
    "a map by name": (lambda: SelectionFunction.from_healpix("map.fits", FAR), "table must be numbers"),
    "taper in words": (lambda: SelectionFunction.from_distance_limit(np.ones(12) * u.kpc, taper="a"), "taper"),  # type: ignore[arg-type]
    "selection from nothing": (lambda: StoredSelection.from_dict({}), "selection function has no 'frame'"),
    "mask from nothing": (lambda: Mask.from_dict({}), "mask has no 'selection'"),
    # pattern speed, distribution, fit
    "swapped arguments": (lambda: dg.pattern_speed(DISC, STARS), "tracers must be a Tracers, found a Cylinder"),  # type: ignore[arg-type]
    "a table for tracers": (lambda: dg.pattern_speed(Table(), DISC), "tracers must be a Tracers, found a Table"),  # type: ignore[arg-type]
    "one bootstrap sample": (lambda: dg.pattern_speed(STARS, DISC, n_bootstrap=1), "n_bootstrap must be a whole number of at least 2"),
    "seed in words": (lambda: dg.pattern_speed(STARS, DISC, seed="a"), "seed must be a whole number"),  # type: ignore[arg-type]
    "negative seed of a bootstrap": (lambda: dg.pattern_speed(STARS, DISC, seed=-1), "seed must be a whole number"),
    "pattern speed without weight": (lambda: dg.pattern_speed(UNWEIGHTED, DISC), "stars have weight zero"),
    "fit without weight": (lambda: dg.fit_distribution(UNWEIGHTED, DISC, preset="quick"), "stars have weight zero"),
    "a share in words": (lambda: dg.fit_distribution(STARS, DISC, validation_fraction="x"), "validation_fraction"),  # type: ignore[arg-type]
    "fit of a volume": (lambda: dg.fit_distribution(DISC, STARS), "tracers must be a Tracers"),  # type: ignore[arg-type]
    "steps in words": (lambda: dg.fit_distribution(STARS, DISC, preset="quick", steps="many"), "steps must be a whole number"),
    "rate in words": (lambda: dg.fit_distribution(STARS, DISC, preset="quick", rate="slow"), "rate must be a positive number"),
    "another device": (lambda: dg.fit_distribution(STARS, DISC, preset="quick", device="gpu"), "no device 'gpu' here"),
    "negative seed": (lambda: dg.fit_distribution(STARS, DISC, preset="quick", seed=-1), "seed must be a whole number"),
    "an executor by name": (lambda: dg.fit_distribution(STARS, DISC, executor="threads"), "executor must be"),  # type: ignore[arg-type]
    "gradients of nothing": (lambda: dg.draw_gradients(None), "df must be a Distribution"),  # type: ignore[arg-type]
    "lists for arrays": (lambda: dg.GradientSample([], [], [], volume=DISC), "points must be a ndarray"),  # type: ignore[arg-type]
    "sample without weight": (lambda: dg.GradientSample.of_stars(UNWEIGHTED, DISC), "stars have weight zero"),
    "points without weight": (lambda: sample(np.zeros(len(SAMPLE))), "stars have weight zero"),
    "points of negative weight": (lambda: sample(np.full(len(SAMPLE), -1.0)), "finite numbers >= 0"),
    "points with few weights": (lambda: sample(np.ones(3)), "finite numbers >= 0, found shape"),
    "potential of tracers": (lambda: dg.fit_potential(STARS), "points must be a GradientSample"),  # type: ignore[arg-type]
    "a speed for a frame": (lambda: dg.fit_potential(SAMPLE, method="weak", frame=39 * SPEED), "frame must be a RotatingFrame"),  # type: ignore[arg-type]
    "negative seed of a fit": (lambda: dg.fit_potential(SAMPLE, seed=-1), "seed must be a whole number"),
    "a network without width": (lambda: dg.fit_potential(SAMPLE, width=0), "width must be a whole number of at least 1, found 0"),
    "turn without a network": (lambda: dg.fit_potential(SAMPLE, method="weak", turn=True), "'turn' belongs to method 'network'"),
    "steps without a network": (lambda: dg.fit_potential(SAMPLE, method="linear", steps=3), "'steps' belongs to method 'network'"),
    "ensemble of nothing": (lambda: dg.fit_ensemble(None), "points must be a GradientSample"),  # type: ignore[arg-type]
    "members in words": (lambda: dg.fit_ensemble(SAMPLE, members="3"), "members must be a whole number"),  # type: ignore[arg-type]
    "half a member": (lambda: dg.fit_ensemble(SAMPLE, members=2.5), "members must be a whole number"),  # type: ignore[arg-type]
    "negative seed of an ensemble": (lambda: dg.fit_ensemble(SAMPLE, seed=-1), "seed must be a whole number"),
    "half a fit": (lambda: ensemble.fit_ensemble(STARS, DISC, members=2.5), "members must be a whole number"),  # type: ignore[arg-type]
    "negative seed of fits": (lambda: ensemble.fit_ensemble(STARS, DISC, seed=-1), "seed must be a whole number"),
    "loss of tracers": (lambda: profile_loss(STARS), "points must be a GradientSample"),  # type: ignore[arg-type]
    "loss in a speed": (lambda: profile_loss(DRAWN, frame=39 * SPEED), "frame must be a RotatingFrame"),  # type: ignore[arg-type]
    "loss on a word": (lambda: profile_loss(DRAWN, base="NFW"), "base must be a AnalyticPotential"),  # type: ignore[arg-type]
    "loss of no points": (lambda: profile_loss(DRAWN, n_max=0), "n_max must be a whole number of at least 1"),
    "negative seed of a loss": (lambda: profile_loss(DRAWN, seed=-1), "seed must be a whole number"),
    "negative seed of a report": (lambda: diagnose(None, None, seed=-1), "seed must be a whole number"),
    # dynamics
    "an orbit in words": (lambda: dynamics.integrate_orbits("bar", PLACE, MOTION, [0, 1] * u.Gyr), "expected a potential .* found a str"),
    "resonances of stars": (lambda: dynamics.resonances(STARS), "found a Tracers"),
    "m = 0": (lambda: dynamics.resonances(MODEL, m=[0]), "each of m must be a whole number of at least 1"),
    "an empty range": (lambda: dynamics.resonances(MODEL, r_min=5 * u.kpc, r_max=2 * u.kpc), "0 < r_min < r_max"),
    "no tolerance": (lambda: dynamics.integrate_orbits(MODEL, PLACE, MOTION, [0, 1] * u.Myr, tolerance=-1), "tolerance must be positive"),
    "negative radii": (lambda: dynamics.rotation_curve(MODEL, [-1, 2] * u.kpc), "radii must be finite lengths >= 0"),
    "two heights": (lambda: dynamics.vertical_force(MODEL, 8 * u.kpc, height=[1, 2] * u.kpc), "height must be one length"),
    "edges that fall": (lambda: dynamics.asymmetric_drift(STARS.pos, STARS.vel, [3, 2] * u.kpc), "edges must be at least 2 increasing"),
    "too few velocities": (lambda: dynamics.asymmetric_drift(STARS.pos, STARS.vel[:4], FAR), "they must agree"),
    "too few weights": (lambda: dynamics.measure_bar(STARS.pos, weights=[1, 2]), "weights must be 2000"),
    "weights of an angle": (lambda: dynamics.bar_angle(STARS.pos, r_max=3 * u.kpc, weights=[1]), "weights must be 2000"),
    "stars without motion": (lambda: dynamics.classify_stars(MODEL, STARS.pos, STARS.vel[:3]), "they must agree"),
    "weights of nothing": (lambda: dynamics.resonance_fractions(np.ones(2), weights=[0, 0]), "all 2 stars have weight zero"),
    "negative seed of stars": (lambda: dynamics.classify_stars(MODEL, STARS.pos, STARS.vel, seed=-1), "seed must be a whole number"),
    "escape from negative radii": (lambda: dynamics.escape_speed(MODEL, [-1] * u.kpc), "radii must be finite lengths >= 0"),
    "escape from a word": (lambda: dynamics.escape_speed("bar", FAR), "expected a potential"),
    "no ratios": (lambda: dynamics.resonance_fractions(np.array([])), "no stars"),
    "an angle in kpc": (lambda: dynamics.lagrange_points(MODEL, bar_angle=3 * u.kpc), "bar_angle is in kpc"),
    "the mean of a word": (lambda: dynamics.axisymmetrize("bar"), "expected a potential"),  # type: ignore[arg-type]
    # interop, mocks, campaigns
    "a coarse grid": (lambda: interop.compile_potential(MODEL, nodes=9), "nodes along x, y and z"),  # type: ignore[arg-type]
    "nothing to export": (lambda: interop.to_galpy("bar"), "expected a potential"),
    "negative ro": (lambda: MODEL.to_galpy(ro=-8.0), "ro must be one positive number"),
    "vo in kpc": (lambda: MODEL.to_galpy(vo=220 * u.kpc), "vo is in kpc"),
    "unknown units": (lambda: MODEL.to_gala(units="metric"), "unit systems"),
    "a bar with units": (lambda: mocks.GaussianBar(omega=40 * SPEED), "omega must be bare numbers"),  # type: ignore[arg-type]
    "a light disc": (lambda: mocks.BarredPotential(disc_mass=-1.0), "disc_mass must not be negative"),
    "negative seed of a mock": (lambda: mocks.GaussianBar().tracers(10, seed=-1), "seed must be a whole number"),
    "negative seed of a sky": (lambda: mocks.observe(STARS, seed=-1), "seed must be a whole number"),
    "one seed": (lambda: campaign.variations(demo_config(), seeds=3), "seeds must be several numbers"),  # type: ignore[arg-type]
    "a volume as number": (lambda: campaign.variations(demo_config(), volumes={"a": 3}), "must be a mapping"),  # type: ignore[dict-item]
    "a run elsewhere": (lambda: campaign.run_all({"../a": demo_config()}, "runs"), "cannot be the name of a folder"),
}
NEEDS = {"negative ro": "galpy", "vo in kpc": "galpy", "nothing to export": "galpy", "unknown units": "gala"}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_ends_in_one_clear_line(name: str) -> None:
    call, message = WRONG[name]
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    with pytest.raises(DeepPotError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["galpy", "gala"])
def test_a_missing_host_is_named_with_its_extra(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == host else found(name, *rest))
    for export in (getattr(MODEL, f"to_{host}"), lambda: getattr(interop, f"to_{host}")(MODEL)):
        with pytest.raises(DeepPotError, match=rf"{host} is not installed: pip install 'deeppot-galactic\[{host}\]'"):
            export()


def test_calls_that_look_wrong_and_are_right() -> None:
    assert np.array_equal(dynamics.rotation_curve(MODEL, [0.0, 8.0] * u.kpc).value[:1], [0.0])
    assert MODEL.circular_speed(0 * u.kpc).value == 0.0
    assert [one.radius for one in dynamics.resonances(MODEL, m=2)] == [one.radius for one in dynamics.resonances(MODEL, m=(2,))]
    assert dynamics.axisymmetrize(MODEL).potential([[8.0, 0, 0]]).shape == (1,)  # type: ignore[arg-type]
    assert dg.Tracers(np.ones((2, 6)), frame="v4.0").to_sky()["ra"].shape == (2,)
    assert dg.Volume.from_dict({**BALL, "mask": None}) == dg.Volume.from_dict(BALL)
    assert len(DISC.sample(0, RNG)) == 0 and len(DISC.sample(1e2, RNG)) == 100  # type: ignore[arg-type]
    assert dg.RotatingFrame.from_dict(STORED).to_dict() == STORED
