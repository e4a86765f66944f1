r"""The learned potential in galpy's C code: Miyamoto-Nagai discs and a multipole expansion of the rest.

A thin disc needs very high multipoles, discs of Miyamoto and Nagai none: Phi = sum_k Phi_MN,k + Phi_rest, where the discs are those of
a non-negative fit of discs and halos to the forces (the halos are left to the multipoles), and with real harmonics

    Phi_rest = sum_lm [C_lm(r) cos(m phi) + S_lm(r) sin(m phi)] P_lm(cos theta),      l < L,
    C_lm(r) = alpha_lm^2 (2 - delta_m0) int Phi_rest P_lm cos(m phi) dOmega,   alpha_lm^2 = (2 l + 1) (l - m)! / (4 pi (l + m)!).

galpy evaluates C_lm = r^-(l+1) I_in + r^l I_out, where I_in and I_out are radial integrals of the density. Computed as integrals they
lose all digits at high l; from C and C' = dC/dr, both projected from the learned potential, they follow locally,

    I_in = r^(l+1) (l C - r C') / (2 l + 1),     I_out = r^-l ((l + 1) C + r C') / (2 l + 1),
    I_in' = -r^(l+2) q / (2 l + 1),              I_out' = r^(1-l) q / (2 l + 1),     q = C'' + 2 C' / r - l (l + 1) C / r^2 = 4 pi rho_lm,

and are put in their place: attributes private to galpy 1.12, so that the result is checked against the exact forces before it is
returned, and refused if it does not agree.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from galpy.potential import MiyamotoNagaiPotential, MultipoleExpansionPotential, SolidBodyRotationWrapperPotential
from galpy.util.conversion import parse_length_kpc, parse_velocity_kms
from numpy.typing import NDArray
from scipy.interpolate import BPoly, CubicSpline, InterpolatedUnivariateSpline
from scipy.optimize import nnls
from scipy.special import assoc_legendre_p_all, gammaln

from ..errors import ExportError
from ..potential.analytic import NFW, MiyamotoNagai, Plummer, Sum
from ..potential.blended import GlobalPotential
from ..units import G
from .compiled import check_points, compile_potential, force_error
from .galpy import MIRROR

Array = NDArray[np.float64]

DEGREES = 11
"""L: multipoles l < L."""
RADII = (5e-3, 2e3, 150)
"""Ends (kpc) and number of the logarithmic radial grid."""
ANGLES = (64, 32)
"""Quadrature nodes in cos(theta) and phi."""
N_CHECK = 120
"""Points at which the forces are compared; galpy takes them one by one."""
WORST_MEDIAN = 0.05
"""A median force error above this means that galpy's internals are not what they were."""


def fit_discs(potential: GlobalPotential, n: int = 3000) -> list[MiyamotoNagai]:
    """The Miyamoto-Nagai discs of a non-negative fit of discs, halos and spheres to the forces in the training volume."""
    x = check_points(potential.volume, n, seed=2)
    target = potential.gradient(x)
    scale = 1 / np.linalg.norm(target, axis=1, keepdims=True)
    discs = [
        MiyamotoNagai(1e10, a, b) for a in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8) for b in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0)
    ]
    others = [NFW(1e11, r_s) for r_s in (4, 8, 12, 16, 24, 40)] + [Plummer(1e10, b) for b in (0.3, 0.6, 1.2, 3, 6, 10, 20)]
    models = [*discs, *others]
    columns = np.stack([(model.evaluate(x, 1)[1] * scale).ravel() for model in models], axis=1)
    masses = nnls(columns, (target * scale).ravel(), maxiter=100 * len(models))[0]
    return [MiyamotoNagai(float(mass) * 1e10, disc.a, disc.b) for disc, mass in zip(discs, masses, strict=False) if mass > 0]


