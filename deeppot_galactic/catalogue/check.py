"""What a user wants to see of a catalogue before fitting it: counts, medians, and whatever looks wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .frames import affine, frame_to_dict

if TYPE_CHECKING:
    from .tracers import Tracers

FEWEST = 1000
"""Below this many stars no fit makes sense."""

SOME = 20_000
"""At most this many stars, evenly through the table, are used for the median errors."""

NEARBY = 0.3
"""Radius [kpc] of the solar neighbourhood."""


def summarize(tracers: Tracers) -> dict[str, Any]:
    """Counts and medians of a catalogue, as plain numbers for a table or JSON.

    Parameters
    ----------
    tracers : Tracers

    Returns
    -------
    dict
        ``source``, ``kind``, ``n_read``, ``n_complete`` (all six coordinates measured), ``n`` (after the cuts), ``cuts`` (records
        with name, removed, left), ``missing``, ``sentinels``, ``duplicates``, ``negative_parallaxes``, ``columns``, ``units``,
        ``notes``; ``frame`` and ``sun`` (position [kpc], velocity [km/s]) where there is one; ``medians`` (R, abs_z, x, y, z [kpc],
        v_R, v_phi, v_z, speed [km/s]); ``dispersions`` (v_R, v_phi, v_z: half the 16-84 % range [km/s]); ``extent`` (R, z, 1 and
        99 % quantiles [kpc]); ``rotation`` ("clockwise", "counter-clockwise" or "none"); ``distance`` from the Sun (median and 99 %
        [kpc]) and ``nearby`` (stars within 0.3 kpc of the Sun: n, v_R, v_phi, v_z medians) for a catalogue from the sky;
        ``errors`` (median standard errors) where they are known; ``warnings``.
    """
    rows, meta = tracers.phase_space, tracers.meta
    x, y, z, vx, vy, vz = rows.T
    radius = np.hypot(x, y)
    safe = np.where(radius > 0.0, radius, 1.0)
    v_radial, v_phi = (x * vx + y * vy) / safe, (x * vy - y * vx) / safe
    summary: dict[str, Any] = {
        "source": meta.get("source", "memory"),
        "kind": meta.get("kind", "phase space"),
        "n_read": int(meta.get("n_read", len(tracers))),
        "n_complete": int(meta.get("n_complete", len(tracers))),
        "n": len(tracers),
        "cuts": list(meta.get("cuts", [])),
        "missing": dict(meta.get("missing", {})),
        "sentinels": dict(meta.get("sentinels", {})),
        "duplicates": meta.get("duplicates"),
        "negative_parallaxes": meta.get("negative_parallaxes"),
        "columns": dict(meta.get("columns", {})),
        "units": dict(meta.get("units", {})),
        "notes": list(meta.get("notes", [])),
        "frame": None,
        "sun": None,
        "medians": {},
        "dispersions": {},
        "extent": {},
        "rotation": "none",
        "distance": None,
        "nearby": None,
        "errors": None,
        "warnings": [],
    }
    if len(tracers) == 0:
        summary["warnings"].append("there are no stars")
        return summary
    columns = {"R": radius, "abs_z": np.abs(z), "x": x, "y": y, "z": z, "v_R": v_radial, "v_phi": v_phi, "v_z": vz}
    columns["speed"] = np.sqrt(vx**2 + vy**2 + vz**2)
    summary["medians"] = {name: float(np.median(values)) for name, values in columns.items()}
    for name in ("v_R", "v_phi", "v_z"):
        low, high = np.quantile(columns[name], [0.16, 0.84])
        summary["dispersions"][name] = float(0.5 * (high - low))
    for name in ("R", "z"):
        summary["extent"][name] = [float(value) for value in np.quantile(columns[name], [0.01, 0.99])]
    mean, scatter = summary["medians"]["v_phi"], summary["dispersions"]["v_phi"]
    if abs(mean) > 3.0 * scatter / np.sqrt(len(rows)):
        summary["rotation"] = "clockwise" if mean < 0.0 else "counter-clockwise"
    if tracers.frame is not None:
        _sky(tracers, summary, columns)
    some = tracers if len(tracers) <= SOME else tracers.select(np.linspace(0, len(tracers) - 1, SOME).astype(int))
    covariance = some.covariance
    if covariance is not None:
        sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        good = np.isfinite(sigma).all(axis=1)
        if good.any():
            names = ("x", "y", "z", "vx", "vy", "vz")
            summary["errors"] = {"n": int(good.sum()), **dict(zip(names, (float(s) for s in np.median(sigma[good], axis=0)), strict=True))}
    _warn(summary)
    return summary


def _sky(tracers: Tracers, summary: dict[str, Any], columns: dict[str, Any]) -> None:
    if tracers.frame is None:
        return
    to_frame = affine(tracers.frame)
    summary["frame"] = frame_to_dict(tracers.frame)
    summary["sun"] = {"position": [float(v) for v in to_frame.origin], "velocity": [float(v) for v in to_frame.velocity]}
    distance = np.linalg.norm(tracers.phase_space[:, :3] - to_frame.origin, axis=1)
    summary["distance"] = {"median": float(np.median(distance)), "99 %": float(np.quantile(distance, 0.99))}
    near = distance < NEARBY
    if near.any():
        medians = {name: float(np.median(columns[name][near])) for name in ("v_R", "v_phi", "v_z")}
        summary["nearby"] = {"n": int(near.sum()), **medians}


def _warn(summary: dict[str, Any]) -> None:
    n, read, complete, warnings = summary["n"], summary["n_read"], summary["n_complete"], summary["warnings"]
    if n < FEWEST:
        warnings.append(f"only {n:,} stars are left, too few for a fit (at least {FEWEST:,} are needed, 100,000 are better)")
    if complete < 0.1 * read:
        worst = max(summary["missing"], key=summary["missing"].get, default=None)
        which = f"; {worst} is missing in {summary['missing'][worst]:,} rows" if worst else ""
        warnings.append(f"only {complete:,} of {read:,} rows have all six coordinates{which}")
    nearby = summary["nearby"]
    if nearby is not None and nearby["n"] >= 100:
        expected = summary["sun"]["velocity"][1] * (-1.0 if summary["sun"]["position"][0] < 0.0 else 1.0)
        if abs(nearby["v_phi"] - expected) > 80.0:
            warnings.append(
                f"nearby stars have a median v_phi of {nearby['v_phi']:.0f} km/s, the Sun {expected:.0f}: are units and columns right?"
            )
    if summary["medians"]["R"] > 100.0 or summary["medians"]["speed"] > 1000.0:
        warnings.append("the stars are far outside the Galaxy or far too fast: are the units right?")
