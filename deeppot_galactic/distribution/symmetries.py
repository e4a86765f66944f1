"""Known symmetries of f: reflection in the plane z = 0, rotation by pi."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError


def symmetry_images(*, reflect: bool, turn: bool) -> list[list[float]]:
    """Signs of (x, y, z, vx, vy, vz) under every element of the group that the symmetries generate, the identity first."""
    images = [[1.0] * 6]
    if reflect:
        images.append([1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    if turn:
        images += [[-a, -b, c, -d, -e, f] for a, b, c, d, e, f in images]
    return images


def check_flow_symmetries(settings: Any) -> None:
    """Refuse what flows cannot do together (`ConfigError`)."""
    if settings.errors == "inject" and (settings.reflect or settings.turn):
        raise ConfigError("a flow has no symmetries (reflect, turn) with errors = 'inject'; leave one of them out")