def _project(potential: GlobalPotential, discs: list[MiyamotoNagai], radii: Array, degrees: int) -> tuple[Array, Array]:
    """C and S with first and second radial derivatives, each (3, n_radii, L, L), in (km/s)^2 and kpc."""
    nodes, weights = np.polynomial.legendre.leggauss(ANGLES[0])
    phi = 2 * np.pi * np.arange(ANGLES[1]) / ANGLES[1]
    sine = np.sqrt(1 - nodes**2)
    unit = np.stack(np.broadcast_arrays(sine[:, None] * np.cos(phi), sine[:, None] * np.sin(phi), nodes[:, None]), axis=-1).reshape(-1, 3)
    rest = Sum(discs) if discs else None
    profiles = np.empty((3, len(radii), *ANGLES))
    for i, r in enumerate(radii):
        x = r * unit
        value, grad, hess = potential.evaluate(x * MIRROR + potential.x0, 2)
        if rest is not None:
            value, grad, hess = (a - b for a, b in zip((value, grad, hess), rest.evaluate(x * MIRROR, 2), strict=True))
        n = unit * MIRROR
        radial = value, np.einsum("ni,ni->n", n, grad), np.einsum("ni,nij,nj->n", n, hess, n)
        profiles[:, i] = np.stack(radial).reshape(3, *ANGLES)
    m = np.arange(degrees)
    # scipy gives P_lm with the Condon-Shortley phase at [l, m]; galpy's harmonics have it too
    legendre = assoc_legendre_p_all(degrees - 1, degrees - 1, nodes)[0][:, :degrees]
    degree, order = np.meshgrid(m, m, indexing="ij")
    ratio = np.where(order <= degree, np.exp(gammaln(np.maximum(degree - order, 0) + 1) - gammaln(degree + order + 1)), 0.0)
    norm = (2 * degree + 1) / (4 * np.pi) * ratio * np.where(order == 0, 1, 2)
    along_phi = [np.tensordot(profiles, trig(np.outer(phi, m)), axes=(3, 0)) * (2 * np.pi / ANGLES[1]) for trig in (np.cos, np.sin)]
    c, s = (np.einsum("dirm,lmr,r->dilm", part, legendre, weights) * norm for part in along_phi)
    return c, s


def _radial(degree: int, r: Array, c: Array) -> tuple[Any, Any, Any]:
    """I_in, I_out and density spline of one harmonic from C, C', C'' (3, n_radii) in galpy's units."""
    value, first, second = c
    q = second + 2 * first / r - degree * (degree + 1) * value / r**2
    slope = CubicSpline(np.log(r), q)(np.log(r), 1) / r
    inner = r ** (degree + 1) * (degree * value - r * first) / (2 * degree + 1)
    outer = r ** (-degree) * ((degree + 1) * value + r * first) / (2 * degree + 1)
    outer[-1] = 0.0 if degree > 0 else outer[-1]
    d_inner, d_outer = -(r ** (degree + 2)) * q / (2 * degree + 1), r ** (1 - degree) * q / (2 * degree + 1)
    dd_inner = -((degree + 2) * r ** (degree + 1) * q + r ** (degree + 2) * slope) / (2 * degree + 1)
    dd_outer = ((1 - degree) * r ** (-degree) * q + r ** (1 - degree) * slope) / (2 * degree + 1)
    return (
        _hermite(r, inner, d_inner, dd_inner),
        _hermite(r, outer, d_outer, dd_outer),
        InterpolatedUnivariateSpline(r, q / (4 * np.pi), k=3),
    )


def _hermite(x: Array, value: Array, first: Array, second: Array) -> BPoly:
    """Piecewise quintic through values, slopes and curvatures, as a Bernstein polynomial."""
    h = np.diff(x)
    one = [value[:-1] + k * h * first[:-1] / 5 + k * (k - 1) * h**2 * second[:-1] / 40 for k in (0, 1, 2)]
    two = [value[1:] - k * h * first[1:] / 5 + k * (k - 1) * h**2 * second[1:] / 40 for k in (2, 1, 0)]
    return BPoly(np.stack([*one, *two]), x)


