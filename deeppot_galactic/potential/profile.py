r"""The loss of the linear solver as a function of Omega.

With the robust weights w, the prior P / tau^2 and the constraints density >= 0 of the free solution (`pointwise`, `linear`),

    L(Omega) = min_c [ sum w r(Omega, c)^2 + c^T P c / tau^2 ] / sum w,     r = d ln f / dt,

is the weighted mean square rate at which f changes in a frame that turns at Omega, in the potential that suits that frame best, with the
cost of that potential. Its least value is at the free solution's Omega. With c held there instead, L is a steeper parabola; how much
wider the first is says how much Phi and Omega stand in for one another, and a flat one that the scores do not fix Omega.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ..arguments import instance, whole
from ..errors import FitError, FrameError
from ..units import ANGULAR_SPEED, to_internal
from .analytic import AnalyticPotential
from .basis import basis_for
from .frame import RotatingFrame
from .linear import DensityPrior, LinearSolution, Quadratic, feasible
from .moments import WeakForm
from .pointwise import PointwiseSystem, iterate
from .recentred import about_axis
from .weak_fit import fit_base

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample

Array = NDArray[np.float64]
_SPAN, _STEPS = 20.0, 21  # least half width of the grid [km/s/kpc], and its size
_ROUNDS = 3  # of adding constraints at every speed; more of them cost seconds each where the density would be negative at many points


@dataclass(frozen=True)
class LossProfile:
    """The loss at other pattern speeds.

    Attributes
    ----------
    omega : Quantity, shape (K,)
        The grid [km/s/kpc].
    loss : Quantity, shape (K,)
        L(Omega), Phi following [(km/s/kpc)^2].
    held : Quantity, shape (K,)
        The same with Phi held at the free solution.
    best, error : Quantity
        Omega of the free solution, where both are least, and its error with Phi free to follow, statistical alone [km/s/kpc].
    """

    omega: u.Quantity
    loss: u.Quantity
    held: u.Quantity
    best: u.Quantity
    error: u.Quantity


def profile_loss(
    points: GradientSample,
    omegas: u.Quantity | None = None,
    *,
    frame: RotatingFrame | None = None,
    base: AnalyticPotential | None = None,
    n_max: int = 16_384,
    seed: int = 0,
) -> LossProfile:
    """Solve the linear problem with Omega held at each value of a grid.

    Parameters
    ----------
    points : GradientSample
        Points with scores, from `draw_gradients`.
    omegas : Quantity, shape (K,), optional
        The grid; by default 21 values about the free solution, to its size, or 20 km/s/kpc, on both sides.
    frame : RotatingFrame, optional
        Where the axis is (x0, v0); through the origin by default.
    base : AnalyticPotential, optional
        Of the linear basis, such as that of a fit; fitted to the stars where absent, which takes some seconds.
    n_max : int
        At most that many points are used, a random subset.
    seed : int
        Of that subset and of the points at which the density is constrained.

    Returns
    -------
    LossProfile

    Raises
    ------
    UnitsError
        For a grid without units of angular speed.
    FrameError
        For an axis of rotation that is not parallel to z, or if ``frame`` is no `RotatingFrame`.
    FitError
        For points without scores, or too few of them; for a grid that is not a list of finite numbers; for arguments of another class, and
        ``n_max`` or ``seed`` that are no whole numbers of at least 1 and 0.

    Examples
    --------
    >>> profile = profile_loss(points, base=None)                   # doctest: +SKIP
    >>> profile.omega[profile.loss.argmin()], profile.best          # doctest: +SKIP
    """
    from ..distribution.gradients import GradientSample  # torch comes with it, which a loaded model does without

    instance(points, GradientSample, "points", FitError)
    n_max, seed = whole(n_max, "n_max", least=1, error=FitError), whole(seed, "seed", error=FitError)
    frame = RotatingFrame() if frame is None else instance(frame, RotatingFrame, "frame", FrameError)
    if frame.omega_vector[:2].any():
        raise FrameError(f"the linear solver rotates about z alone, found Omega = {frame.omega_vector.tolist()} km/s/kpc")
    if base is not None:
        instance(base, AnalyticPotential, "base", FitError)
    grid = None if omegas is None else np.atleast_1d(to_internal(omegas, ANGULAR_SPEED, "omegas")).astype(float)
    if grid is not None and (grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all()):
        raise FitError(f"the grid of Omega must be a list of finite numbers, found the shape {grid.shape}")
    if not np.isfinite(points.score).all():
        raise FitError("a loss needs scores, and these points have none; draw_gradients makes them")
    about = about_axis(points, frame)[0]
    base = fit_base(WeakForm(about.points, about.volume, weights=points.weights), seed=seed) if base is None else base
    basis, weights = basis_for(about.volume), points.weights
    system = PointwiseSystem.of(about.points, about.score, about.volume, base, basis, weights, n_max, seed)
    prior = DensityPrior(basis, base, about.volume, seed=seed)
    solution, quadratic, total = iterate(system, prior)
    if grid is None:
        half = max(abs(solution.omega), _SPAN)
        grid = solution.omega + np.linspace(-half, half, _STEPS)
    follows, held = _losses(grid, solution, quadratic, prior)
    unit = ANGULAR_SPEED**2
    speeds = (u.Quantity(value, ANGULAR_SPEED) for value in (solution.omega, solution.omega_error))
    return LossProfile(u.Quantity(grid, ANGULAR_SPEED), u.Quantity(follows / total, unit), u.Quantity(held / total, unit), *speeds)


def _losses(grid: Array, solution: LinearSolution, quadratic: Quadratic, prior: DensityPrior) -> tuple[Array, Array]:
    """Sum of squares and cost of the prior at each Omega, with the coefficients following it and held: (K,) each."""
    precision, _ = prior.precision(solution.scales)
    factor = cho_factor(quadratic.hessian[1:, 1:] + precision, lower=True)

    def loss(omega: float, c: Array) -> float:
        return quadratic.chi2(np.concatenate([[omega], c])) + float(c @ precision @ c)

    follows = []
    for omega in grid:
        free = -cho_solve(factor, quadratic.slope[1:] + quadratic.hessian[1:, 0] * omega)
        follows.append(loss(omega, feasible(free, factor, prior, rounds=_ROUNDS)[0]))
    return np.array(follows), np.array([loss(omega, solution.coefficients) for omega in grid])
