"""The exception family: every foreseeable failure is one clear line.

A message says what was wrong, what was found, what was expected and what to do. The command line prints the message and exits
with ``exit_status``; in Python all of them are ``ValueError`` so that existing code can catch them without knowing the package.
"""

from __future__ import annotations


class DeepPotError(ValueError):
    """Base of every error raised on purpose by this package."""

    exit_status = 2


class UnitsError(DeepPotError):
    """A quantity has no unit, or one that cannot be converted."""


class CatalogueError(DeepPotError):
    """A table, its columns, cuts or frame cannot be used."""


class VolumeError(DeepPotError):
    """A volume is ill defined or holds no stars."""


class ConfigError(DeepPotError):
    """A run configuration has an unknown key or a value out of range."""


class StoreError(DeepPotError):
    """A model or gradient file is missing, damaged, too new or not ours; or a folder cannot be written."""


class FitError(DeepPotError):
    """A fit cannot start (too few stars, constant dimension) or ended without a usable result."""


class FrameError(DeepPotError):
    """A combination of rotating-frame parameters cannot be identified from the stars."""


class ExportError(DeepPotError):
    """A potential cannot be expressed as asked in another package."""


class MissingPackageError(DeepPotError):
    """An optional package is needed; the message names the extra that installs it."""


class DeepPotWarning(UserWarning):
    """Base of the warnings issued by this package."""


class DivergenceWarning(DeepPotWarning):
    """A training diverged and goes on from an earlier state; its history keeps that too."""


class AxisymmetryWarning(DeepPotWarning):
    """The tracers are axisymmetric within their noise, so that the pattern speed is not determined."""


class ExtrapolationWarning(DeepPotWarning):
    """A potential was evaluated, or an orbit went, outside the training volume."""