def _expansion(c: Array, s: Array, r: Array, ro: float, vo: float) -> Any:
    """Fill galpy's expansion with the radial functions of all harmonics."""
    degrees = c.shape[-1]
    names = ("_I_inner_cos", "_I_outer_cos", "_rho_cos_splines"), ("_I_inner_sin", "_I_outer_sin", "_rho_sin_splines")
    flat = InterpolatedUnivariateSpline(r, np.zeros(len(r)), k=3)
    # the constructor gets a few nodes of a stand-in: a harmonic with m > 0 tells it that the potential is not axisymmetric
    few = r[[0, len(r) // 4, len(r) // 2, 3 * len(r) // 4, -1]]
    zero, one = (InterpolatedUnivariateSpline(few, np.full(5, value), k=3) for value in (0.0, 1e-3))
    seed = [[zero] * degrees for _ in range(degrees)]
    seed[0][0] = seed[-1][1] = one
    expansion = MultipoleExpansionPotential(
        rho_cos_splines=seed, rho_sin_splines=[[zero] * degrees for _ in range(degrees)], rgrid=few, ro=ro, vo=vo
    )
    if not hasattr(expansion, "_rgrid"):
        raise ExportError("galpy's MultipoleExpansionPotential has no _rgrid: this version of galpy is not supported")
    expansion._rgrid = r
    for part, coefficients in zip(names, (c, s), strict=True):
        tables: list[list[list[Any]]] = [[[None] * degrees for _ in range(degrees)] for _ in part]
        for degree in range(degrees):
            for m in range(degree + 1):
                for table, spline in zip(tables, _radial(degree, r, coefficients[:, :, degree, m]), strict=True):
                    table[degree][m] = spline
        for name, table in zip(part, tables, strict=True):
            if not hasattr(expansion, name):
                raise ExportError(f"galpy's MultipoleExpansionPotential has no {name}: this version of galpy is not supported")
            for row in table:
                row[:] = [flat if entry is None else entry for entry in row]
            setattr(expansion, name, table)
    return expansion


def to_galpy_expansion(
    potential: GlobalPotential, *, ro: Any = 8.0, vo: Any = 220.0, inertial: bool = False, degrees: int = DEGREES
) -> Any:
    """Export to galpy as a sum of potentials that galpy integrates in C.

    Parameters
    ----------
    potential : GlobalPotential
        What to expand; compiled first, if it is not.
    ro, vo : float or Quantity
        galpy's units [kpc, km/s].
    inertial : bool
        Wrap it in a `SolidBodyRotationWrapperPotential` with the pattern speed.
    degrees : int
        L, multipoles l < L.

    Returns
    -------
    galpy.potential.Potential
        With a ``report`` of its force error against ``potential``.

    Raises
    ------
    ExportError
        If the axis of rotation is tilted, or the expansion fails its check.
    """
    start = time.perf_counter()
    if np.hypot(*potential.omega[:2]) > 1e-6 * abs(potential.omega[2]):
        raise ExportError(f"galpy rotates in C about the z axis only, Omega = {potential.omega}: use the compiled backend")
    scales = float(parse_length_kpc(ro)), float(parse_velocity_kms(vo))
    source = compile_potential(potential)
    discs = fit_discs(source)
    radii = np.geomspace(*RADII)
    c, s = _project(source, discs, radii, degrees)
    powers = np.array([1, scales[0], scales[0] ** 2])[:, None, None, None] / scales[1] ** 2
    total: Any = _expansion(c * powers, s * powers, radii / scales[0], *scales)
    for disc in discs:
        amp = G * disc.m / (scales[0] * scales[1] ** 2)
        total = total + MiyamotoNagaiPotential(amp=amp, a=disc.a / scales[0], b=disc.b / scales[0], ro=scales[0], vo=scales[1])
    seconds = time.perf_counter() - start
    x = check_points(potential.volume, N_CHECK)
    report = force_error(
        -_forces(total, x - potential.x0, *scales), potential.gradient(x), x, seconds=seconds, backend=f"galpy C expansion, L = {degrees}"
    )
    if not report.median < WORST_MEDIAN:
        raise ExportError(f"the expansion in galpy does not reproduce the potential ({report}): this version of galpy is not supported")
    if inertial:
        omega = -float(potential.omega[2]) * scales[0] / scales[1]
        total = SolidBodyRotationWrapperPotential(pot=total, omega=omega, ro=scales[0], vo=scales[1])
    total.report = report
    return total


def _forces(host: Any, x: Array, ro: float, vo: float) -> Array:
    """Cartesian accelerations (N, 3) in our axes and (km/s)^2/kpc from a galpy potential, point by point."""
    from galpy.potential import evaluatephitorques, evaluateRforces, evaluatezforces

    y = x * MIRROR / ro
    radius, azimuth = np.hypot(y[:, 0], y[:, 1]), np.arctan2(y[:, 1], y[:, 0])
    call = {"use_physical": False}
    rows = [
        [f(host, R, z, phi=p, **call) for f in (evaluateRforces, evaluatephitorques, evaluatezforces)]
        for R, p, z in zip(radius, azimuth, y[:, 2], strict=True)
    ]
    f_R, torque, f_z = np.array(rows).T
    c, s = np.cos(azimuth), np.sin(azimuth)
    return np.column_stack([f_R * c - torque / radius * s, f_R * s + torque / radius * c, f_z]) * MIRROR * vo**2 / ro
