"""Shapes of which microstructures are made, as functions of position: grains, lamellae, particles, laths, plates."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from steelrender.field import Field, random_of, smooth_noise

GOLDEN = np.uint32(2_654_435_769)  # 2 ** 32 over the golden ratio


@dataclass
class Cells:
    """What `voronoi` returns, each of the field's shape.

    Attributes
    ----------
    index : array of int64
        Cell of each pixel.
    boundary_um : array of float32
        Distance to the nearest boundary, exact where that is straight.
    pair : array of int64
        Key below 65 536 of the boundary, the same on both of its sides.
    """

    index: np.ndarray
    boundary_um: np.ndarray
    pair: np.ndarray


def voronoi(field: Field, diameter_um: float, *, waviness: float = 0.05, spread: float = 0.3) -> Cells:
    """Grains as weighted Voronoi cells (a power diagram) of a jittered hexagonal lattice.

    Parameters
    ----------
    field : Field
    diameter_um : float
        Diameter of the circle of the mean cell's area.
    waviness : float
        How far boundaries bend, relative to the diameter.
    spread : float
        Of the weights: 0 gives cells of similar size; above 0.5, small cells begin to vanish inside large ones.
    """
    rng, (width, height) = field.rng, field.size_um
    # Cells below a pixel of the finer grid cannot be told apart.
    diameter_um = max(diameter_um, 1 / field.fine_pixels_per_um)
    step = diameter_um * np.sqrt(np.pi / (2 * np.sqrt(3)))
    radius = np.hypot(width, height) / 2 + 3 * diameter_um
    i = np.arange(-np.ceil(radius / step), np.ceil(radius / step) + 1)
    j = np.arange(-np.ceil(radius / step / 0.866), np.ceil(radius / step / 0.866) + 1)
    i, j = np.meshgrid(i, j)
    lattice = np.stack([i + 0.5 * (j % 2), j * np.sqrt(3) / 2], -1).reshape(-1, 2) + rng.random(2)
    points = step * (lattice + rng.uniform(-0.5, 0.5, lattice.shape))
    turn = rng.uniform(0, np.pi)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + np.array([width, height]) / 2
    inside = np.all((points > -2 * diameter_um) & (points < np.array([width, height]) + 2 * diameter_um), axis=1)
    points = points[inside]
    # The weight becomes a third coordinate, so that the nearest point in space is the cell's of the power diagram.
    third = diameter_um * np.sqrt(np.maximum(0, 0.6 * spread * (1.5 + rng.standard_normal(len(points)))))
    tree = cKDTree(np.column_stack([points, third]), leafsize=8)
    points_x, points_y = points.T.copy()
    x, y = field.x_um, field.y_um
    if waviness:
        x, y = (c + waviness * diameter_um * smooth_noise(field, 0.5 * diameter_um) for c in (x, y))

    def ask(x, y, n_cells):
        query = np.stack([x.ravel(), y.ravel(), np.zeros(x.size, np.float32)], 1)
        distance, nearest = tree.query(query, k=n_cells)
        # The nearest boundary need not be that with the second cell, nor, seldom, with one of those asked for.
        own, others = nearest[:, 0], nearest[:, 1:].T
        boundary, neighbour = np.full(len(own), np.inf), own.copy()
        for k, other in enumerate(others, 1):
            apart = np.hypot(points_x[other] - points_x[own], points_y[other] - points_y[own]) + 1e-9
            to_side = (distance[:, k] ** 2 - distance[:, 0] ** 2) / (2 * apart)
            closer = to_side < boundary
            boundary[closer], neighbour[closer] = to_side[closer], other[closer]
        return own, neighbour, boundary.astype(np.float32)

    # Asked once for 4 or 16 pixels of the finer grid, and for each of them where a boundary is near.
    size, step_px = field.shape[::-1], 4 if diameter_um * field.fine_pixels_per_um > 64 else 2
    coarse = (size[0] // step_px, size[1] // step_px)
    own, neighbour, boundary = ask(*(cv2.resize(c, coarse, interpolation=cv2.INTER_AREA) for c in (x, y)), 6)
    own, neighbour = (c.reshape(coarse[::-1]).repeat(step_px, 0).repeat(step_px, 1) for c in (own, neighbour))
    boundary = cv2.resize(boundary.reshape(coarse[::-1]), size)
    near = np.flatnonzero(boundary < 1.25 * step_px / field.fine_pixels_per_um)
    if len(near):
        own.flat[near], neighbour.flat[near], boundary.flat[near] = ask(x.flat[near], y.flat[near], 4)
    low, high = np.minimum(own, neighbour), np.maximum(own, neighbour)
    return Cells(own, boundary, (low * 73_856_093 ^ high * 19_349_663) & 0xFFFF)


def line(field: Field, distance_um: np.ndarray, width_um) -> np.ndarray:
    """Share of each pixel of the finer grid that a line covers, from the distance to its middle.

    A line narrower than a pixel fades in proportion, as it should.
    """
    half, edge = np.maximum(width_um, 0) / 2, 0.5 / field.fine_pixels_per_um
    covered = np.minimum(np.abs(distance_um) + edge, half) - np.maximum(np.abs(distance_um) - edge, -half)
    return np.clip(covered / (2 * edge), 0, 1).astype(np.float32)


def lamellae(field: Field, spacing_um: float, angle, stretch=1.0, *, bend_um=0.0, share: float = 0.3) -> np.ndarray:
    """Alternating lamellae: the share of each pixel that is the minor phase.

    The square wave is averaged over the pixel in closed form, so unresolved lamellae give ``share``, flat.

    Parameters
    ----------
    spacing_um : float
        True interlamellar spacing, perpendicular to the lamellae.
    angle : float or array
        Direction of the normal in radians.
    stretch : float or array
        Apparent over true spacing, from the tilt of the colony against the section.
    bend_um : float or array
        Shift of the lamellae along their normal, which curves them where it varies.
    share : float or array
        Volume share of the minor phase.
    """
    period = np.asarray(spacing_um * stretch, np.float32)
    phase = (field.x_um * np.cos(angle) + field.y_um * np.sin(angle) + bend_um) / period

    def filled(t):
        whole = np.floor(t)
        return whole * share + np.clip(t - whole - (1 - share) / 2, 0, share)

    # A little wider than the pixel, for less moire where lamellae are about as fine as the grid.
    half = 0.7 * (np.abs(np.cos(angle)) + np.abs(np.sin(angle))) / (field.fine_pixels_per_um * period)
    return np.clip((filled(phase + half) - filled(phase - half)) / (2 * half), 0, 1).astype(np.float32)


def particles(field: Field, diameter_um: float, area_share: float, *, spread: float = 0.35, aspect: float = 1.3,
              angle_deg=None, where=None, wobble: float = 0.12) -> np.ndarray:  # fmt: skip
    """Separate particles of lognormal size, near ellipses: the share of each pixel that they cover.

    Parameters
    ----------
    diameter_um, spread : float
        Median diameter (of the circle of equal area) and the standard deviation of its logarithm.
    area_share : float
        Share of the section that they fill, while there is room.
    aspect : float
        Mean ratio of the axes, at least 1.
    angle_deg : array, optional
        Direction of the long axis at each pixel; random where not given.
    where : array of bool, optional
        Where centres may lie.
    wobble : float
        How far outlines leave the ellipse, in diameters.
    """
    rng, scale = field.rng, field.fine_pixels_per_um
    rows, columns = field.shape
    mean_area_px = np.pi / 4 * (diameter_um * scale) ** 2 * np.exp(2 * spread**2)
    expected = area_share * rows * columns / mean_area_px
    if diameter_um * scale < 1.5 or expected > 60_000:
        # Not resolved: only how many fall on a pixel matters.
        count = rng.poisson(area_share / mean_area_px, field.shape) * mean_area_px
        return (np.clip(count, 0, 1) * (1 if where is None else where)).astype(np.float32)
    # Small ones are drawn finer still, for their shape and area to come out right.
    up = 3 if diameter_um * scale < 6 else 1
    n = rng.poisson(expected)
    diameter = np.sort(diameter_um * scale * up * np.exp(rng.normal(0, spread, n)))[::-1]
    ratio = 1 + (aspect - 1) * rng.gamma(3, 1 / 3, n)
    turn, tilt = rng.uniform(0, 180, n), rng.normal(0, 6, n)
    long_axis, short_axis = diameter * np.sqrt(ratio) / 2, diameter / np.sqrt(ratio) / 2
    # Large ones are placed first; each takes the first of its candidate places that is free.
    x, y = rng.uniform(0, columns, (n, 24)), rng.uniform(0, rows, (n, 24))
    free = np.ones((n, 24), bool) if where is None else where[y.astype(int), x.astype(int)]
    canvas, taken = (np.zeros((rows * up, columns * up), np.uint8) for _ in range(2))
    gap = 0.35 * np.median(diameter) if n else 0
    column, row = (x * up).astype(int), (y * up).astype(int)
    for i in range(n):
        open_places = free[i] & (taken[row[i], column[i]] == 0)
        k = int(open_places.argmax())
        if not open_places[k]:
            continue
        at_x, at_y = float(x[i, k]), float(y[i, k])
        degrees = turn[i] if angle_deg is None else float(angle_deg[int(at_y), int(at_x)] + tilt[i])
        centre = (int((at_x * up - 0.5) * 16), int((at_y * up - 0.5) * 16))
        # OpenCV fills about a quarter of a pixel too far.
        axes = tuple(max(1, int((a - 0.25) * 16)) for a in (long_axis[i], short_axis[i]))
        cv2.ellipse(canvas, centre, axes, degrees, 0, 360, 255, -1, cv2.LINE_AA, 4)
        axes = tuple(int((a + gap) * 16) for a in (long_axis[i], short_axis[i]))
        cv2.ellipse(taken, centre, axes, degrees, 0, 360, 1, -1, cv2.LINE_8, 4)
    canvas = canvas.astype(np.float32) / 255
    if up > 1:
        canvas = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    if wobble and diameter_um * scale > 5:
        push = wobble * diameter_um * scale
        shift_x, shift_y = (push * smooth_noise(field, 0.6 * diameter_um) for _ in range(2))
        canvas = cv2.remap(canvas, field.x_um * scale - 0.5 + shift_x, field.y_um * scale - 0.5 + shift_y,
                           cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    return canvas


def film(field: Field, cells: Cells, thickness_um: float, *, coverage: float = 1.0) -> np.ndarray:
    """A film of uneven thickness on the cells' boundaries, missing on all but ``coverage`` of them."""
    uneven = np.exp(0.35 * smooth_noise(field, 6 * thickness_um))
    return line(field, cells.boundary_um, thickness_um * uneven) * (random_of(field, cells.pair) < coverage)


