r"""Errors of forces and densities from the posterior of a linear fit.

With Phi = base + sum_k c_k B_k and the posterior covariance C of the coefficients, any linear functional F of Phi has the variance
F(B)^T C F(B): its components of force, its density lap Phi / (4 pi G), and their means over many points, whose errors are correlated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..units import G
from .basis import Basis, basis_from_dict

Array = NDArray[np.float64]
_CHUNK = 2048


def _root(variance: Any) -> Any:
    """Standard deviation of variances that rounding may have taken below zero, where a component is certain."""
    return np.sqrt(np.maximum(variance, 0.0))


class PotentialPosterior:
    """Posterior of a potential about its best fit; NumPy, kpc and km/s.

    Parameters
    ----------
    basis : Basis
        The functions B_k.
    covariance : array, shape (K, K)
        C [(km/s)^4].
    origin : array, shape (3,), optional
        Where the basis has its origin [kpc].
    """

    def __init__(self, basis: Basis, covariance: Array, *, origin: Array | None = None) -> None:
        self.basis, self.covariance = basis, np.asarray(covariance, dtype=float)
        self.origin = np.zeros(3) if origin is None else np.asarray(origin, dtype=float)

    def gradient_covariance(self, x: Array) -> Array:
        """Covariance of grad Phi at each point.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3, 3)
            (km/s)^4/kpc^2.
        """
        parts = []
        for start in range(0, len(x), _CHUNK):
            gradient = np.moveaxis(self.basis.evaluate(x[start : start + _CHUNK] - self.origin, 1)[1], 2, 1)
            parts.append(np.matmul(gradient @ self.covariance, np.moveaxis(gradient, 2, 1)))
        return np.concatenate(parts) if parts else np.empty((0, 3, 3))

    def gradient_error(self, x: Array) -> Array:
        """Standard errors of the components of grad Phi.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3)
            (km/s)^2/kpc.
        """
        return _root(np.einsum("nii->ni", self.gradient_covariance(x)))

    def density_error(self, x: Array) -> Array:
        """Standard error of the density at each point.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            Msun/kpc^3.
        """
        parts = []
        for start in range(0, len(x), _CHUNK):
            rows = self.basis.laplacian(x[start : start + _CHUNK] - self.origin)
            parts.append(_root(np.sum((rows @ self.covariance) * rows, axis=1)))
        return np.concatenate(parts) / (4.0 * np.pi * G) if parts else np.empty(0)

    def mean_density_error(self, x: Array) -> float:
        """Standard error of the mean density over all points.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        float
            Msun/kpc^3.
        """
        total = np.zeros(self.basis.size)
        for start in range(0, len(x), _CHUNK):
            total += self.basis.laplacian(x[start : start + _CHUNK] - self.origin).sum(axis=0)
        mean = total / max(len(x), 1)
        return float(_root(mean @ self.covariance @ mean)) / (4.0 * np.pi * G)

    def weighted_density_error(self, x: Array, weights: Array) -> Array:
        """Standard errors of weighted sums of densities at the same number of points each.

        Parameters
        ----------
        x : array, shape (N, M, 3)
            Positions [kpc], M for each of N sums.
        weights : array, shape (N, M)
            Points of weight zero do not count.

        Returns
        -------
        array, shape (N,)
            Msun/kpc^3.
        """
        out, step = np.empty(len(x)), max(_CHUNK // max(x.shape[1], 1), 1)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            rows = self.basis.laplacian(x[part].reshape(-1, 3) - self.origin).reshape(*x[part].shape[:2], -1)
            mean = np.einsum("nm,nmk->nk", weights[part], rows)
            out[part] = _root(np.sum((mean @ self.covariance) * mean, axis=1))
        return out / (4.0 * np.pi * G)

    def to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """What a model file holds of it; `from_arrays` is the inverse.

        Returns
        -------
        arrays : dict of arrays
            ``covariance``, shape (K, K) [(km/s)^4].
        header : dict
            ``basis`` and ``origin``, JSON-able.
        """
        return {"covariance": self.covariance}, {"basis": self.basis.to_dict(), "origin": self.origin.tolist()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], header: dict[str, Any]) -> PotentialPosterior:
        """Inverse of `to_arrays`.

        Parameters
        ----------
        arrays : dict of arrays
            ``covariance``, shape (K, K) [(km/s)^4].
        header : dict
            ``basis`` and ``origin``.

        Returns
        -------
        PotentialPosterior

        Raises
        ------
        ValueError
            For a covariance that does not fit the basis.
        """
        covariance = arrays["covariance"]
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"the covariance must be a square, found the shape {covariance.shape}")
        return cls(basis_from_dict(header["basis"], len(covariance)), covariance, origin=header.get("origin"))
