"""HEALPix indices and bilinear weights in the ring scheme (Gorski et al. 2005, arXiv:astro-ph/0409513), in NumPy.

The sphere is cut into 12 nside^2 pixels of equal area on 4 nside - 1 rings of constant z = sin(latitude). Interpolation is linear in
longitude along the two rings about a point and then linear in colatitude between them: continuous, and exact at pixel centres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def nside_of(n_pixels: int) -> int:
    """nside of a map with so many pixels.

    Raises
    ------
    CatalogueError
        If no power of two nside has that many.
    """
    nside = round((n_pixels / 12) ** 0.5) if n_pixels > 0 else 0
    if nside < 1 or 12 * nside**2 != n_pixels or nside & (nside - 1):
        raise CatalogueError(f"a HEALPix map has 12 nside^2 pixels (12, 48, 192, 768, ...), found {n_pixels}")
    return nside


def _rings(nside: int, ring: Index) -> tuple[Index, Index, Array, Array]:
    """First pixel, number of pixels, longitude of the first [rad] and z of rings 1 .. 4 nside - 1."""
    north = np.minimum(ring, 4 * nside - ring)
    polar = north < nside
    count = np.where(polar, 4 * north, 4 * nside)
    before = np.where(
        ring < nside,
        2 * ring * (ring - 1),
        np.where(ring <= 3 * nside, 2 * nside * (nside - 1) + 4 * nside * (ring - nside), 12 * nside**2 - 2 * north * (north + 1)),
    )
    offset = np.where(polar, 0.5, np.where((ring - nside) % 2 == 0, 0.5, 0.0))
    cap = 1.0 - north.astype(np.float64) ** 2 / (3.0 * nside**2)
    z = np.where(polar, np.where(ring <= 2 * nside, cap, -cap), 4.0 / 3.0 - 2.0 * ring / (3.0 * nside))
    return before, count, offset * 2.0 * np.pi / count, z


def pixel_centers(nside: int) -> tuple[Array, Array]:
    """Longitude and latitude [deg] of all pixels in ring order."""
    rings = np.arange(1, 4 * nside, dtype=np.int64)
    _, count, first, z = _rings(nside, rings)
    index = np.concatenate([np.arange(number) for number in count])
    lon = np.repeat(first, count) + index * np.repeat(2.0 * np.pi / count, count)
    return np.degrees(lon), np.degrees(np.arcsin(np.repeat(z, count)))


def interpolation(nside: int, lon: Array, lat: Array) -> tuple[Index, Array]:
    """The four pixels about each point and their weights, (N, 4) each, for longitudes and latitudes in degrees.

    Above the highest ring (and below the lowest) the pole itself is the second ring: its value is the mean of the ring's four pixels.
    """
    theta = np.radians(90.0 - np.asarray(lat, dtype=np.float64))
    phi = np.radians(np.asarray(lon, dtype=np.float64)) % (2.0 * np.pi)
    above = _ring_above(nside, np.cos(theta))
    last = 4 * nside - 1
    inside = np.clip(np.stack([above, above + 1], axis=-1), 1, last)
    pixels, weights = np.empty((len(theta), 4), dtype=np.int64), np.empty((len(theta), 4))
    angles = []
    for side in (0, 1):
        start, count, first, z = _rings(nside, inside[:, side])
        place = (phi - first) / (2.0 * np.pi / count)
        left = np.floor(place).astype(np.int64)
        fraction = place - left
        pixels[:, 2 * side] = start + left % count
        pixels[:, 2 * side + 1] = start + (left + 1) % count
        weights[:, 2 * side], weights[:, 2 * side + 1] = 1.0 - fraction, fraction
        angles.append(np.arccos(z))
    between = (above >= 1) & (above < last)
    gap = np.where(between, angles[1] - angles[0], 1.0)
    lower = np.where(between, (theta - angles[0]) / gap, 0.0)
    weights[:, :2] *= (1.0 - lower)[:, None]
    weights[:, 2:] *= lower[:, None]
    # Caps: both columns hold the same ring; the pole takes its share as the ring's mean, spread over its four pixels.
    for cap, edge in ((above < 1, 1), (above >= last, last)):
        if np.any(cap):
            start, _, first, z = (values[0] for values in _rings(nside, np.array([edge])))
            height = np.arccos(z) if edge == 1 else np.pi - np.arccos(z)
            reach = (theta[cap] if edge == 1 else np.pi - theta[cap]) / height
            place = (phi[cap] - first) / (0.5 * np.pi)
            left = np.floor(place).astype(np.int64)
            fraction = place - left
            share = np.full((int(np.count_nonzero(cap)), 4), 0.25) * (1.0 - reach)[:, None]
            rows = np.arange(len(share))
            share[rows, left % 4] += reach * (1.0 - fraction)
            share[rows, (left + 1) % 4] += reach * fraction
            pixels[cap], weights[cap] = start + np.arange(4), share
    return pixels, weights


def _ring_above(nside: int, z: Array) -> Index:
    """Number of the ring at or above each z = cos(theta); 0 above the first."""
    polar = np.abs(z) > 2.0 / 3.0
    cap = np.floor(nside * np.sqrt(3.0 * (1.0 - np.abs(z)))).astype(np.int64)
    belt = np.floor(nside * (2.0 - 1.5 * z)).astype(np.int64)
    ring = np.where(polar, np.where(z > 0.0, cap, 4 * nside - cap - 1), belt)
    # Rounding may land one ring off; put it right by the rings' own z.
    ring = np.clip(ring, 0, 4 * nside - 1)
    own = _rings(nside, np.clip(ring, 1, 4 * nside - 1))[3]
    ring = np.where((ring >= 1) & (own < z), ring - 1, ring)
    below = _rings(nside, np.clip(ring + 1, 1, 4 * nside - 1))[3]
    return np.where((ring + 1 <= 4 * nside - 1) & (below >= z), ring + 1, ring)


def nested_to_ring(values: NDArray, nside: int) -> NDArray:
    """Reorder a map (pixels along its first axis) from the nested to the ring scheme."""
    index = np.arange(12 * nside**2, dtype=np.int64)
    face, inner = index // nside**2, index % nside**2
    ix, iy = _even_bits(inner), _even_bits(inner >> 1)
    row = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])[face]
    column = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])[face]
    ring = row * nside - ix - iy - 1
    north = np.minimum(ring, 4 * nside - ring)
    polar = north < nside
    size = np.where(polar, north, nside)
    shift = np.where(polar, 0, (ring - nside) & 1)
    along = (column * size + ix - iy + 1 + shift) // 2
    along = np.where(along > 4 * size, along - 4 * size, np.where(along < 1, along + 4 * size, along))
    start = _rings(nside, ring)[0]
    ordered = np.empty_like(values)
    ordered[start + along - 1] = values
    return ordered


def _even_bits(number: Index) -> Index:
    """The bits at even places, pushed together."""
    found = np.zeros_like(number)
    for bit in range(30):
        found |= ((number >> (2 * bit)) & 1) << bit
    return found


def pixel_of(nside: int, lon: Array, lat: Array) -> Index:
    """Ring index of the pixel that holds each point (longitude and latitude in degrees)."""
    z = np.sin(np.radians(lat))
    turn = (np.asarray(lon, dtype=np.float64) / 90.0) % 4.0
    belt = np.abs(z) <= 2.0 / 3.0
    up = np.floor(nside * (0.5 + turn) - nside * 0.75 * z).astype(np.int64)
    down = np.floor(nside * (0.5 + turn) + nside * 0.75 * z).astype(np.int64)
    ring = nside + 1 + up - down
    shift = 1 - (ring & 1)
    along = ((up + down - nside + shift + 1) // 2) % (4 * nside)
    in_belt = 2 * nside * (nside - 1) + (ring - 1) * 4 * nside + along
    part = turn - np.floor(turn)
    width = nside * np.sqrt(3.0 * (1.0 - np.abs(z)))
    rise, fall = np.floor(part * width).astype(np.int64), np.floor((1.0 - part) * width).astype(np.int64)
    cap = np.minimum(rise + fall + 1, nside)
    along = np.minimum(np.floor(turn * cap).astype(np.int64), 4 * cap - 1)
    in_cap = np.where(z > 0.0, 2 * cap * (cap - 1) + along, 12 * nside**2 - 2 * cap * (cap + 1) + along)
    return np.where(belt, in_belt, in_cap)