def laths(field: Field, width_um: float, angle, packet: np.ndarray, *, bend: float = 0.25, length: float = 18.0,
          taper: float = 4.0):  # fmt: skip
    """Parallel laths with slanted ends.

    Parameters
    ----------
    width_um : float
    angle : array
        Direction of the normal to the laths in radians.
    packet : array of int
        Laths of different packets are different.
    bend : float
        How far they bend, in widths, over some ten widths.
    length : float
        Mean length in widths.
    taper : float
        Length of the slanted tip in widths.

    Returns
    -------
    key : array of int64
        Below 65 536, of each lath.
    edge_um : array of float32
        Distance to the lath's side.
    along_um : array of float32
        Position along the lath.
    """
    across = (field.x_um * np.cos(angle) + field.y_um * np.sin(angle)) / width_um
    along = (field.y_um * np.cos(angle) - field.x_um * np.sin(angle)) / width_um
    across = across + bend * smooth_noise(field, 10 * width_um)
    # Neighbours differ in width, between 0.55 and 1.45 of the mean.
    # Whole numbers wrap around at 32 bits; positions in widths are exact enough as float32.
    packet = packet.astype(np.uint32)
    phase = np.float32(2.1) * across + (packet % np.uint32(61)).astype(np.float32)
    across = across + np.float32(0.45 / 2.1) * np.sin(phase)
    row = np.floor(across)
    within = across - row
    row_id = row.astype(np.int32).view(np.uint32)
    # A golden-section step from row to row staggers the ends.
    start = (row_id * GOLDEN + packet * np.uint32(1_361_504_633)) * np.float32(7 / 2**32)
    lean = np.where((row_id + packet) & np.uint32(1), np.float32(-taper), np.float32(taper))
    piece = np.floor((along + lean * within) / np.float32(length) + start).astype(np.int32).view(np.uint32)
    key = row_id * np.uint32(73_856_093) ^ piece * np.uint32(19_349_663) ^ packet * np.uint32(83_492_791)
    key = (key ^ (key >> np.uint32(17))) & np.uint32(0xFFFF)
    from_side = np.float32(0.5) - np.abs(within - np.float32(0.5))
    edge = from_side * np.float32(width_um) / (1 + np.float32(0.45) * np.cos(phase))
    return key.astype(np.int64), edge, along * np.float32(width_um)


