"""All numbers of a report in one place: what `diagnose` returns is what the figures draw and the page quotes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import whole
from ..inputs import Field, PointsLike, PotentialLike, scores
from .forces import HEIGHT_RANGE, RADIAL_RANGE, Comparison, compare, negative_fraction
from .rotation import RotationCurve, rotation_curve
from .stationarity import Stationarity, coherent_rms, non_stationarity
from .structure import BarExtent, HarmonicProfile, bar_extent, harmonic_profile

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """The volume as the pictures need it: ``centre`` (3,), ``radius`` and ``half_height`` in kpc, ``whole_disc``
    (circles about the origin lie in it), ``masked`` (some of it is left out), ``axis`` (a point of the axis of rotation, kpc).
    """

    centre: Array
    radius: float
    half_height: float
    whole_disc: bool
    masked: bool = False
    axis: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, volume: Any, points: Array | None = None) -> Region:
        """The region of a volume; without one, what the points span.

        Parameters
        ----------
        volume : Volume or None
            Of the fit.
        points : array (N, 3) or (N, 6), optional
            Positions [kpc] in the first three columns.

        Returns
        -------
        Region
        """
        if volume is None:
            reach = 1.0 if points is None else float(np.percentile(np.hypot(points[:, 0], points[:, 1]), 99.5))
            height = 1.0 if points is None else float(np.percentile(np.abs(points[:, 2]), 99.5))
            return cls(np.zeros(3), reach, height, True)
        centre = np.asarray(getattr(volume, "center", np.zeros(3)), dtype=np.float64)
        radius = float(getattr(volume, "r_out", None) or getattr(volume, "radius", None) or volume.size)
        half_height = float(getattr(volume, "half_height", radius))
        about_axis = bool(np.hypot(centre[0], centre[1]) < 0.05 * radius)
        return cls(centre, radius, half_height, about_axis, getattr(volume, "mask", None) is not None)

    @property
    def holds_the_axis(self) -> bool:
        """Whether a bar can be seen as a whole in it, as `deeppot_galactic.potential.annuli.holds_the_axis` has it."""
        beside = np.asarray(self.centre) - self.axis
        return bool(np.hypot(beside[0], beside[1]) <= self.radius) and not self.masked

    @property
    def outer_radius(self) -> float:
        """Largest galactocentric radius in the region [kpc]."""
        return float(np.hypot(self.centre[0], self.centre[1]) + self.radius)

    @property
    def inner_radius(self) -> float:
        """Smallest galactocentric radius in the region [kpc]."""
        return max(0.0, float(np.hypot(self.centre[0], self.centre[1]) - self.radius))


@dataclass(frozen=True)
class Diagnosis:
    """Numbers about a run; None where the points, the model or the truth are missing.

    Attributes
    ----------
    region : Region
        Where the fit was made.
    stars : array (N, 6)
        The points of the fit (kpc, km/s).
    field : Field
        The fitted potential.
    profile, bar : HarmonicProfile, BarExtent
        A_2/A_0(R) of the stars and the bar found in it (whole discs only).
    stationarity : Stationarity
        d ln f/dt in both frames.
    forces, densities : Comparison
        Fit against truth inside the training volume.
    curve : RotationCurve
        Of the fit.
    negative : float
        Fraction of the stars at which the fitted density is negative.
    truth : Truth
        What it was compared with.
    weights : array (N,)
        Of the points, where the stars of the fit have weights.
    """

    region: Region
    stars: Array | None
    field: Field | None
    profile: HarmonicProfile | None
    bar: BarExtent | None
    stationarity: Stationarity | None
    forces: Comparison | None
    densities: Comparison | None
    curve: RotationCurve | None
    negative: float | None
    truth: Any = None
    weights: Array | None = None

    @property
    def omega(self) -> float | None:
        """Pattern speed of the fit about z [km/s/kpc]."""
        return None if self.field is None else float(self.field.omega[2])

    @property
    def corotation(self) -> float | None:
        """Outermost corotation radius of the fit [kpc], None if there is none in the volume."""
        if self.curve is None or not self.omega:
            return None
        radii = self.curve.resonances(self.omega)["corotation"]
        return radii[-1] if radii else None

    def coherent(self) -> tuple[float, float] | None:
        """Root mean square over the plane of the mean d ln f/dt per pixel, noise removed.

        Returns
        -------
        rotating, lab : float, or None
            In both frames [km/s/kpc]; None without points or a potential.
        """
        s = self.stationarity
        if s is None or len(s.x) == 0:
            return None
        edges = np.linspace(-self.region.radius, self.region.radius, 25)
        x, y = s.x[:, 0] - self.region.centre[0], s.x[:, 1] - self.region.centre[1]
        rotating, lab = (coherent_rms(x, y, rate, edges, weights=s.weights) for rate in (s.rotating, s.lab))
        return rotating, lab

    def summary(self) -> dict[str, Any]:
        """Numbers for ``summary.json``.

        Returns
        -------
        dict
            ``force_error``, ``density_error``, ``stationarity``, ``bar``, ``corotation`` [kpc], ``negative_density``; None where unknown.
        """
        limits = self.error_range()
        stationarity = None if self.stationarity is None else self.stationarity.summary()
        coherent = self.coherent()
        if stationarity is not None and coherent is not None:
            stationarity |= {"rotating_coherent": coherent[0], "lab_coherent": coherent[1]}
        bar = self.bar
        return {
            "force_error": None if self.forces is None else self.forces.summary(*limits),
            "density_error": None if self.densities is None else self.densities.summary(*limits),
            "stationarity": stationarity,
            "bar": None
            if bar is None
            else {"length": bar.length, "angle": bar.angle, "strength": bar.strength, "peak_radius": bar.peak_radius},
            "corotation": self.corotation,
            "negative_density": self.negative,
        }

    def error_range(self) -> tuple[float, float, float]:
        """Where errors are quoted: 1 < R < 12 kpc, |z| < 1.5 kpc in a whole disc, everywhere in another volume.

        Returns
        -------
        r_min, r_max, z_max : float
            kpc.
        """
        if not self.region.whole_disc or self.region.radius < 2 * RADIAL_RANGE[0]:
            return 0.0, float("inf"), float("inf")
        return (*RADIAL_RANGE, HEIGHT_RANGE)


def diagnose(points: PointsLike | None, model: PotentialLike | None, truth: Any = None, *, seed: int = 0) -> Diagnosis:
    """Compute every number of the report.

    Parameters
    ----------
    points : GradientSample or look-alike, optional
        Points with scores.
    model : PotentialModel or look-alike, optional
        The fitted potential.
    truth : Truth or look-alike, optional
        What is known of the true potential; any attribute may be None or missing.
    seed : int
        For the draw of the stars at which the density is checked.

    Returns
    -------
    Diagnosis

    Raises
    ------
    DeepPotError
        For a seed that is no whole number of at least 0.
    """
    rng = np.random.default_rng(whole(seed, "seed"))
    stars = None if points is None else np.asarray(points.points, dtype=np.float64)
    weights = None if points is None or points.weights is None else np.asarray(points.weights, dtype=np.float64)
    volume = getattr(points, "volume", None) if points is not None else getattr(model, "volume", None)
    region, fitted = Region.of(volume, stars), None if model is None else Field(model)
    if fitted is not None and fitted.x0 is not None:
        region = replace(region, axis=tuple(fitted.x0))

    profile = bar = None
    if stars is not None and region.whole_disc:
        bins = int(np.clip(len(stars) / 400, 8, 32))
        profile = harmonic_profile(stars, edges=np.linspace(0, region.radius, bins + 1), weights=weights)
        bar = bar_extent(profile)

    stationarity = curve = negative = None
    if fitted is not None and points is not None and stars is not None:
        score = scores(points)
        if score is not None:
            gradient = -fitted.acceleration(stars[:, :3])
            stationarity = non_stationarity(stars, score, gradient, fitted.omega, x0=fitted.x0, v0=fitted.v0, weights=weights)
        some = rng.choice(len(stars), min(4096, len(stars)), replace=False)
        negative = negative_fraction(fitted.density(stars[some, :3]), weights=None if weights is None else weights[some])
    if fitted is not None and region.whole_disc:
        curve = rotation_curve(fitted.acceleration, np.linspace(0.01, 1.0, 160) * region.radius)
    return Diagnosis(region, stars, fitted, profile, bar, stationarity, *_against(truth, fitted), curve, negative, truth, weights)


def _against(truth: Any, fitted: Field | None) -> tuple[Comparison | None, Comparison | None]:
    """Accelerations and densities of the fit at the points of the truth."""
    positions = getattr(truth, "positions", None)
    if fitted is None or positions is None:
        return None, None
    positions = np.asarray(positions, dtype=np.float64)
    inside = fitted.inside(positions)
    acceleration, density = getattr(truth, "accelerations", None), getattr(truth, "density", None)
    forces = (
        None
        if acceleration is None
        else compare(positions, fitted.acceleration(positions), np.asarray(acceleration, dtype=np.float64), inside)
    )
    densities = None if density is None else compare(positions, fitted.density(positions), np.asarray(density, dtype=np.float64), inside)
    return (forces if forces is not None and len(forces.fit) else None), (
        densities if densities is not None and len(densities.fit) else None
    )
