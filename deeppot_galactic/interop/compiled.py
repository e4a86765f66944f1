"""A learned potential compiled to a quintic spline: the same interface, a hundred times faster than a network.

Along each axis the coordinate is stretched, u = asinh((x - x_c) / s), so that equidistant nodes in u crowd where the galaxy is
concentrated. On the grid of nodes the values of Phi are interpolated by a tensor product of quintic B-splines,

    Phi(x) = sum_abc c_abc B_a(u_x) B_b(u_y) B_c(u_z),

four times continuously differentiable, so that gradient and Hessian are the exact derivatives of one function and symplectic
integrators conserve the energy. In each cell of the grid the six basis functions per axis are polynomials whose coefficients are
tabulated; a point needs its 6 x 6 x 6 coefficients (kept as overlapping rows of six, contiguous in memory) and three small products.

`compile_potential` replaces the inner potential of a `GlobalPotential` by its spline and keeps the continuation as it is. The spline
carries a report of its force error against what it was made from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline

from ..arguments import whole
from ..catalogue.volumes import Ball, Cylinder, Volume
from ..errors import ExportError
from ..potential.analytic import NFW, AnalyticPotential, Evaluation, InnerPotential, Sum, from_array, to_array
from ..potential.blended import GlobalPotential, as_global

Array = NDArray[np.float64]

NODES = (65, 65, 57)
"""Nodes per axis of the default grid."""
STRETCH = (0.12, 0.12, 0.22)
"""Scale s of the stretching per axis, as a fraction of the half width of the grid."""
DEGREE = 5
CHUNK = 1 << 10


@dataclass(frozen=True)
class ForceErrorReport:
    """Relative error |F - F_exact| / |F_exact| of a compiled backend at points of the training volume.

    Attributes
    ----------
    median, p95, maximum : float
        Median, 95 per cent and largest of the errors.
    where : tuple of float
        Place of the largest error [kpc].
    n : int
        Number of points.
    seconds : float
        Time to build.
    backend : str
        What was built.
    """

    median: float
    p95: float
    maximum: float
    where: tuple[float, float, float]
    n: int
    seconds: float
    backend: str

    def __str__(self) -> str:
        place = ", ".join(f"{value:.2f}" for value in self.where)
        return (
            f"{self.backend}: force error median {self.median:.1e}, 95 % {self.p95:.1e}, max {self.maximum:.1e} at ({place}) kpc,"
            f" {self.n} points, built in {self.seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            By attribute.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ForceErrorReport:
        """Inverse of `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives.

        Returns
        -------
        ForceErrorReport
        """
        return cls(**{**values, "where": tuple(values["where"])})


def check_points(volume: Volume, n: int, seed: int = 1) -> Array:
    """Points (n, 3) in kpc to test forces at: half uniform in the volume, half drawn towards its centre as stars are."""
    rng = np.random.default_rng(seed)
    x = volume.sample(n, rng)
    shrunk = volume.center + (x[: n // 2] - volume.center) * rng.uniform(0, 1, (n // 2, 1)) ** 1.5
    x[: n // 2] = np.where(volume.contains(shrunk)[:, None], shrunk, x[: n // 2])
    return x


def force_error(approximate: Array, exact: Array, x: Array, *, seconds: float, backend: str) -> ForceErrorReport:
    """Summarise forces (N, 3) against exact ones (N, 3) at points (N, 3)."""
    error = np.linalg.norm(approximate - exact, axis=1) / np.maximum(np.linalg.norm(exact, axis=1), 1e-300)
    worst = int(np.argmax(error))
    median, p95 = np.percentile(error, [50, 95])
    place = (float(x[worst, 0]), float(x[worst, 1]), float(x[worst, 2]))
    return ForceErrorReport(float(median), float(p95), float(error[worst]), place, len(x), seconds, backend)


class _Axis:
    """One stretched axis: nodes, and the basis functions as polynomials in each cell."""

    def __init__(self, parameters: Sequence[float], nodes: int) -> None:
        center, scale, low, high = self.parameters = tuple(parameters)
        self.center, self.scale = center, scale
        u = np.linspace(np.arcsinh((low - center) / scale), np.arcsinh((high - center) / scale), nodes)
        self.nodes = center + scale * np.sinh(u)
        self.nodes[[0, -1]] = low, high
        knots = make_interp_spline(u, np.zeros(nodes), k=DEGREE).t
        self.u, self.cells = u, knots[DEGREE : nodes + 1]
        basis = BSpline(knots, np.eye(nodes), DEGREE)
        taylor = np.stack([basis(self.cells[:-1], nu=p) / math.factorial(p) for p in range(DEGREE + 1)], axis=-1)
        # table[cell, power, function]: only functions cell .. cell + 5 differ from zero in a cell
        self.table = np.stack([taylor[j, j : j + DEGREE + 1].T for j in range(nodes - DEGREE)])


class SplinePotential:
    """Tensor-product quintic spline of a potential on a box (module docstring).

    Parameters
    ----------
    axes : array, shape (3, 4)
        Centre and scale of the stretching and the ends of the box, per axis [kpc].
    coefficients : array, shape (nx, ny, nz)
        B-spline coefficients [(km/s)^2].
    base : AnalyticPotential, optional
        Added to the spline: what cannot be interpolated, such as the cusp of a halo.
    report : ForceErrorReport, optional
        Error against the potential it was made from.
    """

    def __init__(
        self, axes: Array, coefficients: Array, *, base: AnalyticPotential | None = None, report: ForceErrorReport | None = None
    ) -> None:
        if coefficients.ndim != 3 or min(coefficients.shape) < 2 * DEGREE or not np.isfinite(coefficients).all():
            raise ExportError(f"spline coefficients must be finite, at least {2 * DEGREE} along each of three axes: {coefficients.shape}")
        self.coefficients = np.ascontiguousarray(coefficients, np.float64)
        self.axes = [_Axis(row, nodes) for row, nodes in zip(np.asarray(axes).tolist(), coefficients.shape, strict=True)]
        self.report = report
        self.base = base
        counts = [len(axis.table) for axis in self.axes]
        self._first = np.concatenate([[0], np.cumsum(counts)[:-1]])[:, None]
        self._last = np.array(counts)[:, None] - 1
        self._tables = np.concatenate([axis.table for axis in self.axes])
        self._starts = np.concatenate([axis.cells[:-1] for axis in self.axes])
        self._center, self._scale = (np.array([getattr(axis, name) for axis in self.axes])[:, None] for name in ("center", "scale"))
        self._low = np.array([axis.u[0] for axis in self.axes])[:, None]
        self._inverse_step = np.array([1 / (axis.u[1] - axis.u[0]) for axis in self.axes])[:, None]
        windows = np.lib.stride_tricks.sliding_window_view(self.coefficients, DEGREE + 1, axis=2)
        self._shape = windows.shape[:3]
        self._rows = np.ascontiguousarray(windows).reshape(-1, DEGREE + 1)
        step = np.arange(DEGREE + 1)
        self._block = (step[:, None] * self._shape[1] * self._shape[2] + step * self._shape[2]).ravel()

    def _basis(self, x: Array, order: int) -> tuple[NDArray[np.intp], Array]:
        """Cell indices (3, N), and the basis functions with their derivatives with respect to x (3, N, order + 1, 6)."""
        d = x.T - self._center
        u = np.arcsinh(d / self._scale)
        # nodes are equidistant in u; the first and the last cell of a not-a-knot spline span three of them
        cell = np.clip(((u - self._low) * self._inverse_step).astype(np.intp) - 2, 0, self._last)
        row = cell + self._first
        powers = np.empty((3, len(x), order + 1, DEGREE + 1))
        powers[:, :, 0, 0] = 1
        np.cumprod(np.broadcast_to((u - self._starts[row])[:, :, None], (3, len(x), DEGREE)), axis=2, out=powers[:, :, 0, 1:])
        if order >= 1:
            slope = 1 / np.hypot(d, self._scale)
            first = powers[:, :, 0, :-1] * np.arange(1, DEGREE + 1)
            powers[:, :, 1, 0] = 0
            powers[:, :, 1, 1:] = first * slope[:, :, None]
            if order >= 2:
                powers[:, :, 2, 1:] = first * (-d * slope**3)[:, :, None]
                powers[:, :, 2, 0] = 0
                powers[:, :, 2, 2:] += first[:, :, :-1] * np.arange(2, DEGREE + 1) * (slope**2)[:, :, None]
        return cell, powers @ np.take(self._tables, row, axis=0)

    def evaluate(self, x: Array, order: int) -> Evaluation:
        """Potential (N,), gradient (N, 3) and Hessian (N, 3, 3) at (N, 3) in kpc; a polynomial continues it a little outside the box."""
        if len(x) > CHUNK:
            parts = [self.evaluate(x[i : i + CHUNK], order) for i in range(0, len(x), CHUNK)]
            phi, grad, hess = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
            return np.asarray(phi), grad, hess
        n, k = len(x), order + 1
        (i, j, m), (bx, by, bz) = self._basis(x, order)
        # take and contiguous factors: four times faster than plain indexing and a transposed view
        rows = np.take(self._rows, ((i * self._shape[1] + j) * self._shape[2] + m)[:, None] + self._block, axis=0)
        table = (rows @ np.ascontiguousarray(np.swapaxes(bz, 1, 2))).reshape(n, 6, 6 * k)
        table = by[:, None] @ (bx @ table).reshape(n, k, 6, k)
        grad = hess = None
        if order >= 1:
            grad = np.stack([table[:, 1, 0, 0], table[:, 0, 1, 0], table[:, 0, 0, 1]], axis=1)
        if order >= 2:
            xy, xz, yz = table[:, 1, 1, 0], table[:, 1, 0, 1], table[:, 0, 1, 1]
            xx, yy, zz = table[:, 2, 0, 0], table[:, 0, 2, 0], table[:, 0, 0, 2]
            hess = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(n, 3, 3)
        phi = table[:, 0, 0, 0]
        if self.base is not None:
            return _add((phi, grad, hess), self.base.evaluate(x, order))
        return phi, grad, hess

    def to_arrays(self) -> dict[str, Array]:
        """Axes and coefficients for a model file."""
        arrays = {"axes": np.array([axis.parameters for axis in self.axes]), "coefficients": self.coefficients}
        return arrays if self.base is None else {**arrays, "base": to_array(self.base)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], report: Mapping[str, Any] | None = None) -> SplinePotential:
        """Inverse of `to_arrays`; missing arrays raise `ExportError`."""
        try:
            axes, coefficients = arrays["axes"], arrays["coefficients"]
        except KeyError as error:
            raise ExportError(f"the file lacks the spline array {error}") from None
        base = from_array(arrays["base"]) if "base" in arrays else None
        return cls(axes, coefficients, base=base, report=None if report is None else ForceErrorReport.from_dict(report))


def _add(one: Evaluation, two: Evaluation) -> Evaluation:
    phi, grad, hess = (None if a is None else a + b for a, b in zip(one, two, strict=True))
    return np.asarray(phi), grad, hess


def cusps(inner: InnerPotential) -> AnalyticPotential | None:
    """Cuspy components of an analytic potential, or of the analytic ``base`` of a learned one: splines cannot follow them."""
    model = inner if isinstance(inner, AnalyticPotential) else getattr(inner, "base", None)
    components = model.components if isinstance(model, Sum) else [model]
    found = [component for component in components if isinstance(component, NFW)]
    return Sum(found) if found else None


def spline_axes(volume: Volume, stretch: tuple[float, float, float] = STRETCH) -> Array:
    """Axes (3, 4) of a grid over the box around the volume, stretched about the plane, and about the centre of the galaxy if inside."""
    if isinstance(volume, Cylinder):
        half = np.array([volume.r_out, volume.r_out, volume.half_height])
    elif isinstance(volume, Ball):
        half = np.full(3, volume.radius)
    else:
        raise ExportError(f"cannot compile over a {type(volume).__name__}: expected a Cylinder or a Ball")
    low, high = volume.center - half, volume.center + half
    # a coordinate of the centre of the galaxy outside the box: crowd the nodes at the side nearest to it
    return np.column_stack([np.clip(0.0, low, high), half * np.asarray(stretch), low, high])


def spline_of(inner: InnerPotential, axes: Array, nodes: tuple[int, int, int] = NODES) -> SplinePotential:
    """Interpolate the values of ``inner`` on the grid of ``axes`` (3, 4) with so many ``nodes``."""
    grid = [_Axis(row, n) for row, n in zip(np.asarray(axes).tolist(), nodes, strict=True)]
    x = np.stack(np.meshgrid(*(axis.nodes for axis in grid), indexing="ij"), axis=-1).reshape(-1, 3)
    values = np.concatenate([inner.evaluate(x[i : i + CHUNK], 0)[0] for i in range(0, len(x), CHUNK)])
    base = cusps(inner)
    if base is not None:
        values = values - base.evaluate(x, 0)[0]
    values = values.reshape(nodes)
    if not np.isfinite(values).all():
        raise ExportError("the learned potential is not finite everywhere on the grid: it cannot be compiled")
    for a, axis in enumerate(grid):
        values = np.moveaxis(make_interp_spline(axis.u, values, k=DEGREE, axis=a).c, 0, a)
    return SplinePotential(axes, values, base=base)


def compile_potential(potential: Any, *, nodes: tuple[int, int, int] = NODES, n_check: int = 4000) -> GlobalPotential:
    """The same potential with its inner part replaced by a quintic spline; ``.inner.report`` says how well.

    Parameters
    ----------
    potential : PotentialModel or GlobalPotential
        Returned unchanged if it is compiled already.
    nodes : tuple of int
        Grid nodes along x, y, z.
    n_check : int
        Points at which forces are compared.

    Returns
    -------
    GlobalPotential
        With ``.report`` of its force error.

    Raises
    ------
    ExportError
        If the inner potential is not finite on the grid, the grid is too small, or ``n_check`` below one.
    """
    potential = as_global(potential)
    if not isinstance(potential, GlobalPotential):
        raise ExportError(f"cannot compile a {type(potential).__name__}: compile the potential it is made from")
    if isinstance(potential.inner, SplinePotential):
        return potential
    if not isinstance(nodes, tuple | list) or len(nodes) != 3 or min(nodes) < 2 * DEGREE:
        raise ExportError(f"the grid needs nodes along x, y and z, at least {2 * DEGREE} each, found {nodes}")
    n_check = whole(n_check, "n_check", least=1, error=ExportError)
    start = time.perf_counter()
    spline = spline_of(potential.inner, spline_axes(potential.volume), nodes)
    seconds = time.perf_counter() - start
    compiled = potential.with_inner(spline)
    x = check_points(potential.volume, n_check)
    name = f"quintic spline {'x'.join(map(str, nodes))}"
    spline.report = force_error(compiled.gradient(x), potential.gradient(x), x, seconds=seconds, backend=name)
    return compiled


def with_backend(potential: GlobalPotential, backend: str) -> GlobalPotential:
    """The potential in the backend asked for: "exact" (as learned) or "compiled" (spline).

    Raises
    ------
    ExportError
        For another name, or "exact" of a potential of which only the spline is there.
    """
    if backend == "compiled":
        return compile_potential(potential)
    if backend != "exact":
        raise ExportError(f"unknown backend {backend!r}: expected 'exact' or 'compiled'")
    if isinstance(getattr(potential, "inner", None), SplinePotential):
        raise ExportError("this potential is compiled: its exact backend is in the model it was made from")
    return potential
