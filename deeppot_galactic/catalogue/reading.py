"""Reading catalogues from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import CatalogueError
from ..units import LENGTH, VELOCITY
from .tracers import Tracers


def read_tracers(path: str | Path) -> Tracers:
    """Read stars from ``path``: an ``.npz`` with ``pos`` and ``vel`` [kpc, km/s], or a table with x, y, z, vx, vy, vz."""
    path = Path(path)
    if not path.is_file():
        raise CatalogueError(f"no such file: {path}")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as data:
            missing = [key for key in ("pos", "vel") if key not in data]
            if missing:
                raise CatalogueError(f"{path} has no {' and no '.join(missing)}; it holds {', '.join(data.files)}")
            pos, vel = data["pos"], data["vel"]
        return Tracers.from_phase_space(pos * LENGTH, vel * VELOCITY, source=str(path))
    from astropy.table import QTable

    table = QTable.read(path, 1) if path.suffix == ".fits" else QTable.read(path)
    pos = np.stack([table[name].to(LENGTH) for name in ("x", "y", "z")], axis=1)
    vel = np.stack([table[name].to(VELOCITY) for name in ("vx", "vy", "vz")], axis=1)
    return Tracers.from_phase_space(pos, vel, source=str(path))
