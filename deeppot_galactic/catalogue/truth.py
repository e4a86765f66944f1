"""What is known of a simulated galaxy: pattern speed, forces, densities and curves to compare a fit with.

Two homes: the ``.npz`` file of a snapshot, and the extra tables of the FITS file shipped with the package, which holds a thinned
N-body snapshot (``TRACERS``) with its truth (``TRUTH_POINTS``, ``TRUTH_GRID``, ``TRUTH_CURVES``; scalars in the primary header).
Units are the package's own: kpc, km/s, Msun; angles in radian.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError
from .sources import guarded

Array = NDArray[np.float64]

DEMO_FILE = "demo_nbody_bar.fits"

# scalar of Truth, key in the .npz, FITS keyword, comment
_SCALARS = (
    ("omega", "Omega_bar", "OMEGA", "[km/s/kpc] pattern speed of the bar"),
    ("omega_error", "Omega_bar_err", "OMEGAERR", "[km/s/kpc] its uncertainty"),
    ("bar_angle", "bar_angle", "BARANGLE", "[rad] position angle of the bar"),
    ("bar_length", "R_bar", "RBAR", "[kpc] A2/A0 at 70 % of its peak"),
    ("corotation", "R_corotation", "RCOROT", "[kpc] corotation radius"),
    ("softening", "softening", "SOFTEN", "[kpc] gravitational softening"),
    ("time", "time_Myr", "TIMEMYR", "[Myr] age of the snapshot"),
)
_CURVES = (("vc_R", "vc_R", "kpc"), ("vc", "vc", "km/s"), ("A2_R", "A2_R", "kpc"), ("A2", "A2", ""), ("A2_phase", "A2_phase", "rad"))
_CURVES += (("omega_R", "OmegaR_R", "kpc"), ("omega_of_R", "OmegaR", "km/(s kpc)"))


@dataclass(frozen=True, eq=False)
class Truth:
    """Known quantities of a simulated galaxy; None where unknown. Arrays are float64.

    ``omega``, ``omega_error`` [km/s/kpc]; ``bar_angle`` [rad]; ``bar_length``, ``corotation``, ``softening`` [kpc]; ``time`` [Myr];
    ``positions`` (K, 3) with ``accelerations`` (K, 3), ``potential`` (K,), ``density`` (K,) (all matter; for an N-body snapshot the
    disc by nearest neighbours plus the smooth halo, hence noisy) and its part ``dark_density`` (K,); ``grid_x`` (G,) with
    ``grid_acceleration`` (G, G, 3), indexed [ix, iy], and ``grid_density`` (G, G) in the plane z = 0; circular velocity ``vc`` at
    ``vc_R``; relative m = 2 amplitude ``A2`` and phase ``A2_phase`` at ``A2_R``; pattern speed per annulus ``omega_of_R`` at ``omega_R``;
    ``meta``, where it comes from.
    """

    omega: float | None = None
    omega_error: float | None = None
    bar_angle: float | None = None
    bar_length: float | None = None
    corotation: float | None = None
    softening: float | None = None
    time: float | None = None
    positions: Array | None = None
    accelerations: Array | None = None
    potential: Array | None = None
    density: Array | None = None
    dark_density: Array | None = None
    grid_x: Array | None = None
    grid_acceleration: Array | None = None
    grid_density: Array | None = None
    vc_R: Array | None = None
    vc: Array | None = None
    A2_R: Array | None = None
    A2: Array | None = None
    A2_phase: Array | None = None
    omega_R: Array | None = None
    omega_of_R: Array | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def demo_path() -> Path:
    """The shipped catalogue: 131,072 disc particles of a barred N-body galaxy, with its truth.

    Returns
    -------
    Path
        A FITS file; kpc, km/s.
    """
    return Path(str(files("deeppot_galactic").joinpath("data", DEMO_FILE)))


def read_truth(path: str | Path) -> Truth | None:
    """Read the truth stored beside the stars in ``path``.

    Parameters
    ----------
    path : str or Path
        A snapshot ``.npz`` or a FITS file written by `write_demo_table`.

    Returns
    -------
    Truth or None
        None if the file holds none, as a real catalogue does.

    Raises
    ------
    CatalogueError
        If the file does not exist or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise CatalogueError(f"no such file: {path}")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_npz(path)
    if suffix in (".fits", ".fit", ".fts") or path.name.lower().endswith(".fits.gz"):
        return _from_fits(path)
    return None


