r"""The weak form of stationarity: linear equations for Phi and Omega that need no estimate of f.

Let psi(x, v) be smooth with compact support in the volume. Multiply the collisionless Boltzmann equation in the rotating frame
(Kalda, Green & Ghosh 2023, equations 3-5) by psi, integrate, and move every derivative onto psi: over stars drawn from f,

    < (v - u) . grad_x psi - (grad Phi + w) . grad_v psi > = 0,     u = Omega x x,  w = Omega x v,  Omega = Omega e_z.

We take psi = beta_j(x) p(x, v) with beta_j = g(x) B_j(x), g the volume's boundary weight and B_j a coarse basis, and four fields

    p = 1 (continuity),   p = x v_x + y v_y = R v_R,   p = x v_y - y v_x = L_z,   p = z v_z,

smooth on the axis too. They commute with rotation about z, so that Omega enters only through E_j = d beta_j / d phi. With
D_j = v . grad beta_j the equations per star are

    1     :  D - Omega E
    R v_R :  p D + beta (v_x^2 + v_y^2) - Omega p E - beta (x d_x + y d_y) Phi
    L_z   :  p D                        - Omega p E - beta d_phi Phi
    z v_z :  p D + beta v_z^2           - Omega p E - beta z d_z Phi.

Their sums over the stars are linear in Omega and in the coefficients of Phi; their covariance is the sum of outer products of the
per-star values, so that generalised least squares (`linear`) uses every star with the right weight. Because the column of Omega is
itself a noisy sum, its noise and its correlation with the rows are summed, too, and taken out (errors in variables: without it Omega
is drawn towards the mean angular speed of the stars). Selection enters as star weights 1/S. Known errors of the stars are taken out by
copies with signed coefficients (`deeppot_galactic.catalogue.copies`): a star's rows are then the sum over its copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..catalogue.copies import Copies
from ..catalogue.volumes import Cylinder, Volume
from .analytic import InnerPotential
from .basis import BallBasis, Basis, DiscBasis

Array = NDArray[np.float64]
N_FIELDS = 4
_STARS_PER_ROW = 60
_CHUNK = 2048

Progress = Callable[[str, int, int, dict[str, float]], None]


def test_basis(volume: Volume, n_stars: int) -> Basis:
    """The functions B_j: coarser than the basis of Phi, which a prior regularises; in a ball at least 60 stars for every equation."""
    if isinstance(volume, Cylinder):
        return DiscBasis(r_max=volume.r_out, z_max=volume.half_height, n_radial=10, n_vertical=5)
    bases = [BallBasis(center=volume.center, radius=volume.size, degree=degree, lowest=0) for degree in (2, 3, 4, 5, 6)]
    return max((b for b in bases if _STARS_PER_ROW * N_FIELDS * b.size <= n_stars), key=lambda b: b.size, default=bases[0])


test_basis.__test__ = False  # type: ignore[attr-defined]  # not a pytest test


@dataclass
class WeakEquations:
    """Sums over the stars: constant + Omega * rotation + force(Phi) = 0, one row a test function.

    Attributes
    ----------
    constant, rotation : (J,) arrays
        The parts without unknowns, and times Omega.
    response : (J, K) array
        Change per unit coefficient of the potential basis.
    covariance : (J, J) array
        Of the rows, at the last linearisation point.
    rotation_covariance : (J, J) array or None
        Of ``rotation`` with itself.
    cross_covariance : (J, J) array or None
        Of ``rotation`` (first index) with the rows at the linearisation point.
    effective_stars : (J,) array
        Participation ratio <q^2>^2 / <q^4> of the stars in each row: where few count, the sums are not Gaussian.
    content : (J,) array
        Sums of the test functions themselves: what grows where the pattern grows.
    size : (J,) array
        (sum |beta| sum |beta| p^2)^(1/2): the scale on which a change of the row with time is to be judged.
    omega : float
        Omega of the linearisation point.
    """

    constant: Array
    rotation: Array
    response: Array
    covariance: Array
    effective_stars: Array
    content: Array
    size: Array
    rotation_covariance: Array | None = None
    cross_covariance: Array | None = None
    omega: float = 0.0

    def subset(self, rows: NDArray[np.bool_]) -> WeakEquations:
        """Only some of the rows."""
        square = np.ix_(rows, rows)
        both = (None if c is None else c[square] for c in (self.rotation_covariance, self.cross_covariance))
        return WeakEquations(
            self.constant[rows],
            self.rotation[rows],
            self.response[rows],
            self.covariance[square],
            self.effective_stars[rows],
            self.content[rows],
            self.size[rows],
            *both,
            omega=self.omega,
        )


class WeakForm:
    """The weak-form equations of a set of stars in a volume.

    Parameters
    ----------
    phase_space : (N, 6) array
        Stars in kpc and km/s, in the frame whose origin is the rotation axis. Those outside the volume have no weight.
    volume : Volume
    weights : (N,) array, optional
        1 / S for a selection function S.
    basis : Basis, optional
        The functions B_j; `test_basis` by default.
    taper : float
        Width of the roll-off of g as a fraction of the volume.
    copies : Copies, optional
        Of the same stars, to take their errors out. Stars outside the volume then count where a copy is inside.
    """

    def __init__(
        self,
        phase_space: Array,
        volume: Volume,
        *,
        weights: Array | None = None,
        basis: Basis | None = None,
        taper: float | None = None,
        copies: Copies | None = None,
    ) -> None:
        inside = volume.contains(phase_space[:, :3]) if copies is None else copies.reaching(volume)
        self.copies = None if copies is None else copies[inside]
        self.stars = np.ascontiguousarray(phase_space[inside], dtype=float)
        self.weights = None if weights is None else np.asarray(weights, dtype=float)[inside] / np.mean(np.asarray(weights)[inside])
        self.volume = volume
        self.basis = test_basis(volume, len(self.stars)) if basis is None else basis
        self.taper = taper if taper is not None else (0.15 if isinstance(volume, Cylinder) else 0.7)

    @property
    def n_rows(self) -> int:
        return N_FIELDS * self.basis.size

    def __len__(self) -> int:
        return len(self.stars)

    def _chunks(self, chunk: int = _CHUNK) -> Iterator[tuple[Array, Array, Array | None]]:
        """Positions, velocities and weights; with copies those of all copies, star by star, weighted by their coefficients."""
        for start in range(0, len(self.stars), chunk):
            part = slice(start, start + chunk)
            rows, weights = self.stars[part], None if self.weights is None else self.weights[part]
            if self.copies is not None:
                rows = self.copies.rows[part].reshape(-1, 6)
                signed = np.ones(len(self.stars[part])) if weights is None else weights
                weights = np.outer(signed, self.copies.coefficients).ravel()
            yield rows[:, :3], rows[:, 3:], weights

    def _folded(self, rows: Array) -> Array:
        """Rows per star from rows per copy."""
        return rows if self.copies is None else rows.reshape(-1, len(self.copies.coefficients), rows.shape[1]).sum(axis=1)

    def _functions(self, x: Array, v: Array, weights: Array | None) -> tuple[Array, Array, Array]:
        """beta, v . grad beta and d beta / d phi, each (n, J)."""
        b, gradient, _ = self.basis.evaluate(x, 1)
        g, grad_g = self.volume.boundary_weight(x, taper=self.taper)
        if weights is not None:
            g, grad_g = g * weights, grad_g * weights[:, None]
        turn = np.stack([-x[:, 1], x[:, 0]], axis=1)
        along = np.einsum("njd,nd->nj", gradient, v, optimize=True)
        around = gradient[:, :, 0] * turn[:, :1] + gradient[:, :, 1] * turn[:, 1:]
        d = g[:, None] * along + b * np.sum(grad_g * v, axis=1)[:, None]
        e = g[:, None] * around + b * np.sum(grad_g[:, :2] * turn, axis=1)[:, None]
        return b * g[:, None], d, e

    @staticmethod
    def _rows(beta: Array, d: Array, e: Array, x: Array, v: Array) -> tuple[Array, Array]:
        """Per-star rows without the force: (n, 4J) constant and rotation parts."""
        outward = np.sum(x[:, :2] * v[:, :2], axis=1)[:, None]
        l_z = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0])[:, None]
        up = (x[:, 2] * v[:, 2])[:, None]
        planar = np.sum(v[:, :2] ** 2, axis=1)[:, None]
        constant = np.concatenate([d, outward * d + beta * planar, l_z * d, up * d + beta * v[:, 2:] ** 2], axis=1)
        return constant, -np.concatenate([e, outward * e, l_z * e, up * e], axis=1)

    @staticmethod
    def _fields(x: Array, v: Array) -> Array:
        """p at the stars, (4, n)."""
        outward = np.sum(x[:, :2] * v[:, :2], axis=1)
        return np.stack([np.ones(len(x)), outward, x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0], x[:, 2] * v[:, 2]])

    @staticmethod
    def _force_fields(x: Array, gradient: Array) -> Array:
        """(x d_x + y d_y) Phi, d_phi Phi and z d_z Phi; ``gradient`` has the Cartesian axis last."""
        shape = (len(x),) + (1,) * (gradient.ndim - 2)
        px, py, pz = (x[:, i].reshape(shape) for i in range(3))
        gx, gy, gz = gradient[..., 0], gradient[..., 1], gradient[..., 2]
        return np.stack([px * gx + py * gy, px * gy - py * gx, pz * gz])

    def equations(self, potential_basis: Basis, *, progress: Progress | None = None) -> WeakEquations:
        """Sum the linear system over the stars. The covariance starts as the diagonal of the force-free rows."""
        j, k = self.basis.size, potential_basis.size
        constant, rotation, variance, fourth, content, square_size = (np.zeros(self.n_rows) for _ in range(6))
        response = np.zeros((self.n_rows, k))
        done = 0
        for x, v, weights in self._chunks():
            beta, d, e = self._functions(x, v, weights)
            rows, turning = self._rows(beta, d, e, x, v)
            constant += rows.sum(axis=0)
            rotation += turning.sum(axis=0)
            p = self._fields(x, v)
            content += (p @ beta).ravel()
            if self.copies is None:
                square_size += (p**2 @ np.abs(beta)).ravel()
            else:
                square_size += np.concatenate([np.abs(self._folded(q[:, None] * beta)).sum(axis=0) for q in p**2])
            square = self._folded(rows) ** 2
            variance += square.sum(axis=0)
            fourth += np.einsum("nj,nj->j", square, square)
            gradient = potential_basis.evaluate(x, 1)[1]
            if gradient is not None:
                for field, force in enumerate(self._force_fields(x, gradient), start=1):
                    response[field * j : (field + 1) * j] -= beta.T @ force
            done += len(square)
            if progress is not None:
                progress("weak form: sums", done, len(self), {})
        size = np.sqrt(np.tile(square_size[:j], N_FIELDS) * square_size)
        return WeakEquations(constant, rotation, response, np.diag(variance), variance**2 / np.maximum(fourth, 1e-300), content, size)

    def residuals(self, omega: float, potential: InnerPotential | None) -> Iterator[tuple[Array, Array]]:
        """Per-star rows (n, 4J) at a given Omega and potential, and their derivatives with respect to Omega, chunk by chunk."""
        j = self.basis.size
        for x, v, weights in self._chunks():
            beta, d, e = self._functions(x, v, weights)
            rows, turning = self._rows(beta, d, e, x, v)
            rows += omega * turning
            if potential is not None:
                for field, force in enumerate(self._force_fields(x, potential.evaluate(x, 1)[1]), start=1):
                    rows[:, field * j : (field + 1) * j] -= beta * force[:, None]
            yield self._folded(rows), self._folded(turning)

    def continuity(self) -> Iterator[tuple[Array, Array]]:
        """Per-star D and E (n, J), chunk by chunk: the first equation alone."""
        for x, v, weights in self._chunks():
            _, d, e = self._functions(x, v, weights)
            yield self._folded(d), self._folded(e)

    def linearize(
        self, equations: WeakEquations, omega: float, potential: InnerPotential, *, drag: bool = True, progress: Progress | None = None
    ) -> WeakEquations:
        """The equations with the covariances of their rows at a solution, from the scatter over the stars.

        ``drag`` asks for the covariances of the rotation column as well. Products are formed in float32 on rows scaled to unit
        variance and added up in float64.
        """
        n = self.n_rows
        variance = np.diag(equations.covariance)
        scale = 1.0 / np.sqrt(np.maximum(variance, max(1e-24 * float(variance.max()), 1e-300)))  # float32 holds 1e12, not 1e150
        rotation_scale = 1.0 / max(float(np.max(np.abs(equations.rotation * scale))), 1e-300)
        totals, outer = np.zeros((2, n)), np.zeros((3 if drag else 1, n, n))
        done = 0
        for rows, turning in self.residuals(omega, potential):
            rows, turning = rows * scale, turning * (scale * rotation_scale)
            totals += rows.sum(axis=0), turning.sum(axis=0)
            small = rows.astype(np.float32) * np.float32(np.sqrt(len(self)))
            outer[0] += small.T @ small
            if drag:
                small_turning = turning.astype(np.float32) * np.float32(np.sqrt(len(self)))
                outer[1] += small_turning.T @ small_turning
                outer[2] += small_turning.T @ small
            done += len(rows)
            if progress is not None:
                progress("weak form: covariance", done, len(self), {"omega": omega})
        pairs = ((0, 0), (1, 1), (1, 0))
        factors = np.array([1.0, rotation_scale])
        covariances: list[Array | None] = [None, None, None]
        for k, (a, b) in enumerate(pairs[: len(outer)]):
            centred = (outer[k] - np.outer(totals[a], totals[b])) / len(self)
            covariances[k] = centred / np.outer(scale * factors[a], scale * factors[b])
        return replace(
            equations, covariance=covariances[0], rotation_covariance=covariances[1], cross_covariance=covariances[2], omega=omega
        )

    def force_sums(self, potential: InnerPotential) -> Array:
        """The force part of the rows for one potential, (4J,): what a fixed base contributes."""
        j, out = self.basis.size, np.zeros(self.n_rows)
        for x, _, weights in self._chunks():
            b = self.basis.evaluate(x, 0)[0]
            g = self.volume.boundary_weight(x, taper=self.taper)[0]
            beta = b * (g if weights is None else g * weights)[:, None]
            for field, force in enumerate(self._force_fields(x, potential.evaluate(x, 1)[1]), start=1):
                out[field * j : (field + 1) * j] -= beta.T @ force
        return out
