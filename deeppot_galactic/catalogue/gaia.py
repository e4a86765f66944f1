"""From the columns of a table to tracers: values, distances, cuts, frame; a chunk at a time.

The order of the cuts is fixed, so that the counts mean the same everywhere: radial velocity measured, position, proper motion, depth
(distance or parallax) measured, depth positive, ruwe, parallax over error, radial-velocity error, distance limits, expressions.
Stars with a negative parallax have no distance; they are counted on their own and never turned into a positive one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError
from .aliases import CORRELATIONS, PHASE_SPACE, TARGETS
from .columns import Columns, find_columns
from .cuts import Ledger
from .expressions import Expression
from .frames import resolve_frame, rotate_sky, sky_to_phase_space
from .settings import CatalogueSettings
from .sources import Chunk, Source
from .uncertainty import Observations
from .values import bare, factor, identifiers, mask_of, numbers
from .zero_point import ZeroPoint

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

    from .tracers import Tracers

Array = NDArray[np.float64]


@dataclass
class Part:
    """What one chunk leaves behind, after the cuts."""

    rows: Array
    ids: NDArray[np.int64] | None = None
    weights: Array | None = None
    observations: Observations | None = None
    covariance: Array | None = None


class Reading:
    """One pass over a source: the plan, the counts and the notes."""

    def __init__(self, source: Source, settings: CatalogueSettings) -> None:
        self.source, self.settings = source, settings
        self.columns: Columns = find_columns(source.units, settings)
        self.expressions = [Expression(text) for text in settings.where]
        self._available = {**self.columns.names, **{name: name for name in source.units}}
        for expression in self.expressions:
            expression.missing(self._available)
        cut_columns = (self._available[name] for cut in self.expressions for name in cut.names)
        self.needed = list(dict.fromkeys([*self.columns.names.values(), *cut_columns]))
        self.ledger = Ledger()
        self.notes = [*source.notes, *self.columns.notes]
        self.frame = self._frame()
        self.zero_point = ZeroPoint(settings.zero_point) if settings.zero_point is not False and self.has("parallax") else None
        self.chunk: Chunk = {}
        self.length = 0
        self.largest_ra = 0.0
        if self.columns.kind == "sky":
            if settings.ruwe_max is not None and not self.has("ruwe"):
                self.notes.append("no ruwe column: the cut on it is not applied")
            without = self.has("parallax") and not self.has("parallax_error") and not self.has("parallax_over_error")
            if settings.parallax_over_error_min is not None and without:
                self.notes.append("no parallax errors: the cut on parallax_over_error is not applied")
            absent = [role for role in CORRELATIONS if not self.has(role)]
            if settings.keep_errors and self.has("ra", "pmra_error") and absent:
                which = (
                    "no correlations" if len(absent) == len(CORRELATIONS) else f"{len(absent)} correlations are missing ({absent[0]}, ...)"
                )
                self.notes.append(f"{which}: the errors of a star are taken as independent")

    def _frame(self) -> Galactocentric | None:
        stored = self.source.meta.get("frame")
        if self.settings.frame is None and isinstance(stored, dict):
            return resolve_frame(stored)
        return resolve_frame(self.settings.frame) if self.settings.frame is not None or self.columns.kind == "sky" else None

    def has(self, *roles: str) -> bool:
        return self.columns.has(*roles)

    def values(self, role: str) -> Array:
        """The column of a role in the current chunk, in the role's unit; what is missing is counted."""
        name = self.columns.names[role]
        sentinels = [value for value in self.settings.sentinels if role not in PHASE_SPACE or abs(value) >= 999.0]
        if role == "covariance" and np.shape(self.chunk[name])[1:] == (36,):  # Parquet keeps no shapes
            self.chunk[name] = np.reshape(bare(self.chunk[name]), (-1, 6, 6))
        column, found = self._numbers(name, sentinels, 3 if role == "covariance" else 1)
        self.ledger.column(name, int(np.count_nonzero(np.isnan(column if column.ndim == 1 else column[:, 0, 0]))), found)
        return column * factor(self.columns.units[role], TARGETS.get(role))

    def _numbers(self, name: str, sentinels: Iterable[float], dimensions: int = 1) -> tuple[Array, int]:
        try:
            return numbers(self.chunk[name], name, sentinels=tuple(sentinels), dimensions=dimensions)
        except CatalogueError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise CatalogueError(f"column {name!r} cannot be read as numbers: {' '.join(str(error).split())[:120]}") from None

    def expression_cuts(self, keep: NDArray[np.bool_]) -> None:
        """Apply the user's expressions, in the table's own units."""
        for cut in self.expressions:
            columns = {}
            for name in cut.names:
                column = self._available[name]
                data = bare(self.chunk[column])
                logical = data.dtype.kind == "b" and data.ndim == 1
                columns[name] = data if logical else self._numbers(column, self.settings.sentinels)[0]
                if logical:
                    columns[name] = np.where(mask_of(self.chunk[column]), np.nan, data.astype(np.float64))
            self.ledger.apply(cut.text, keep, cut(columns))

    def run(self) -> list[Part]:
        """Read every chunk."""
        parts = []
        for chunk in self.source.read(self.needed, self.settings.chunk_size):
            self.chunk, self.length = chunk, len(mask_of(chunk[self.needed[0]]))
            self.ledger.n_read += self.length
            keep = np.ones(self.length, dtype=bool)
            part = _sky(self, keep) if self.columns.kind == "sky" else _phase_space(self, keep)
            if self.has("weight"):
                part.weights = _weights(self, keep)
            if self.has("source_id"):
                part.ids = self._identifiers(keep)
            parts.append(part)
        return parts

    def _identifiers(self, keep: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        name = self.columns.names["source_id"]
        ids, reason = identifiers(self.chunk[name])
        note = f"column {name} is not used to find duplicates: {reason}"
        if ids is None and note not in self.notes:
            self.notes.append(note)
        return None if ids is None else ids[keep]


def _weights(reading: Reading, keep: NDArray[np.bool_]) -> Array:
    weights = reading.values("weight")[keep]
    bad = np.count_nonzero(~(weights >= 0.0))
    if bad:
        raise CatalogueError(f"column {reading.columns.names['weight']!r}: {bad} weights are missing or negative")
    return weights


def _phase_space(reading: Reading, keep: NDArray[np.bool_]) -> Part:
    rows = np.stack([reading.values(role) for role in PHASE_SPACE], axis=1)
    for name, part in (("position measured", rows[:, :3]), ("velocity measured", rows[:, 3:])):
        reading.ledger.apply(name, keep, np.asarray(np.isfinite(part).all(axis=1)))
    reading.expression_cuts(keep)
    covariance = reading.values("covariance")[keep] if reading.has("covariance") and reading.settings.keep_errors else None
    return Part(rows[keep], covariance=covariance)


def _sky(reading: Reading, keep: NDArray[np.bool_]) -> Part:
    settings, ledger, columns = reading.settings, reading.ledger, reading.columns
    place = ("ra", "dec") if reading.has("ra") else ("l", "b")
    motion = ("pmra", "pmdec") if reading.has("pmra") else ("pml", "pmb")
    by_parallax = not reading.has("distance")
    depth_role = "parallax" if by_parallax else "distance"
    radial, depth = reading.values("radial_velocity"), reading.values(depth_role)
    lon, lat, pm_lon, pm_lat = (reading.values(role) for role in (*place, *motion))
    _check_angles(reading, place, lon, lat)
    if reading.zero_point is not None and by_parallax:
        depth = reading.zero_point.correct(depth, reading)
    if by_parallax:
        ledger.count("negative parallaxes", np.count_nonzero(depth <= 0.0))

    ledger.apply(f"{columns.names['radial_velocity']} measured", keep, np.isfinite(radial))
    ledger.apply("position measured", keep, np.isfinite(lon) & np.isfinite(lat))
    ledger.apply("proper motion measured", keep, np.isfinite(pm_lon) & np.isfinite(pm_lat))
    ledger.apply(f"{columns.names[depth_role]} measured", keep, np.asarray(np.isfinite(depth)))
    with np.errstate(all="ignore"):
        ledger.apply(f"{columns.names[depth_role]} > 0", keep, np.asarray(depth > 0.0))
        ledger.count("complete", np.count_nonzero(keep))
        distance = 1.0 / depth if by_parallax else depth
        errors = _errors(reading, place, motion, by_parallax)
        _quality_cuts(reading, keep, depth, errors, distance, by_parallax)
    reading.expression_cuts(keep)

    if (place[0] == "ra") != (columns.sky == "icrs"):
        lon[keep], lat[keep] = rotate_sky(lon[keep], lat[keep], "icrs" if place[0] == "ra" else "galactic", columns.sky)
    values = np.stack([lon, lat, depth, pm_lon, pm_lat, radial], axis=1)[keep]
    frame = reading.frame if reading.frame is not None else resolve_frame(None)
    observed = np.concatenate([values[:, :2], distance[keep, None], values[:, 3:]], axis=1)
    rows = sky_to_phase_space(observed, frame, sky=columns.sky)
    depth_error = reading.has("parallax_error") if by_parallax else reading.has("distance_error") or reading.has("distance_low")
    if not (settings.keep_errors and depth_error and reading.has(*(f"{role}_error" for role in (*motion, "radial_velocity")))):
        return Part(rows)
    correlations = None
    if reading.has(*CORRELATIONS):
        found = np.stack([reading.values(role)[keep] for role in CORRELATIONS], axis=1).astype(np.float32)
        if not by_parallax:
            found[:, [k for k, role in enumerate(CORRELATIONS) if "parallax" in role]] = 0.0
        ledger.count("correlations unknown", np.count_nonzero(~np.isfinite(found).all(axis=1)))
        correlations = np.where(np.isfinite(found), found, np.float32(0.0))
    return Part(rows, observations=Observations(values, errors[keep], correlations, columns.sky, by_parallax))


def _check_angles(reading: Reading, place: tuple[str, str], lon: Array, lat: Array) -> None:
    for role, values, low, high in ((place[0], lon, -360.0, 720.0), (place[1], lat, -90.0, 90.0)):
        outside = (values < low - 1e-9) | (values > high + 1e-9)
        if outside.any():
            name = reading.columns.names[role]
            found = f"{np.count_nonzero(outside)} values outside {low:g} to {high:g} deg (the first is {values[outside][0]:g})"
            raise CatalogueError(f"column {name!r} has {found}; it was read as {reading.columns.units[role]}: is that right?")
    if len(lon) and np.isfinite(lon).any():
        reading.largest_ra = max(reading.largest_ra, float(np.nanmax(np.abs(lon))))


def _errors(reading: Reading, place: tuple[str, str], motion: tuple[str, str], by_parallax: bool) -> Array:
    def column(role: str) -> Array:
        return reading.values(f"{role}_error") if reading.has(f"{role}_error") else np.full(reading.length, np.nan)

    if not by_parallax and reading.has("distance_low", "distance_high"):
        depth = 0.5 * (reading.values("distance_high") - reading.values("distance_low"))
    else:
        depth = column("parallax" if by_parallax else "distance")
    # The error of a place on the sky is far below all others: where it is not given, or in other coordinates, it is zero.
    angles = [np.nan_to_num(column(role), nan=0.0) for role in place]
    if (place[0] == "ra") != (reading.columns.sky == "icrs"):
        angles = [np.zeros(reading.length)] * 2
    errors = np.stack([*angles, depth, *(column(role) for role in motion), column("radial_velocity")], axis=1)
    errors[errors < 0.0] = np.nan
    return errors


def _quality_cuts(reading: Reading, keep: NDArray[np.bool_], depth: Array, errors: Array, distance: Array, by_parallax: bool) -> None:
    settings, ledger = reading.settings, reading.ledger
    if settings.ruwe_max is not None and reading.has("ruwe"):
        ledger.apply(f"ruwe < {settings.ruwe_max:g}", keep, reading.values("ruwe") < settings.ruwe_max)
    least = settings.parallax_over_error_min
    if least is not None and by_parallax:
        ratio = depth / errors[:, 2] if reading.has("parallax_error") else None
        if ratio is None and reading.has("parallax_over_error"):
            ratio = reading.values("parallax_over_error")
        if ratio is not None:
            ledger.apply(f"parallax_over_error > {least:g}", keep, ratio > least)
    most = settings.radial_velocity_error_max
    if most is not None:
        if not reading.has("radial_velocity_error"):
            raise CatalogueError("radial_velocity_error_max is set, but the table has no column for radial_velocity_error")
        ledger.apply(f"radial_velocity_error < {most:g} km/s", keep, errors[:, 5] < most)
    if settings.distance_min is not None:
        ledger.apply(f"distance > {settings.distance_min:g} kpc", keep, distance > settings.distance_min)
    if settings.distance_max is not None:
        ledger.apply(f"distance < {settings.distance_max:g} kpc", keep, distance < settings.distance_max)


def build_tracers(source: Source, settings: CatalogueSettings) -> Tracers:
    """Tracers from an open source; `read_tracers` and `Tracers.from_table` end here.

    Raises
    ------
    CatalogueError
        If columns are missing, hold something else than numbers or the wrong unit, or if no star is left.
    """
    from .assembly import assemble

    reading = Reading(source, settings)
    return assemble(reading, reading.run())
