"""The learned potential in other packages: compiled to splines, as galpy, gala and agama objects, and as files.

Everything here takes a fitted model or its `~deeppot_galactic.potential.blended.GlobalPotential` (or an axisymmetrised one); a host is
imported by the function that needs it.
"""

from __future__ import annotations

from typing import Any

from ..potential.blended import as_global
from .compiled import ForceErrorReport, compile_potential
from .files import export, load

__all__ = ["ForceErrorReport", "compile_potential", "export", "load", "to_agama", "to_gala", "to_galpy"]


def to_galpy(potential: Any, **options: Any) -> Any:
    """See `deeppot_galactic.interop.galpy.to_galpy`.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    **options
        Passed on.

    Returns
    -------
    galpy Potential

    Raises
    ------
    MissingPackageError
        If galpy is not installed.
    """
    _require("galpy")
    from .galpy import to_galpy as convert

    return convert(as_global(potential), **options)


def to_gala(potential: Any, **options: Any) -> Any:
    """See `deeppot_galactic.interop.gala.to_gala`.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    **options
        Passed on.

    Returns
    -------
    gala PotentialBase

    Raises
    ------
    MissingPackageError
        If gala is not installed.
    """
    _require("gala")
    from .gala import to_gala as convert

    return convert(as_global(potential), **options)


def to_agama(potential: Any, **options: Any) -> Any:
    """See `deeppot_galactic.interop.agama.to_agama`.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    **options
        Passed on.

    Returns
    -------
    LearnedPotential
        With the agama potential as ``.agama``.

    Raises
    ------
    MissingPackageError
        If agama is not installed.
    """
    from .agama import to_agama as convert

    return convert(as_global(potential), **options)


def _require(package: str) -> None:
    from importlib.util import find_spec

    from ..errors import MissingPackageError

    if find_spec(package) is None:
        raise MissingPackageError(f"{package} is not installed: pip install 'deeppot-galactic[{package}]'")