def lath_tone(field: Field, key: np.ndarray, width_um: float) -> np.ndarray:
    """A random tone in -0.5..0.5 for each lath, which fades where laths are finer than the grid."""
    return (random_of(field, key) - 0.5) * np.float32(min(1, 0.7 * width_um * field.fine_pixels_per_um))


def flakes(field: Field, length_um: float, per_area: float, *, thickness: float = 0.035) -> np.ndarray:
    """Curved flakes that branch from common centres; 1 inside.

    Parameters
    ----------
    length_um : float
        Mean length of a flake.
    per_area : float
        Centres in a square of that length.
    thickness : float
        Over the length.
    """
    canvas, scale, rng = np.zeros(field.shape, np.float32), field.fine_pixels_per_um, field.rng
    (width, height), n_steps = field.size_um, 40
    n = max(2, rng.poisson(per_area * (width + 2 * length_um) * (height + 2 * length_um) / length_um**2))
    for _ in range(n):
        centre = rng.uniform((-length_um, -length_um), (width + length_um, height + length_um))
        n_arms = rng.integers(1, 4)
        for heading in rng.uniform(0, 2 * np.pi) + 2 * np.pi / n_arms * (np.arange(n_arms) + rng.normal(0, 0.2, n_arms)):
            own = length_um * rng.lognormal(-0.1, 0.35) * (1 if n_arms == 1 else 0.7)
            t = np.linspace(0, 1, n_steps)
            wander = np.cumsum(rng.normal(0, 1, n_steps))
            wander = np.convolve(np.pad(wander, 5, "edge"), np.ones(11) / 11, "valid")
            turn = heading + rng.normal(0, 1.0) * t + 0.12 * wander
            path = centre + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * own / n_steps, axis=0)
            body = np.minimum(1, 6 * np.minimum(t + 0.05, 1 - t)) * (1 + 0.2 * np.sin(9 * t + 6 * rng.random()))
            half = 0.5 * thickness * length_um * rng.uniform(0.6, 1.3) * body
            normal = np.stack([-np.sin(turn), np.cos(turn)], 1) * half[:, None]
            outline = np.vstack([path + normal, (path - normal)[::-1]])
            cv2.fillPoly(canvas, [np.round(outline * scale * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return canvas
