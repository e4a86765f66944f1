"""The learned potential continued to all space: finite and smooth everywhere, zero at infinity.

Inside the training volume the learned Phi_in holds, up to a constant c; outside, an analytic Phi_out:

    Phi = w (Phi_in + c) + (1 - w) Phi_out = Phi_out + w D,        D = Phi_in + c - Phi_out
    grad Phi = grad Phi_out + w grad D + D grad w
    hess Phi = hess Phi_out + w hess D + grad w (x) grad D + grad D (x) grad w + D hess w

    w = s((1 - q) / (1 - q_0)),    s(t) = t^4 (35 - 84 t + 70 t^2 - 20 t^3), C3

q is one on a closed surface inscribed in the training volume and q_0 where the blend begins: for a cylinder the superellipsoid
q^2 = (R / r_out)^4 + (z / h)^4, for a ball q = |x - x_c|^2 / r^2. A cylinder with a hole has a second factor s for R > r_in.

Phi_out is a non-negative sum over a library of discs, halos, spheres and bars at fixed angles, and c a free constant, both from one
non-negative least squares on the forces and values of Phi_in in the blend. So Phi_out has a positive density, decays, and the force of
the blend differs little from either side. Everything exported to other packages derives from this object, never from the bare network.

Density is lap Phi / (4 pi G), of this same Phi.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..catalogue.volumes import Volume
from ..errors import FitError
from ..units import G
from .analytic import AnalyticPotential, Evaluation, InnerPotential, from_array, to_array
from .continuation import BLEND_START, blending_measure, blending_surface, fit_outer, smooth_step

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK = 1 << 16
"""Points evaluated at once, which bounds the memory."""


class GlobalPotential:
    """A rotating potential defined everywhere (module docstring).

    Parameters
    ----------
    inner : InnerPotential
        The learned potential; asked only where w > 0.
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
        Where the blend begins, as a fraction of the blending surface.
    seed : int
        Of the points at which ``outer`` is fitted.

    Raises
    ------
    FitError
        If ``inner`` is not finite in the blend, or has no attractive continuation.
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
        self.omega = np.array(omega, np.float64).reshape(3)
        self.x0 = np.zeros(3) if x0 is None else np.array(x0, np.float64).reshape(3)
        self.v0 = np.zeros(3) if v0 is None else np.array(v0, np.float64).reshape(3)
        if outer is None or constant is None:
            outer, constant = fit_outer(inner, volume, outer=outer, blend_start=blend_start, seed=seed)
        self.outer, self.constant = outer, float(constant)

    def weight(self, x: ArrayLike) -> tuple[Array, Array, Array]:
        """The blending weight w of points (N, 3) in kpc, its gradient (N, 3) and Hessian (N, 3, 3)."""
        x = np.asarray(x, np.float64)
        q0 = self.blend_start**2
        q, grad, hess = blending_surface(self.volume, x)
        w, first, second = smooth_step((1 - q) / (1 - q0))
        first, second = -first / (1 - q0), second / (1 - q0) ** 2
        grad, hess = first[:, None] * grad, first[:, None, None] * hess + (second[:, None] * grad)[:, :, None] * grad[:, None, :]
        hole = getattr(self.volume, "r_in", 0.0)
        if hole > 0:
            width = 1 / self.blend_start**2 - 1
            flat = np.array([1.0, 1.0, 0.0]) / hole**2
            v, first, second = smooth_step(((x * x) @ flat - 1) / width)
            slope = 2 * x * flat / width
            v_grad = first[:, None] * slope
            v_hess = first[:, None, None] * np.diag(2 * flat / width) + (second[:, None] * slope)[:, :, None] * slope[:, None, :]
            cross = grad[:, :, None] * v_grad[:, None, :]
            hess = v[:, None, None] * hess + w[:, None, None] * v_hess + cross + np.swapaxes(cross, 1, 2)
            w, grad = w * v, v[:, None] * grad + w[:, None] * v_grad
        return w, grad, hess

    def _in_core(self, x: Array) -> Mask:
        """Where w is one: the same test as in `weight`, without derivatives."""
        core = blending_measure(self.volume, x) <= self.blend_start**2
        hole = getattr(self.volume, "r_in", 0.0)
        return core & (np.hypot(x[:, 0], x[:, 1]) >= hole / self.blend_start) if hole > 0 else core

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        """Potential (N,), gradient (N, 3) and Hessian (N, 3, 3) at points (N, 3); those beyond ``order`` are None. In kpc, km/s."""
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != 3:
            raise FitError(f"positions must have shape (N, 3), found {x.shape}")
        if len(x) > CHUNK:
            parts = [self.evaluate(x[i : i + CHUNK], order) for i in range(0, len(x), CHUNK)]
            phi, grad, hess = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
            return np.asarray(phi), grad, hess
        core = self._in_core(x)
        if core.all():
            phi, grad, hess = self.inner.evaluate(x, order)
            return phi + self.constant, grad, hess
        phi, grad, hess = np.empty(len(x)), *(np.empty((len(x), *(3,) * n)) if n <= order else None for n in (1, 2))
        rest = ~core
        w, w_grad, w_hess = self.weight(x[rest])
        inside = core.copy()
        inside[rest] = w > 0
        result = (phi, grad, hess)
        for whole, part in zip(result, self.outer.evaluate(x[rest], order), strict=True):
            if whole is not None:
                whole[rest] = part
        if inside.any():
            blend = w > 0
            self._add_inner(x, order, result, (w[blend], w_grad[blend], w_hess[blend]), core, inside)
        return phi, grad, hess

    def _add_inner(self, x: Array, order: int, result: Evaluation, weight: tuple[Array, Array, Array], core: Mask, inside: Mask) -> None:
        """Put Phi_in + c into the ``core`` and w D into the blend, in place."""
        values, mixed = self.inner.evaluate(x[inside], order), inside & ~core
        part = mixed[inside]
        phi, grad, hess = result
        w, w_grad, w_hess = weight
        phi[core] = values[0][~part] + self.constant
        d = values[0][part] + self.constant - phi[mixed]
        phi[mixed] += w * d
        if grad is None:
            return
        grad[core] = values[1][~part]
        d_grad = values[1][part] - grad[mixed]
        grad[mixed] += w[:, None] * d_grad + d[:, None] * w_grad
        if hess is None:
            return
        hess[core] = values[2][~part]
        cross = w_grad[:, :, None] * d_grad[:, None, :]
        hess[mixed] += w[:, None, None] * (values[2][part] - hess[mixed]) + cross + np.swapaxes(cross, 1, 2) + d[:, None, None] * w_hess

    def potential(self, x: ArrayLike) -> Array:
        """Phi (N,) in (km/s)^2 at points (N, 3) in kpc."""
        return self.evaluate(x, 0)[0]

    def gradient(self, x: ArrayLike) -> Array:
        """grad Phi (N, 3) in (km/s)^2/kpc at points (N, 3) in kpc."""
        return self.evaluate(x, 1)[1]

    def hessian(self, x: ArrayLike) -> Array:
        """Second derivatives of Phi (N, 3, 3) in (km/s)^2/kpc^2 at points (N, 3) in kpc."""
        return self.evaluate(x, 2)[2]

    def density(self, x: ArrayLike) -> Array:
        """lap Phi / (4 pi G), (N,) in Msun/kpc^3, at points (N, 3) in kpc."""
        return np.trace(self.hessian(x), axis1=1, axis2=2) / (4 * np.pi * G)

    @property
    def report(self) -> Any:
        """Force error of a compiled inner potential, None for an exact one."""
        return getattr(self.inner, "report", None)

    def in_training_volume(self, x: ArrayLike) -> Mask:
        """Whether points (N, 3) in kpc lie where there were stars."""
        return self.volume.contains(np.asarray(x, np.float64))

    def with_inner(self, inner: InnerPotential) -> GlobalPotential:
        """The same continuation and frame around another inner potential."""
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
        """Everything but ``inner`` and ``volume``, as float64 arrays for a model file."""
        return {
            "outer": to_array(self.outer),
            "blend": np.array([self.constant, self.blend_start]),
            "frame": np.stack([self.omega, self.x0, self.v0]),
        }

    @classmethod
    def from_arrays(cls, inner: InnerPotential, volume: Volume, arrays: Mapping[str, Array]) -> GlobalPotential:
        """Inverse of `to_arrays`.

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
