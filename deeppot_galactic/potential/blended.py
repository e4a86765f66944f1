r"""The learned potential continued to all space: finite and smooth everywhere, zero at infinity.

Inside the training volume the learned Phi_in holds, up to a constant c; far outside, an analytic Phi_out (`continuation`). What the
two differ by at the edge, D, is carried outwards along rays and fades:

    Phi(x) = Phi_out(x) + w(x) D(y(x)),        D = Phi_in + c - Phi_out,
    grad Phi = grad Phi_out + w J^T grad D + D grad w,        J = dy / dx,

and the Hessian by the product and chain rules. The clamp y(x) is the identity for s < s_0, where therefore Phi = Phi_in + c, and never
leaves the training volume; w = p((s_1 - s) / (s_1 - 1)) falls from one at the edge, s = 1, to zero at s_1 = 3. The fading is slow so that
the spurious force D grad w stays small: the learned potential near its edge is not exactly that of any mass distribution outside.
A cylinder with a hole has a second factor in w, p in R^2 from r_in to r_in / s_0.

Everything exported to other packages derives from this object, never from the bare network. Density is lap Phi / (4 pi G).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array, whole
from ..catalogue.volumes import Volume
from ..errors import DeepPotError, FitError
from ..units import G
from .analytic import AnalyticPotential, Evaluation, InnerPotential, from_array, to_array
from .continuation import BLEND_END, BLEND_START, blending_measure, blending_surface, clamp, fit_outer, smooth_step

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK = 1 << 16
"""Points evaluated at once, which bounds the memory."""


class GlobalPotential:
    """A rotating potential defined everywhere (module docstring).

    Parameters
    ----------
    inner : InnerPotential
        The learned potential; asked only inside the training volume.
    volume : Volume
        Training volume, about the origin of the coordinates of ``inner``.
    omega : array_like, shape (3,)
        Angular velocity of the frame in which ``inner`` is static [km/s/kpc].
    x0, v0 : array_like, shape (3,), optional
        A point of the rotation axis [kpc] and the velocity of the frame [km/s].
    outer : AnalyticPotential, optional
        The continuation; fitted if left out.
    constant : float, optional
        c [(km/s)^2]; fitted if left out.
    blend_start : float
        s_0, where the blend begins, as a fraction of the surface inscribed in the volume.
    seed : int
        Of the points at which ``outer`` is fitted.

    Raises
    ------
    FitError
        If ``inner`` is not finite in the blend, or has no attractive continuation, a vector is not three numbers, or the seed no whole
        number of at least 0.
    """

    def __init__(
        self,
        inner: InnerPotential,
        volume: Volume,
        *,
        omega: ArrayLike = (0.0, 0.0, 0.0),
        x0: ArrayLike | None = None,
        v0: ArrayLike | None = None,
        outer: AnalyticPotential | None = None,
        constant: float | None = None,
        blend_start: float = BLEND_START,
        seed: int = 0,
    ) -> None:
        if not 0 < blend_start < 1:
            raise FitError(f"blend_start must lie between 0 and 1, found {blend_start}")
        self.inner, self.volume, self.blend_start = inner, volume, float(blend_start)
        self.omega, self.x0, self.v0 = (_three(v, name) for v, name in ((omega, "omega"), (x0, "x0"), (v0, "v0")))
        seed = whole(seed, "seed", error=FitError)
        if outer is None or constant is None:
            outer, constant = fit_outer(inner, volume, outer=outer, blend_start=blend_start, seed=seed)
        self.outer, self.constant = outer, float(constant)

    def weight(self, x: ArrayLike, order: int = 2) -> tuple[Array, Array, Any]:
        """The weight w of D.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].
        order : int
            2 for the Hessian too.

        Returns
        -------
        w : array, shape (N,)
            Between 0 and 1.
        gradient : array, shape (N, 3)
            1/kpc.
        hessian : array, shape (N, 3, 3), or None
            1/kpc^2.
        """
        x = np.asarray(x, np.float64)
        s, s_grad, hess = blending_surface(self.volume, x, order)
        w, first, second = smooth_step((BLEND_END - s) / (BLEND_END - 1))
        first, second = -first / (BLEND_END - 1), second / (BLEND_END - 1) ** 2
        grad = first[:, None] * s_grad
        if order >= 2:
            hess = first[:, None, None] * hess + second[:, None, None] * s_grad[:, :, None] * s_grad[:, None, :]
        hole = getattr(self.volume, "r_in", 0.0)
        if hole > 0:
            width = 1 / self.blend_start**2 - 1
            flat = np.array([1.0, 1.0, 0.0]) / hole**2
            v, first, second = smooth_step(((x * x) @ flat - 1) / width)
            slope = 2 * x * flat / width
            v_grad = first[:, None] * slope
            if order >= 2:
                v_hess = first[:, None, None] * np.diag(2 * flat / width) + (second[:, None] * slope)[:, :, None] * slope[:, None, :]
                cross = grad[:, :, None] * v_grad[:, None, :]
                hess = v[:, None, None] * hess + w[:, None, None] * v_hess + cross + np.swapaxes(cross, 1, 2)
            w, grad = w * v, v[:, None] * grad + w[:, None] * v_grad
        return w, grad, hess

    def in_core(self, x: ArrayLike) -> Mask:
        """Whether Phi = Phi_in + c: inside s_0, and outside the hole if there is one.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array of bool, shape (N,)
        """
        x = np.asarray(x, np.float64)
        core = blending_measure(self.volume, x) <= self.blend_start
        hole = getattr(self.volume, "r_in", 0.0)
        return core & (np.hypot(x[:, 0], x[:, 1]) >= hole / self.blend_start) if hole > 0 else core

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        """Phi and its derivatives up to an order.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].
        order : {0, 1, 2}
            Derivatives beyond it are None.

        Returns
        -------
        potential : array, shape (N,)
            (km/s)^2.
        gradient : array, shape (N, 3), or None
            (km/s)^2/kpc.
        hessian : array, shape (N, 3, 3), or None
            (km/s)^2/kpc^2.

        Raises
        ------
        FitError
            If ``x`` has another shape.
        """
        x = array(x, "positions", FitError)
        if x.ndim != 2 or x.shape[1] != 3:
            raise FitError(f"positions must have shape (N, 3), found {x.shape}")
        if len(x) > CHUNK:
            parts = [self.evaluate(x[i : i + CHUNK], order) for i in range(0, len(x), CHUNK)]
            phi, grad, hess = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
            return np.asarray(phi), grad, hess
        core = self.in_core(x)
        if core.all():
            phi, grad, hess = self.inner.evaluate(x, order)
            return phi + self.constant, grad, hess
        result = _arrays(len(x), order)
        outside = self.outer.evaluate(x[~core], order)
        within = self.inner.evaluate(x[core], order) if core.any() else (None, None, None)
        faded = self._fading(x[~core], order)
        for n, values in enumerate(result):
            if values is not None:
                values[~core] = outside[n] + faded[n]
                if within[n] is not None:
                    values[core] = within[n]
        result[0][core] += self.constant
        return result

    def _fading(self, x: Array, order: int) -> Evaluation:
        """w(x) D(y(x)) with its derivatives."""
        result = _arrays(len(x), order)
        near = blending_measure(self.volume, x) < BLEND_END
        hole = getattr(self.volume, "r_in", 0.0)
        if hole > 0:
            near &= np.hypot(x[:, 0], x[:, 1]) > hole
        if not near.any():
            return result
        x = x[near]
        w, w_grad, w_hess = self.weight(x, order)
        y, jacobian, bend = clamp(self.volume, x, self.blend_start, order)
        inside, outside = self.inner.evaluate(y, order), self.outer.evaluate(y, order)
        d = inside[0] + self.constant - outside[0]
        result[0][near] = w * d
        if result[1] is not None:
            slope = inside[1] - outside[1]
            d_grad = np.einsum("nki,nk->ni", jacobian, slope)
            result[1][near] = w[:, None] * d_grad + d[:, None] * w_grad
            if result[2] is not None:
                d_hess = np.swapaxes(jacobian, 1, 2) @ (inside[2] - outside[2]) @ jacobian + np.einsum("nk,nkij->nij", slope, bend)
                cross = w_grad[:, :, None] * d_grad[:, None, :]
                result[2][near] = w[:, None, None] * d_hess + cross + np.swapaxes(cross, 1, 2) + d[:, None, None] * w_hess
        return result

    def potential(self, x: ArrayLike) -> Array:
        """Phi, zero at infinity.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """
        return self.evaluate(x, 0)[0]

    def gradient(self, x: ArrayLike) -> Array:
        """grad Phi, minus the acceleration.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3)
            (km/s)^2/kpc.
        """
        return self.evaluate(x, 1)[1]

    def hessian(self, x: ArrayLike) -> Array:
        """Second derivatives of Phi.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3, 3)
            (km/s)^2/kpc^2.
        """
        return self.evaluate(x, 2)[2]

    def density(self, x: ArrayLike) -> Array:
        """lap Phi / (4 pi G).

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            Msun/kpc^3.
        """
        return np.trace(self.hessian(x), axis1=1, axis2=2) / (4 * np.pi * G)

    @property
    def report(self) -> Any:
        """Force error of a compiled inner potential (`ForceErrorReport`), None for an exact one."""
        return getattr(self.inner, "report", None)

    def in_training_volume(self, x: ArrayLike) -> Mask:
        """Whether there were stars.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array of bool, shape (N,)

        Raises
        ------
        VolumeError
            If ``x`` has another shape.
        """
        return self.volume.contains(np.asarray(x, np.float64))

    def with_inner(self, inner: InnerPotential) -> GlobalPotential:
        """The same continuation and frame around another inner potential.

        Parameters
        ----------
        inner : InnerPotential
            Such as a spline of the one it replaces.

        Returns
        -------
        GlobalPotential
        """
        return type(self)(
            inner,
            self.volume,
            omega=self.omega,
            x0=self.x0,
            v0=self.v0,
            outer=self.outer,
            constant=self.constant,
            blend_start=self.blend_start,
        )

    def to_arrays(self) -> dict[str, Array]:
        """Everything but ``inner`` and ``volume``, for a model file.

        Returns
        -------
        dict of float64 arrays
            ``outer``; ``blend``: c [(km/s)^2] and s_0; ``frame``, shape (3, 3): omega [km/s/kpc], x0 [kpc] and v0 [km/s].
        """
        return {
            "outer": to_array(self.outer),
            "blend": np.array([self.constant, self.blend_start]),
            "frame": np.stack([self.omega, self.x0, self.v0]),
        }

    @classmethod
    def from_arrays(cls, inner: InnerPotential, volume: Volume, arrays: Mapping[str, Array]) -> GlobalPotential:
        """Inverse of `to_arrays`.

        Parameters
        ----------
        inner : InnerPotential
            The learned potential.
        volume : Volume
            Training volume.
        arrays : mapping of str to array
            What `to_arrays` gives, in its units.

        Returns
        -------
        GlobalPotential

        Raises
        ------
        FitError
            If an array is missing or malformed.
        """
        try:
            outer = from_array(arrays["outer"])
            constant, blend_start = arrays["blend"]
            omega, x0, v0 = arrays["frame"]
        except (KeyError, IndexError, ValueError) as error:
            raise FitError(f"the stored continuation of the potential is damaged: {error!r}") from None
        return cls(inner, volume, omega=omega, x0=x0, v0=v0, outer=outer, constant=float(constant), blend_start=float(blend_start))


def as_global(potential: Any) -> Any:
    """The global potential of a fitted model; what is a potential already is returned as it is (`DeepPotError` for anything else)."""
    found = getattr(potential, "global_potential", potential)
    if not callable(getattr(found, "gradient", None)):
        raise DeepPotError(f"expected a potential (a PotentialModel or GlobalPotential), found a {type(potential).__name__}")
    return found


def _three(values: ArrayLike | None, name: str) -> Array:
    """Three numbers, zeros by default."""
    found = np.zeros(3) if values is None else array(values, name, FitError).reshape(-1)
    if found.shape != (3,):
        raise FitError(f"{name} must be three numbers, found {found.size}")
    return np.array(found)


def _arrays(n: int, order: int) -> Evaluation:
    """Zeros for a potential and its derivatives up to ``order``."""
    return np.zeros(n), np.zeros((n, 3)) if order >= 1 else None, np.zeros((n, 3, 3)) if order >= 2 else None
