"""The end of reading: chunks joined, duplicates handled, plausibility checked, and the record that goes into ``catalogue.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError
from .aliases import CORES
from .cuts import log
from .frames import frame_to_dict
from .tracers import Tracers
from .uncertainty import Observations

if TYPE_CHECKING:
    from .gaia import Part, Reading


def assemble(reading: Reading, parts: list[Part]) -> Tracers:
    """Join the parts of a reading into tracers.

    Raises
    ------
    CatalogueError
        If the table was empty, no star passed, units must have been wrong, or duplicates are forbidden and present.
    """
    source, settings, columns, ledger = reading.source, reading.settings, reading.columns, reading.ledger
    if ledger.n_read == 0:
        raise CatalogueError(f"{source.label} holds no rows")
    rows = np.concatenate([part.rows for part in parts])
    if len(rows) == 0:
        raise CatalogueError(_nothing_left(reading))
    notes = reading.notes
    _check_plausible(reading, rows, notes)
    meta: dict[str, Any] = {
        "source": source.label,
        "kind": columns.kind,
        "n_read": ledger.n_read,
        "n_complete": ledger.counts.pop("complete", len(rows)),
        "cuts": ledger.cuts(),
        "missing": ledger.missing,
        "sentinels": ledger.sentinels,
        "columns": dict(columns.names),
        "units": {role: str(unit) for role, unit in columns.units.items() if unit is not None},
        "frame": None if reading.frame is None else frame_to_dict(reading.frame),
        "notes": notes,
    }
    negative = ledger.counts.pop("negative parallaxes", None)
    if negative is not None:
        meta["negative_parallaxes"] = negative
        if negative:
            notes.append(
                f"{negative:,} of {ledger.n_read:,} rows have a parallax that is zero or negative; they have no distance and are left out"
            )
    uncorrected = ledger.counts.pop("parallaxes without zero point", 0)
    if uncorrected:
        notes.append(f"{uncorrected:,} parallaxes have no zero point (colour or magnitude unknown) and are not corrected")
    unknown = ledger.counts.pop("correlations unknown", 0)
    if unknown:
        notes.append(f"{unknown:,} stars have correlations that are missing; these are taken as zero")
    observations = _join_observations(parts)
    weights = [part.weights for part in parts if part.weights is not None]
    covariance = [part.covariance for part in parts if part.covariance is not None]
    ids = [part.ids for part in parts if part.ids is not None]
    tracers = Tracers(
        rows,
        frame=reading.frame,
        weights=np.concatenate(weights) if weights else None,
        covariance=np.concatenate(covariance) if covariance else None,
        observations=observations,
        ids=np.concatenate(ids) if ids and len(ids) == len(parts) else None,
        meta=meta,
    )
    tracers = _duplicates(tracers, settings.duplicates)
    ledger.log(source.label)
    for note in tracers.meta["notes"]:
        log.info("note: %s", note)
    return tracers


def _join_observations(parts: list[Part]) -> Observations | None:
    found = [part.observations for part in parts if part.observations is not None]
    # A chunk without any known error, in a table that has them elsewhere, would misalign the rest.
    if not found or sum(len(part) for part in found) != sum(len(part.rows) for part in parts):
        return None
    correlations = None if found[0].correlations is None else np.concatenate([part.correlations for part in found])  # type: ignore[arg-type]
    values, errors = (np.concatenate([getattr(part, name) for part in found]) for name in ("values", "errors"))
    return Observations(values, errors, correlations, found[0].sky, found[0].by_parallax)


def _nothing_left(reading: Reading) -> str:
    """Say which column or cut took the last star."""
    ledger = reading.ledger
    n = f"{ledger.n_read:,}"
    first, removed = next(iter(ledger.removed.items()))
    radial = reading.columns.names.get("radial_velocity")
    if removed == ledger.n_read and radial is not None and first == f"{radial} measured":
        return f"{reading.source.label} has no radial velocities: column {radial!r} is empty (masked, NaN or a sentinel) in all {n} rows"
    empty = [name for name, missing in ledger.missing.items() if missing == ledger.n_read and name in _needed(reading)]
    if empty:
        columns = f"column{'s' * (len(empty) > 1)} {', '.join(map(repr, empty))}"
        return f"{reading.source.label}: {columns} {'have' if len(empty) > 1 else 'has'} no usable value in any of the {n} rows"
    return f"{reading.source.label}: no star is left of {n} rows: {ledger.summary()}"


def _needed(reading: Reading) -> set[str]:
    return {reading.columns.names[role] for role in CORES if reading.has(role)}


def _check_plausible(reading: Reading, rows: NDArray[np.float64], notes: list[str]) -> None:
    """Refuse assumed units that give no galaxy; remark on stated ones."""
    with np.errstate(over="ignore"):
        radius = float(np.median(np.linalg.norm(rows[:, :3], axis=1)))
        speed = float(np.median(np.linalg.norm(rows[:, 3:], axis=1)))
    if radius > 500.0 or speed > 3000.0:
        found = f"the median distance from the centre is {radius:.3g} kpc and the median speed {speed:.3g} km/s"
        if reading.columns.assumed:
            assumed = ", ".join(reading.columns.names[role] for role in reading.columns.assumed)
            raise CatalogueError(
                f"{reading.source.label}: {found}; the units assumed for {assumed} must be wrong: state them with units={{...}}"
            )
        notes.append(f"{found}: are the units right?")
    if "ra" in reading.columns.assumed and len(rows) >= 100 and 0.0 < reading.largest_ra <= 24.0:
        name = reading.columns.names["ra"]
        notes.append(
            f"no {name} exceeds 24 and it has no unit: degrees are assumed; if it is in hours, say units={{'{name}': 'hourangle'}}"
        )


def _duplicates(tracers: Tracers, treatment: str) -> Tracers:
    if tracers.ids is None:
        return tracers
    known = tracers.ids >= 0
    _, first = np.unique(tracers.ids[known], return_index=True)
    repeated = int(np.count_nonzero(known)) - len(first)
    tracers.meta["duplicates"] = repeated
    if not repeated:
        return tracers
    if treatment == "error":
        raise CatalogueError(f"{repeated:,} stars repeat a source_id; duplicates = 'drop' keeps the first of each")
    if treatment == "report":
        tracers.meta["notes"].append(f"{repeated:,} stars repeat a source_id and are kept; duplicates = 'drop' keeps the first of each")
        return tracers
    keep = ~known
    keep[np.flatnonzero(known)[first]] = True
    return tracers.select(keep, name="repeated source_id")