def _from_npz(path: Path) -> Truth | None:
    with guarded(path, "NPZ"), path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        found = {key: data[key] for key in data.files if key not in ("pos", "vel", "halo_pos")}
    if "Omega_bar" not in found and "truth_pos" not in found:
        return None

    def array(key: str) -> Any:
        return np.asarray(found[key], dtype=np.float64) if key in found else None

    density = array("truth_rho")
    if density is None and "truth_rho_disc_knn64" in found and "truth_rho_halo_smooth" in found:
        density = np.asarray(found["truth_rho_disc_knn64"], dtype=np.float64) + found["truth_rho_halo_smooth"]
    meta: dict[str, Any] = {"source": path.name}
    if "mass" in found and np.ndim(found["mass"]) == 0:
        meta["particle_mass"] = float(found["mass"])
    if "meta" in found:
        try:
            meta["model"] = json.loads(str(found["meta"]))
        except ValueError:
            meta["model"] = str(found["meta"])
    return Truth(
        **{name: float(found[key]) for name, key, _, _ in _SCALARS if key in found},
        **{name: array(key) for name, key, _ in _CURVES},
        positions=array("truth_pos"),
        accelerations=array("truth_acc"),
        potential=array("truth_pot"),
        density=density,
        dark_density=array("truth_rho_halo_smooth") if "truth_rho_halo_smooth" in found else array("truth_rho_halo"),
        grid_x=array("grid_x"),
        grid_acceleration=array("grid_acc"),
        grid_density=array("grid_rho"),
        meta=meta,
    )


def _from_fits(path: Path) -> Truth | None:
    from astropy.io import fits

    with guarded(path, "FITS"):
        opened: Any = fits.open(path, memmap=False)
        with opened as hdus:
            names = [hdu.name for hdu in hdus]
            if not any(name.startswith("TRUTH_") for name in names):
                return None
            header = hdus[0].header
            tables = {name: hdus[name].data for name in names if name.startswith("TRUTH_")}
            values: dict[str, Any] = {name: float(header[card]) for name, _, card, _ in _SCALARS if header.get(card) is not None}
            meta = {"source": path.name}
            meta |= {name: header[card] for name, card in (("particle_mass", "PARTMASS"), ("snapshot", "SNAPSHOT")) if card in header}

    def column(table: Any, name: str) -> Array | None:
        return np.asarray(table[name], dtype=np.float64) if name in table.names else None

    def stack(table: Any, names: tuple[str, ...]) -> Array:
        return np.stack([np.asarray(table[name], dtype=np.float64) for name in names], axis=-1)

    if (points := tables.get("TRUTH_POINTS")) is not None:
        values |= {"positions": stack(points, ("x", "y", "z")), "accelerations": stack(points, ("ax", "ay", "az"))}
        values |= {"potential": column(points, "potential"), "density": column(points, "density")}
    if (grid := tables.get("TRUTH_GRID")) is not None:
        size = round(len(grid) ** 0.5)
        values["grid_x"] = stack(grid, ("x",))[::size, 0]
        values["grid_acceleration"] = stack(grid, ("ax", "ay", "az")).reshape(size, size, 3)
        if (density := column(grid, "density")) is not None:
            values["grid_density"] = density.reshape(size, size)
    if (curves := tables.get("TRUTH_CURVES")) is not None:
        for name, _, _ in _CURVES:
            if (curve := column(curves, name)) is not None:
                values[name] = curve[0]
    return Truth(**values, meta=meta)


