"""Which column plays which role, and in which unit.

A role is a fixed name (Gaia's own, or x..vz) with the aliases catalogues use for it. A role has a kind of unit and, where Gaia fixes
it, a default unit for tables that state none. A distance has no such default: pc and kpc are both common, and guessing would be
wrong by a factor of a thousand.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import astropy.units as u

from ..errors import CatalogueError
from ..units import LENGTH
from .aliases import ALIASES, CORRELATIONS, DISTANCE_RANGES, IN_PARSEC, PHASE_SPACE, TARGETS, ZERO_POINT
from .settings import CatalogueSettings


@dataclass(frozen=True)
class Columns:
    """The outcome: ``names`` role to column, ``units`` role to the unit its column is in, ``notes`` on every choice made."""

    kind: str
    names: dict[str, str]
    units: dict[str, u.UnitBase | None]
    sky: str = "icrs"
    notes: list[str] = field(default_factory=list)
    assumed: tuple[str, ...] = ()

    def has(self, *roles: str) -> bool:
        return all(role in self.names for role in roles)


def find_columns(available: Mapping[str, Any], settings: CatalogueSettings) -> Columns:
    """Assign columns to roles.

    Parameters
    ----------
    available : mapping
        Column name to its unit (text, Unit or None).
    settings : CatalogueSettings

    Raises
    ------
    CatalogueError
        If a needed role has no column, two columns fit equally, or a unit is missing or wrong; the message names it.
    """
    _check_mapping(settings.columns, available)
    names: dict[str, str] = {}
    for role in ALIASES:
        found = settings.columns[role] if role in settings.columns else _match(role, available)
        if found:
            names[role] = found
    notes: list[str] = []
    kind = settings.kind
    if kind == "auto":
        complete = all(role in names for role in PHASE_SPACE)
        # An incomplete set of Cartesian columns without any sky columns is a damaged phase-space table, not a sky table.
        sky_like = any(role in names for role in ("ra", "dec", "l", "b", "parallax", "pmra", "pml"))
        kind = "phase space" if complete or (not sky_like and sum(role in names for role in PHASE_SPACE) >= 3) else "sky"
        if complete and sky_like and ("ra" in names or "l" in names):
            notes.append("the table has phase-space columns and sky columns; x, y, z, vx, vy, vz are used (kind = 'sky' takes the others)")
    roles, sky = (_phase_space_roles(names, available), "icrs") if kind == "phase space" else _sky_roles(names, available, notes)
    if settings.zero_point is True and kind == "sky" and "parallax" in roles:
        missing = [role for role in ZERO_POINT if role not in names]
        if missing:
            raise CatalogueError(
                f"the parallax zero point needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}, not in the table"
            )
        roles += ZERO_POINT
    chosen = {role: names[role] for role in dict.fromkeys(roles)}
    assumed: list[str] = []
    units = {role: _unit(role, name, available, settings, assumed) for role, name in chosen.items()}
    if assumed:
        stated = ", ".join(f"{chosen[role]} [{units[role]}]" for role in assumed)
        notes.append(f"no unit in the table, {'kpc and km/s' if kind == 'phase space' else 'those of Gaia'} assumed: {stated}")
    return Columns(kind, chosen, units, sky, notes, tuple(assumed))


def _check_mapping(mapping: Mapping[str, str], available: Iterable[str]) -> None:
    for role, name in mapping.items():
        if role not in ALIASES:
            raise CatalogueError(f"unknown role {role!r} in columns; {_suggest(role, ALIASES)}")
        if name and name not in available:
            raise CatalogueError(f"columns maps {role} to {name!r}, which is not in the table; {_suggest(name, available)}")


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name.lower(), [entry.lower() for entry in known], n=1)
    if close:
        return f"did you mean {next(entry for entry in known if entry.lower() == close[0])!r}?"
    return f"it has {_list(known)}"


def _list(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") if names else "no columns"


def _match(role: str, available: Iterable[str]) -> str | None:
    for alias in ALIASES[role]:
        found = [name for name in available if name.lower() == alias]
        if alias in found:
            return alias
        if len(found) > 1:
            raise CatalogueError(f"the columns {' and '.join(found)} could both be {role}; choose with columns={{'{role}': ...}}")
        if found:
            return found[0]
    return None


def _phase_space_roles(names: dict[str, str], available: Iterable[str]) -> tuple[str, ...]:
    missing = [role for role in PHASE_SPACE if role not in names]
    if missing:
        raise CatalogueError(f"the table has no column for {', '.join(missing)}; found {_list(available)}; name them with columns={{...}}")
    return PHASE_SPACE + tuple(role for role in ("weight", "covariance", "source_id") if role in names)


def _sky_roles(names: dict[str, str], available: Mapping[str, Any], notes: list[str]) -> tuple[tuple[str, ...], str]:
    equatorial, galactic = all(k in names for k in ("pmra", "pmdec")), all(k in names for k in ("pml", "pmb"))
    sky = "icrs" if equatorial or not galactic else "galactic"
    motion = ("pmra", "pmdec") if sky == "icrs" else ("pml", "pmb")
    place = ("ra", "dec") if sky == "icrs" else ("l", "b")
    other = ("l", "b") if sky == "icrs" else ("ra", "dec")
    if not all(k in names for k in place) and all(k in names for k in other):
        place = other
    lacking = [role for role in (*place, *motion) if role not in names]
    by_distance = "distance" in names
    if not by_distance and "parallax" not in names:
        lacking.append("parallax (or a distance)")
    if "radial_velocity" not in names:
        lacking.append("radial_velocity")
    if lacking:
        what = "no radial velocities: " if lacking == ["radial_velocity"] else ""
        looked = ", ".join(ALIASES["radial_velocity"]) if what else ""
        tried = f" (looked for {looked})" if looked else ""
        coordinates = [name for name, unit in available.items() if unit == "SkyCoord"]
        hint = f"use Tracers.from_skycoord(table[{coordinates[0]!r}])" if coordinates else "name them with columns={'radial_velocity': ...}"
        raise CatalogueError(f"{what}the table has no column for {', '.join(lacking)}{tried}; found {_list(available)}; {hint}")
    depth: list[str] = ["distance" if by_distance else "parallax"]
    if by_distance:
        if "parallax" in names:
            notes.append(f"the distance column {names['distance']} is used, not the parallax")
        pair = DISTANCE_RANGES.get(names["distance"].lower())
        if "distance_error" in names:
            depth.append("distance_error")
        elif pair and all(name in available for name in pair):
            names["distance_low"], names["distance_high"] = pair
            depth += ["distance_low", "distance_high"]
    else:
        depth += [role for role in ("parallax_error", "parallax_over_error") if role in names]
    errors = [f"{role}_error" for role in (*place, *motion, "radial_velocity")]
    extra = [role for role in (*errors, *(CORRELATIONS if sky == "icrs" and place == ("ra", "dec") else ())) if role in names]
    extra += [role for role in ("ruwe", "source_id", "weight") if role in names]
    return (*place, *depth, *motion, "radial_velocity", *extra), sky


def _unit(role: str, name: str, available: Mapping[str, Any], settings: CatalogueSettings, assumed: list[str]) -> u.UnitBase | None:
    target = TARGETS.get(role)
    if target is None:
        return None
    stated = settings.units.get(name, settings.units.get(role, available[name]))
    unit = parse_unit(stated, name)
    if unit is None:
        if LENGTH.is_equivalent(target) and role not in PHASE_SPACE:
            if name.lower() not in IN_PARSEC:
                raise CatalogueError(
                    f"column {name!r} has no unit, and distances come in pc and in kpc; say which: units={{'{name}': 'kpc'}}"
                )
            unit = u.pc
        else:
            unit = target
        assumed.append(role)
    with u.set_enabled_equivalencies(u.dimensionless_angles() if role.startswith("pm") else []):
        if not unit.is_equivalent(target):
            raise CatalogueError(f"column {name!r} is in {unit}, which cannot be converted to {target} as needed for {role}")
    return unit


def parse_unit(unit: Any, name: str) -> u.UnitBase | None:
    """A unit, or None where the table states none."""
    if unit is None or (isinstance(unit, str) and unit.strip() in ("", "-", "--", "None")):
        return None
    if isinstance(unit, str):
        text = unit.strip().strip("'\"")
        for form in (None, "fits", "cds", "vounit"):
            try:
                unit = u.Unit(text, format=form)
                break
            except ValueError:
                continue
        else:
            raise CatalogueError(f"the unit {text!r} of column {name!r} is not understood; give it with units={{'{name}': ...}}")
    if isinstance(unit, u.UnrecognizedUnit) or not isinstance(unit, u.UnitBase):
        raise CatalogueError(f"the unit {str(unit)!r} of column {name!r} is not understood; give it with units={{'{name}': ...}}")
    return None if unit == u.dimensionless_unscaled else unit
