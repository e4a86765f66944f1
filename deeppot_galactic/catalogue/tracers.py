"""Tracers: stars with complete phase-space coordinates, on which everything later stands.

Each star is a point (x, v) of six numbers, a draw from the distribution function f(x, v) times the selection. Rows of
``phase_space`` are (x, y, z, vx, vy, vz) in kpc and km/s. ``meta`` tells where the stars come from and how many each cut removed;
``observations`` keeps what was measured on the sky, with its errors, where that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array, instance, whole
from ..errors import CatalogueError, VolumeError
from ..units import LENGTH, VELOCITY, vectors
from .frames import resolve_frame
from .propagation import checked_covariance, checked_weights, covariance_blocks, drawing, extent, known_covariance
from .reading import read_tracers
from .sanity import check_speeds, check_weighted
from .settings import CatalogueSettings
from .uncertainty import Observations
from .volumes import Volume

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric, SkyCoord
    from astropy.table import QTable

    from .selection import SelectionFunction

__all__ = ["Tracers", "read_tracers"]

Array = NDArray[np.float64]
CHUNK = 2**18
"""Rows of a mapped file looked at together."""


class Tracers:
    """Stars with positions and velocities; build one with `from_table`, `from_skycoord`, `from_phase_space` or `read_tracers`.

    Parameters
    ----------
    phase_space : array, shape (N, 6)
        (x, y, z, vx, vy, vz) [kpc, km/s]; finite. A `numpy.memmap` is kept as it is, see `mapped`; anything else is copied.
    frame : Galactocentric, str or mapping, optional
        The frame they live in, if they come from the sky; a name is that of one of astropy's sets, such as "v4.0".
    weights : array, shape (N,), optional
        Non-negative weight of each star.
    covariance : array, shape (N, 6, 6), optional
        Error covariance of each row; where it is not given it follows from ``observations``.
    observations : Observations, optional
        What was measured, with errors.
    ids : array of int, shape (N,), optional
        source_id; -1 where unknown.
    meta : dict, optional
        Source and counts; must survive JSON.

    Raises
    ------
    CatalogueError
        For another shape, coordinates that are not finite or carry a unit, parts of different length, an unknown frame, or observations
        without one.
    """

    def __init__(
        self,
        phase_space: ArrayLike,
        *,
        frame: Any = None,
        weights: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        observations: Observations | None = None,
        ids: NDArray[np.int64] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        mapped = isinstance(phase_space, np.memmap)
        rows = phase_space if mapped else np.array(array(phase_space, "phase space [kpc, km/s]", CatalogueError))
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise CatalogueError(f"phase space must have shape (N, 6), found {rows.shape}")
        bad = sum(int((~np.isfinite(rows[k : k + CHUNK]).all(axis=1)).sum()) for k in range(0, len(rows), CHUNK))
        if bad:
            raise CatalogueError(f"{bad} of {len(rows)} stars have a coordinate that is not finite; remove them first")
        rows.setflags(write=False)
        self._rows: Array = rows
        self.frame: Galactocentric | None = None if frame is None else resolve_frame(frame)
        self.weights = checked_weights(weights, len(rows))
        self._covariance = checked_covariance(covariance, len(rows))
        if (observations is not None and len(observations) != len(rows)) or (ids is not None and len(ids) != len(rows)):
            raise CatalogueError(f"observations and ids must belong to the same {len(rows)} stars")
        if observations is not None and frame is None:
            raise CatalogueError("observations need the frame in which they were turned into phase space")
        self.observations = observations
        self.ids = ids
        self.meta = {} if meta is None else dict(meta)

    @classmethod
    def mapped(cls, path: str | Path, *, weights: ArrayLike | None = None) -> Tracers:
        """Tracers that stay in a ``.npy`` file of shape (N, 6), x y z vx vy vz in kpc and km/s: for more stars than fit in memory.

        Parameters
        ----------
        path : str or Path
            Written by `numpy.save`, of float32 or float64.
        weights : array, shape (N,), optional
            Non-negative weight of each star.

        Returns
        -------
        Tracers

        Raises
        ------
        CatalogueError
            If the file is missing, is no such array, or holds numbers that are not finite.
        """
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CatalogueError(f"{path} cannot be mapped: {' '.join(str(error).split())[:120]}") from None
        if not isinstance(rows, np.memmap) or rows.dtype.kind != "f":
            raise CatalogueError(f"{path} must hold one array of float32 or float64, found {getattr(rows, 'dtype', type(rows).__name__)}")
        meta = {"source": Path(path).name, "kind": "phase space", "n_read": len(rows), "n_complete": len(rows), "cuts": [], "notes": []}
        return cls(rows, weights=weights, meta=meta)

    @classmethod
    def from_table(cls, table: Any, **options: Any) -> Tracers:
        """Tracers from a table with Gaia's columns, or x, y, z, vx, vy, vz with units.

        Parameters
        ----------
        table : Table, QTable, DataFrame, structured array or mapping of columns
            One row a star; units as described in `read_tracers`.
        **options
            Any field of `CatalogueSettings`; see `read_tracers`.

        Returns
        -------
        Tracers

        Raises
        ------
        CatalogueError
            With one line that names the column or cut at fault.
        """
        from .gaia import build_tracers
        from .sources import MemorySource

        return build_tracers(MemorySource(table), CatalogueSettings.make(options))

    @classmethod
    def from_skycoord(cls, coordinates: SkyCoord, *, frame: Any = None, weights: ArrayLike | None = None) -> Tracers:
        """Tracers from a SkyCoord (or frame with data) that has distances, proper motions and radial velocities.

        Parameters
        ----------
        coordinates : SkyCoord
            Of N stars, in any frame astropy can take to `Galactocentric`; one that is Galactocentric already keeps its frame unless
            another is given.
        frame : Galactocentric, str or mapping, optional
            Default astropy's "v4.0".
        weights : array, shape (N,), optional
            Non-negative weight of each star.

        Returns
        -------
        Tracers

        Raises
        ------
        CatalogueError
            If the coordinates have no distance, proper motion or radial velocity.
        """
        from .skycoord import tracers_from_skycoord

        return tracers_from_skycoord(coordinates, frame=frame, weights=weights)

    @classmethod
    def from_phase_space(
        cls,
        pos: u.Quantity,
        vel: u.Quantity,
        *,
        frame: Any = None,
        weights: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        source: str = "phase space",
    ) -> Tracers:
        """Tracers from Cartesian positions and velocities; rows that are not finite are dropped and counted.

        Parameters
        ----------
        pos, vel : Quantity, shape (N, 3)
            Positions and velocities; masked values are not finite.
        frame : Galactocentric, str or mapping, optional
            The frame they live in.
        weights : array, shape (N,), optional
            Non-negative weight of each star.
        covariance : array, shape (N, 6, 6), optional
            Error covariance of each row [kpc, km/s].
        source : str
            Where they come from, for ``meta``.

        Returns
        -------
        Tracers

        Raises
        ------
        UnitsError
            For a bare array or a wrong unit.
        CatalogueError
            If the shapes differ or no finite star is left.
        """
        from .phase_space import tracers_from_phase_space

        return tracers_from_phase_space(pos, vel, frame=frame, weights=weights, covariance=covariance, source=source)

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

    @property
    def covariance(self) -> Array | None:
        """Error covariance of each row, shape (N, 6, 6) [kpc, km/s], to first order; None where errors are unknown."""
        if self._covariance is None and self.observations is not None and self.frame is not None:
            self._covariance = self.observations.covariance(self.frame)
        return self._covariance

    @property
    def covariance_known(self) -> int:
        """Number of stars whose errors are all known."""
        if self.observations is not None:
            return int(np.count_nonzero(np.isfinite(self.observations.errors).all(axis=1)))
        return 0 if self._covariance is None else int(np.count_nonzero(np.isfinite(self._covariance).all(axis=(1, 2))))

    def covariances(self, *, method: str = "jacobian", n_draws: int = 512, seed: int = 0) -> tuple[u.Quantity, u.Quantity, u.Quantity]:
        """The blocks of the covariance of each star.

        Parameters
        ----------
        method : "jacobian", "monte-carlo" or "auto"
            First order, by drawing, or by drawing where the parallax error exceeds a tenth of the parallax. Without ``observations`` the
            covariance is taken as it is.
        n_draws, seed : int
            Of the drawing.

        Returns
        -------
        positions, mixed, velocities : Quantity, shape (N, 3, 3)
            kpc^2, kpc km/s (positions with velocities) and km^2/s^2; NaN for stars whose errors are unknown.

        Raises
        ------
        CatalogueError
            If no errors are known, for another method, fewer than two draws, or a seed that is no whole number of at least 0.
        """
        return covariance_blocks(self, method, n_draws, seed)

    @property
    def errors(self) -> tuple[u.Quantity, u.Quantity]:
        """Standard errors of positions and velocities, Quantity (N, 3) each [kpc, km/s].

        Raises
        ------
        CatalogueError
            If no errors are known.
        """
        sigma = np.sqrt(np.diagonal(known_covariance(self), axis1=1, axis2=2))
        return u.Quantity(sigma[:, :3], LENGTH), u.Quantity(sigma[:, 3:], VELOCITY)

    def drawing(self) -> Callable[[np.random.Generator], Array]:
        """A function that draws all stars anew from their errors.

        From the observations where these are known (so that 1/parallax keeps its skewed errors), else from the covariance. A star
        whose error is unknown stays in place.

        Returns
        -------
        callable
            A `numpy.random.Generator` in, phase space of shape (N, 6) [kpc, km/s] out.

        Raises
        ------
        CatalogueError
            If no errors are known.
        """
        return drawing(self)

    def redraw(self, seed: int | np.random.Generator = 0) -> Tracers:
        """These stars with coordinates drawn anew from their errors, once; see `drawing`.

        Parameters
        ----------
        seed : int or numpy.random.Generator
            Of the draw.

        Returns
        -------
        Tracers
            Without errors.

        Raises
        ------
        CatalogueError
            If no errors are known, or for a seed that is no whole number of at least 0.
        """
        rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(whole(seed, "seed", error=CatalogueError))
        rows = self.drawing()(rng)
        return Tracers(rows, frame=self.frame, weights=self.weights, ids=self.ids, meta={**self.meta, "redrawn": True})

    def select(self, mask: ArrayLike, *, name: str | None = None) -> Tracers:
        """Some of the stars, with everything that belongs to them.

        Parameters
        ----------
        mask : array of bool, shape (N,), or array of int
            Which to keep, or their indices.
        name : str, optional
            Records the selection as a cut of this name in ``meta``.

        Returns
        -------
        Tracers

        Raises
        ------
        CatalogueError
            If ``mask`` is neither, or an index is out of range.
        """
        index = np.asarray(mask)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise CatalogueError(f"the mask has shape {index.shape}, expected ({len(self)},)")
        elif index.ndim != 1 or index.dtype.kind not in "iu":
            raise CatalogueError(f"select takes a boolean mask or indices, found an array of {index.dtype} with shape {index.shape}")
        elif len(index) and (index.max() >= len(self) or index.min() < -len(self)):
            raise CatalogueError(f"select was given index {int(index[np.argmax(np.abs(index))])}; there are {len(self)} stars")
        rows = self._rows[index]
        meta = dict(self.meta)
        if name is not None:
            meta["cuts"] = [*meta.get("cuts", []), {"name": name, "removed": len(self) - len(rows), "left": len(rows)}]
        return Tracers(
            rows,
            frame=self.frame,
            weights=None if self.weights is None else self.weights[index],
            covariance=None if self._covariance is None else self._covariance[index],
            observations=None if self.observations is None else self.observations[index],
            ids=None if self.ids is None else self.ids[index],
            meta=meta,
        )

    def within(self, volume: Volume) -> Tracers:
        """The stars inside a volume, counted as a cut.

        Parameters
        ----------
        volume : Volume
            Where its mask is positive, if it has one.

        Returns
        -------
        Tracers

        Raises
        ------
        VolumeError
            If there are none (the message says where the stars are), or ``volume`` is no `Volume`.
        CatalogueError
            If one of them is faster than light, or none has a weight.
        """
        inside = instance(volume, Volume, "volume", VolumeError).contains(self._rows[:, :3])
        if not inside.any():
            raise VolumeError(f"no star of {len(self):,} lies in the {volume.describe()}; {extent(self._rows)}")
        chosen = self.select(inside, name=volume.describe())
        check_speeds(chosen.phase_space)
        check_weighted(chosen.weights)
        return chosen

    def weighted(self, selection: SelectionFunction, *, least: float = 0.05) -> Tracers:
        """Weights divided by the selection function S, so that sums over the stars are sums over all of them.

        Parameters
        ----------
        selection : SelectionFunction
            S; a distance limit only cuts.
        least : float
            Stars with S below it are cut, and counted.

        Returns
        -------
        Tracers

        Raises
        ------
        CatalogueError
            If no star lies where S is at least that.
        """
        from .selection import divide_by

        return divide_by(self, selection, least=least)

    def relative_to(self, x0: u.Quantity, v0: u.Quantity) -> Tracers:
        """The stars seen from a moving centre: x - x0, v - v0. Frame and observations are left behind.

        Parameters
        ----------
        x0, v0 : Quantity, shape (3,)
            Position and velocity of the centre.

        Returns
        -------
        Tracers

        Raises
        ------
        UnitsError
            For a bare array or a wrong unit.
        CatalogueError
            For more than one vector.
        """
        centre = vectors(x0, LENGTH, "x0"), vectors(v0, VELOCITY, "v0")
        if len(centre[0]) != 1 or len(centre[1]) != 1:
            raise CatalogueError("x0 and v0 must be one vector each, shape (3,)")
        offset = np.concatenate(centre, axis=1)[0]
        record = {"x0_kpc": offset[:3].tolist(), "v0_km_s": offset[3:].tolist()}
        return Tracers(
            self._rows - offset, weights=self.weights, covariance=self.covariance, ids=self.ids, meta={**self.meta, "offset": record}
        )

    def to_table(self, *, errors: bool = False) -> QTable:
        """x, y, z, vx, vy, vz with units, and source_id and weights where known; metadata as JSON. Every table reader opens it.

        Parameters
        ----------
        errors : bool
            Also the covariance (36 numbers a star) and the six standard errors.

        Returns
        -------
        QTable
            One row a star; kpc and km/s.

        Raises
        ------
        CatalogueError
            For ``errors`` of stars that have none.
        """
        from .writing import tracers_table

        return tracers_table(self, errors=errors)

    def to_sky(self) -> QTable:
        """The stars as Gaia would list them, computed from phase space.

        Returns
        -------
        QTable
            ra, dec [deg], parallax [mas], distance [kpc], pmra, pmdec [mas/yr], radial_velocity [km/s], and source_id where known.

        Raises
        ------
        CatalogueError
            If the tracers have no frame.
        """
        from .writing import sky_table

        return sky_table(self)

    def write(self, path: str | Path, *, errors: bool = False, overwrite: bool = False) -> Path:
        """Write `to_table` to a file; `read_tracers` gives the same stars back.

        Parameters
        ----------
        path : str or Path
            FITS, ECSV, VOTable, Parquet or HDF5, by the suffix.
        errors : bool
            Also the covariance and the standard errors.
        overwrite : bool
            Replace a file that exists.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CatalogueError
            If the file exists and ``overwrite`` is false, the suffix is none of these, or it cannot be written.
        """
        from .writing import write_table

        return write_table(self.to_table(errors=errors), Path(path), overwrite=overwrite)