def write_demo_table(npz: str | Path, out_fits: str | Path, n: int = 131_072, seed: int = 0) -> Path:
    """Thin a snapshot to ``n`` stars and write it, with its truth, as one FITS file that any table reader opens.

    Parameters
    ----------
    npz : str or Path
        Snapshot with ``pos``, ``vel`` (N, 3) in kpc and km/s and its truth.
    out_fits : str or Path
        File to write; replaced if it exists.
    n : int
        Number of stars, drawn without replacement.
    seed : int
        Of the draw.

    Raises
    ------
    CatalogueError
        If the snapshot is missing, has no truth or fewer than ``n`` stars.
    """
    from astropy.io import fits

    truth = read_truth(npz)
    if truth is None or truth.positions is None or truth.grid_x is None:
        raise CatalogueError(f"{npz} holds no truth: expected keys Omega_bar, truth_pos, grid_x")
    with np.load(npz, allow_pickle=False) as data:
        stars = np.concatenate([data["pos"], data["vel"]], axis=1).astype(np.float32)
    if not 0 < n <= len(stars):
        raise CatalogueError(f"{npz} holds {len(stars)} stars, asked for {n}")
    draw = np.random.default_rng(seed).choice(len(stars), n, replace=False)

    def table(name: str, columns: list[tuple[str, str, Any]]) -> fits.BinTableHDU:
        made = []
        for key, unit, values in columns:
            array = np.asarray(values, dtype=np.float32)
            made.append(fits.Column(name=key, unit=unit or None, format=f"{array.shape[1]}E" if array.ndim == 2 else "E", array=array))
        return fits.BinTableHDU.from_columns(made, name=name)

    phase = [
        (key, unit, stars[draw, i]) for i, (key, unit) in enumerate(zip("x y z vx vy vz".split(), ["kpc"] * 3 + ["km/s"] * 3, strict=True))
    ]
    force = "km2/(s2 kpc)"
    points = [(key, "kpc", truth.positions[:, i]) for i, key in enumerate("xyz")]
    points += [] if truth.accelerations is None else [(f"a{key}", force, truth.accelerations[:, i]) for i, key in enumerate("xyz")]
    points += [] if truth.potential is None else [("potential", "km2/s2", truth.potential)]
    points += [] if truth.density is None else [("density", "solMass/kpc3", truth.density)]
    x, y = (axis.ravel() for axis in np.meshgrid(truth.grid_x, truth.grid_x, indexing="ij"))
    grid = [("x", "kpc", x), ("y", "kpc", y)]
    grid += (
        [] if truth.grid_acceleration is None else [(f"a{k}", force, truth.grid_acceleration[..., i].ravel()) for i, k in enumerate("xyz")]
    )
    grid += [] if truth.grid_density is None else [("density", "solMass/kpc3", truth.grid_density.ravel())]
    curves = [(name, unit, getattr(truth, name)[None]) for name, _, unit in _CURVES if getattr(truth, name) is not None]

    primary = fits.PrimaryHDU()
    for name, _, card, comment in _SCALARS:
        if getattr(truth, name) is not None:
            primary.header[card] = (getattr(truth, name), comment)
    if "particle_mass" in truth.meta:
        primary.header["PARTMASS"] = (truth.meta["particle_mass"] * len(stars) / n, "[Msun] mass that one star stands for")
    primary.header["SNAPSHOT"] = (Path(npz).name, f"{n} of {len(stars)} stars, seed {seed}")
    hdus = [primary, table("TRACERS", phase), table("TRUTH_POINTS", points), table("TRUTH_GRID", grid), table("TRUTH_CURVES", curves)]
    fits.HDUList(hdus).writeto(out_fits, overwrite=True)
    return Path(out_fits)
