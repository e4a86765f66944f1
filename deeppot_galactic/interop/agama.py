r"""The learned potential in agama: a `CylSpline` coefficient file, written without agama.

agama's CylSpline holds azimuthal harmonics on a grid of (R, z),

    Phi = Phi_0 + sum_{m=1..M} [Phi_m cos(m phi) + Phi_-m sin(m phi)],

each a quintic spline of values and first derivatives; for these to be good the values and both derivatives of each harmonic are
projected here from Phi and its gradient, over K equidistant azimuths:

    Phi_m = (2 - delta_m0) / K sum_k Phi(R, z, phi_k) cos(m phi_k), and the same for dPhi/dR, dPhi/dz and for the sines.

The grid runs beyond the training volume, over the analytic continuation, which agama extrapolates further. Units of the file are kpc and
km/s; positions are about the rotation axis.

agama itself is optional: `load_agama` gives its object a thin shell (`agama_shell`) that remembers the coefficients (agama's own
potentials cannot be pickled), the pattern speed and the error report, and evaluates like any other potential here.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError, StoreError
from ..potential.blended import GlobalPotential
from ..store import write_text
from .agama_shell import Shell, load_module, rotation
from .compiled import ForceErrorReport, check_points, force_error

Array = NDArray[np.float64]

GRID = (60, 81)
"""Nodes in R >= 0 and in z."""
HARMONICS = 10
AZIMUTHS = 32
STRETCH = (0.05, 0.05)
"""Inner scale of the grids in units of r_out and of the half height of the volume."""
NEGLIGIBLE = 1e-7
"""Harmonics weaker than this, relative to m = 0, are left out."""
EXTENT = 12.0
"""Outer end of the grids in units of the size of the volume."""
_OMEGA = "#deeppot_omega="


def _grids(potential: GlobalPotential, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Radii (n_R,) from zero, and heights (n_z,) on both sides of the plane, stretched by sinh."""
    volume = potential.volume
    reach = volume.size + float(np.linalg.norm(volume.center - potential.x0))
    thickness = float(getattr(volume, "half_height", 0.2 * reach))
    ends = EXTENT * reach, EXTENT * reach
    scales = STRETCH[0] * reach, STRETCH[1] * thickness
    radii = scales[0] * np.sinh(np.linspace(0, np.arcsinh(ends[0] / scales[0]), shape[0]))
    half = scales[1] * np.sinh(np.linspace(0, np.arcsinh(ends[1] / scales[1]), shape[1] // 2 + 1))
    return radii, np.concatenate([-half[:0:-1], half])


def _harmonics(potential: GlobalPotential, radii: Array, heights: Array, m_max: int) -> Array:
    """Phi_m, dPhi_m/dR, dPhi_m/dz for m = -m_max ... m_max: shape (3, 2 m_max + 1, n_R, n_z)."""
    azimuths = 2 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS
    c, s = np.cos(azimuths), np.sin(azimuths)
    values = np.empty((3, len(radii), len(heights), AZIMUTHS))
    for i, radius in enumerate(radii):
        x = np.stack(np.broadcast_arrays(radius * c, radius * s, heights[:, None]), axis=-1).reshape(-1, 3)
        phi, grad, _ = potential.evaluate(x + potential.x0, 1)
        grad = grad.reshape(len(heights), AZIMUTHS, 3)
        values[:, i] = np.stack([phi.reshape(len(heights), AZIMUTHS), grad[..., 0] * c + grad[..., 1] * s, grad[..., 2]])
    m = np.arange(1, m_max + 1)
    waves = np.column_stack([*(2 * np.sin(k * azimuths) for k in m[::-1]), np.ones(AZIMUTHS), *(2 * np.cos(k * azimuths) for k in m)])
    harmonics = np.moveaxis(values @ (waves / AZIMUTHS), -1, 1)
    # on the axis only m = 0 has a value, and only |m| = 1 a slope
    harmonics[0, np.arange(-m_max, m_max + 1) != 0, 0] = 0
    harmonics[2, np.arange(-m_max, m_max + 1) != 0, 0] = 0
    harmonics[1, np.abs(np.arange(-m_max, m_max + 1)) != 1, 0] = 0
    return harmonics


def _fold(heights: Array, tables: Array) -> tuple[Array, Array]:
    """Mean over both sides of the plane, on z >= 0: agama's actions ask for it of an axisymmetric potential."""
    middle = len(heights) // 2
    upper, lower = tables[..., middle:], tables[..., middle::-1]
    return heights[middle:], np.stack([upper[0] + lower[0], upper[1] + lower[1], upper[2] - lower[2]]) / 2


def coefficients(potential: GlobalPotential, *, shape: tuple[int, int] = GRID, m_max: int = HARMONICS) -> str:
    """The text of an agama coefficient file.

    Parameters
    ----------
    potential : GlobalPotential or AxisymmetricPotential
        What to export.
    shape : tuple of int
        Nodes in R >= 0 and in z.
    m_max : int
        Highest azimuthal harmonic, below 16; an axisymmetric potential has none.

    Returns
    -------
    str
        In kpc and km/s, about the axis of rotation; the pattern speed is in a comment.

    Raises
    ------
    ExportError
        If the potential is not negative everywhere on the grid, which agama's logarithmic scaling needs, or ``m_max`` is out of range.
    """
    axisymmetric = bool(getattr(potential, "axisymmetric", False))
    m_max = 0 if axisymmetric else m_max
    if not 0 <= m_max < AZIMUTHS // 2:
        raise ExportError(f"harmonics must be at least 0 and less than {AZIMUTHS // 2}, found {m_max}")
    radii, heights = _grids(potential, shape)
    tables = _harmonics(potential, radii, heights, m_max)
    if axisymmetric:
        heights, tables = _fold(heights, tables)
    if not np.isfinite(tables).all() or not np.all(tables[0, m_max] < 0):
        raise ExportError("the potential must be finite and negative on the whole grid to be exported to agama")
    # harmonics that are absent cost no time; symmetric bars have only even ones
    strength = np.abs(tables[0]).max(axis=(1, 2)) / np.abs(tables[0, m_max]).max()
    present = [m for m in range(-m_max, m_max + 1) if strength[m + m_max] > NEGLIGIBLE]
    head = ["[Potential]", "type=CylSpline", f"gridSizeR={len(radii)}", f"gridSizez={len(heights)}", f"mmax={m_max}", "symmetry=none"]
    lines = [_OMEGA + json.dumps(potential.omega.tolist()), *head, "Coefficients"]
    top = "#R(row)\\z(col)\t" + "\t".join(f"{z:.15g}" for z in heights)
    for k, title in enumerate(("#Phi", "#dPhi/dR", "#dPhi/dz")):
        lines += ["", title] if k else [title]
        for m in present:
            lines += [f"{m}\t#m", top]
            lines += ["\t".join(f"{value:.15g}" for value in (r, *row)) for r, row in zip(radii, tables[k, m + m_max], strict=True)]
    return "\n".join(lines) + "\n"


def write_coefficients(potential: GlobalPotential, path: str | Path, *, shape: tuple[int, int] = GRID, m_max: int = HARMONICS) -> Path:
    """Write the coefficient file, whole or not at all; ``agama.Potential(path)`` or `load_agama` reads it.

    Parameters
    ----------
    potential : GlobalPotential or AxisymmetricPotential
        What to export.
    path : str or Path
        The file.
    shape : tuple of int
        Nodes in R >= 0 and in z.
    m_max : int
        Highest azimuthal harmonic, below 16.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        As of `coefficients`.
    StoreError
        When it cannot be written.
    """
    write_text(path, coefficients(potential, shape=shape, m_max=m_max))
    return Path(path)


class LearnedPotential(Shell):
    """An agama potential with its coefficients (module docstring); everything of ``agama.Potential`` is available on it.

    Parameters
    ----------
    text : str
        Content of a coefficient file.
    inertial : bool
        Rotate about z with the pattern speed; otherwise pass ``Omega=potential.omega_z`` to ``agama.orbit`` for the bar's frame.
    report : ForceErrorReport, optional
        Force error against what was exported.
    """

    def __init__(self, text: str, *, inertial: bool = False, report: ForceErrorReport | None = None) -> None:
        self.text = text
        omega, agama = _omega(text), load_module()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "coefficients.ini"
            file.write_text(text)
            options: dict[str, Any] = {"rotation": rotation(omega)} if inertial else {}
            host = agama.Potential(file=str(file), **options)
        super().__init__(host, omega, inertial=inertial, report=report)

    def __reduce__(self) -> Any:
        return _rebuild, (self.text, self.inertial, self.report)


def _rebuild(text: str, inertial: bool, report: ForceErrorReport | None) -> LearnedPotential:
    return LearnedPotential(text, inertial=inertial, report=report)


def _omega(text: str) -> Array:
    """Pattern speed (3,) from the comment in a coefficient file."""
    line = next((line for line in text.splitlines() if line.startswith(_OMEGA)), None)
    if line is None:
        raise StoreError("this agama file was not written by deeppot: it has no pattern speed")
    return np.array(json.loads(line.removeprefix(_OMEGA)), np.float64).reshape(3)


def to_agama(
    potential: GlobalPotential, *, backend: str = "compiled", inertial: bool = False, shape: tuple[int, int] = GRID, m_max: int = HARMONICS
) -> Any:
    """Export to agama, with a ``report`` of the force error.

    Parameters
    ----------
    potential : GlobalPotential or AxisymmetricPotential
        What to export.
    backend : {"compiled", "exact"}
        agama's own CylSpline from our coefficients; or the potential itself, called back by agama for every force
        (`deeppot_galactic.interop.agama_exact`: slow, for checks).
    inertial : bool
        Rotate about z with the pattern speed; otherwise pass ``Omega=potential.omega_z`` to ``agama.orbit`` for the bar's frame.
    shape, m_max
        Grid and harmonics of the compiled backend.

    Returns
    -------
    LearnedPotential or ExactPotential
        ``.agama`` is agama's own object.

    Raises
    ------
    MissingPackageError
        If agama is not installed; `write_coefficients` does not need it.
    ExportError
        For an unknown backend, a tilted axis of rotation, or other units set in agama.
    """
    if backend not in ("compiled", "exact"):
        raise ExportError(f"unknown backend {backend!r}: expected 'compiled' or 'exact'")
    load_module()
    if inertial:
        rotation(potential.omega)  # refuses a tilted axis before anything is built
    if backend == "exact":
        from .agama_exact import to_agama_exact

        return to_agama_exact(potential, inertial=inertial)
    start = time.perf_counter()
    static = LearnedPotential(coefficients(potential, shape=shape, m_max=m_max))
    seconds = time.perf_counter() - start
    x = check_points(potential.volume, 4000)
    approximate = static.evaluate(x - potential.x0, 1)[1]
    name = f"agama CylSpline {shape[0]}x{shape[1]}, m <= {m_max}"
    report = force_error(approximate, potential.gradient(x), x, seconds=seconds, backend=name)
    return LearnedPotential(static.text, inertial=inertial, report=report)


def load_agama(path: str | Path, *, inertial: bool = False) -> LearnedPotential:
    """An exported coefficient file as an agama potential.

    Parameters
    ----------
    path : str or Path
        Written by `write_coefficients` or ``deeppot export``.
    inertial : bool
        Rotate about z with the pattern speed.

    Returns
    -------
    LearnedPotential

    Raises
    ------
    StoreError
        If it cannot be read, or has no pattern speed.
    MissingPackageError
        If agama is not installed.
    ExportError
        For a tilted axis of rotation with ``inertial``, or other units set in agama.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: {error}") from None
    return LearnedPotential(text, inertial=inertial)
