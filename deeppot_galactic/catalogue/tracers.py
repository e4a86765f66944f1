"""Tracers: stars with complete phase-space coordinates, on which everything later stands.

Each star is a point (x, v) of six numbers, a draw from the distribution function f(x, v) times the selection. Rows of
``phase_space`` are (x, y, z, vx, vy, vz) in kpc and km/s. ``meta`` tells where the stars come from and how many each cut removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CatalogueError, VolumeError
from ..units import LENGTH, VELOCITY, vectors
from .volumes import Volume

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

Array = NDArray[np.float64]


class Tracers:
    """Stars with positions and velocities; build one with `from_table`, `from_skycoord`, `from_phase_space` or `read_tracers`.

    Parameters
    ----------
    phase_space : array, shape (N, 6)
        (x, y, z, vx, vy, vz) [kpc, km/s]; finite.
    frame : Galactocentric, optional
        The frame they live in, if they come from the sky.
    weights : array, shape (N,), optional
        Non-negative weight of each star.
    covariance : array, shape (N, 6, 6), optional
        Error covariance of each row.
    meta : dict, optional
        Source and counts; must survive JSON.
    """

    def __init__(
        self,
        phase_space: ArrayLike,
        *,
        frame: Galactocentric | None = None,
        weights: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        rows = np.array(phase_space, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise CatalogueError(f"phase space must have shape (N, 6), found {rows.shape}")
        bad = np.count_nonzero(~np.isfinite(rows).all(axis=1))
        if bad:
            raise CatalogueError(f"{bad} of {len(rows)} stars have a coordinate that is not finite; remove them first")
        rows.setflags(write=False)
        self._rows = rows
        self.frame = frame
        self.weights = _weights(weights, len(rows))
        self.covariance = None if covariance is None else np.asarray(covariance, dtype=np.float64)
        if self.covariance is not None and self.covariance.shape != (len(rows), 6, 6):
            raise CatalogueError(f"the covariance must have shape ({len(rows)}, 6, 6), found {self.covariance.shape}")
        self.meta = {} if meta is None else dict(meta)

    @classmethod
    def from_phase_space(
        cls,
        pos: u.Quantity,
        vel: u.Quantity,
        *,
        frame: Galactocentric | None = None,
        weights: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        source: str = "phase space",
    ) -> Tracers:
        """Tracers from Cartesian positions and velocities, (N, 3) Quantity each; rows that are not finite are dropped and counted.

        Raises
        ------
        UnitsError
            For a bare array or a wrong unit.
        CatalogueError
            If the shapes differ or no finite star is left.
        """
        x, v = vectors(pos, LENGTH, "positions"), vectors(vel, VELOCITY, "velocities")
        if len(x) != len(v):
            raise CatalogueError(f"positions hold {len(x)} stars and velocities {len(v)}; they must agree")
        rows = np.concatenate([x, v], axis=1)
        good = np.isfinite(rows).all(axis=1)
        meta = {
            "source": source,
            "n_read": len(rows),
            "cuts": [{"name": "finite coordinates", "removed": int(np.sum(~good)), "left": int(np.sum(good))}],
        }
        if not good.any():
            raise CatalogueError(f"none of the {len(rows)} stars has six finite coordinates")
        weights = _weights(weights, len(rows))
        if covariance is not None:
            covariance = np.asarray(covariance, dtype=np.float64)[good]
        return cls(rows[good], frame=frame, weights=None if weights is None else weights[good], covariance=covariance, meta=meta)

    @property
    def phase_space(self) -> Array:
        """(x, y, z, vx, vy, vz) of every star, shape (N, 6) [kpc, km/s], read-only."""
        return self._rows

    @property
    def pos(self) -> u.Quantity:
        """Positions, Quantity (N, 3) [kpc]."""
        return u.Quantity(self._rows[:, :3], LENGTH)

    @property
    def vel(self) -> u.Quantity:
        """Velocities, Quantity (N, 3) [km/s]."""
        return u.Quantity(self._rows[:, 3:], VELOCITY)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<Tracers: {len(self):,} stars from {self.meta.get('source', 'memory')}>"

    def select(self, mask: ArrayLike, *, name: str | None = None) -> Tracers:
        """The stars where ``mask`` is true (or with the given indices); ``name`` records the selection as a cut."""
        index = np.asarray(mask)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise CatalogueError(f"the mask has shape {index.shape}, expected ({len(self)},)")
        elif index.ndim != 1 or index.dtype.kind not in "iu":
            raise CatalogueError(f"select takes a boolean mask or indices, found an array of {index.dtype} with shape {index.shape}")
        rows = self._rows[index]
        meta = dict(self.meta)
        if name is not None:
            meta["cuts"] = [*meta.get("cuts", []), {"name": name, "removed": len(self) - len(rows), "left": len(rows)}]
        return Tracers(
            rows,
            frame=self.frame,
            weights=None if self.weights is None else self.weights[index],
            covariance=None if self.covariance is None else self.covariance[index],
            meta=meta,
        )

    def within(self, volume: Volume) -> Tracers:
        """The stars inside ``volume``, counted as a cut.

        Raises
        ------
        VolumeError
            If there are none; the message says where the stars are.
        """
        inside = volume.contains(self._rows[:, :3])
        if not inside.any():
            raise VolumeError(f"no star of {len(self):,} lies in the {volume.describe()}; {_extent(self._rows)}")
        return self.select(inside, name=volume.describe())


def _weights(weights: ArrayLike | None, n: int) -> Array | None:
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all() or (values < 0.0).any():
        raise CatalogueError(f"weights must be {n} finite numbers >= 0, found shape {values.shape}")
    return values


def _extent(rows: Array) -> str:
    radius = np.hypot(rows[:, 0], rows[:, 1])
    parts: Iterable[str] = (
        f"{name} from {v.min():.3g} to {v.max():.3g}" for name, v in (("R", radius), ("x", rows[:, 0]), ("z", rows[:, 2]))
    )
    return f"the stars have {', '.join(parts)} kpc" if len(rows) else "there are no stars at all"
