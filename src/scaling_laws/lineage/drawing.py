"""Where the stages of a flow and the lines between them stand in a drawing.

After Sugiyama, Tagawa and Toda 1981: stages in layers; a line that passes a layer has a place in
it; each layer is ordered by the mean place of what its entries are joined to, over and over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

SWEEPS = 24
WIDTH, HEIGHT = 184.0, 46.0  # of a stage, in pixels
LANE = 12.0  # width of the place of a line
GAP, RISE = 18.0, 36.0  # between two places of a layer, and between two layers
MARGIN = 4.0

# A stage by its name, or the line between two in the layer of that number, which it passes.
Place = tuple[str] | tuple[str, str, int]


class Drawing(NamedTuple):
    """The geometry of a flow, in pixels from its upper left corner.

    Attributes:
        width: Of all.
        height: Of all.
        corners: Upper left corner of each stage, by name.
        lines: The line between two stages as data of an SVG path, by the names of both.
    """

    width: float
    height: float
    corners: dict[str, tuple[float, float]]
    lines: dict[tuple[str, str], str]


def draw(layers: Sequence[Sequence[str]], edges: Iterable[tuple[str, str]]) -> Drawing:
    """Lay a flow out from top to bottom.

    Args:
        layers: Names of the stages, layer by layer.
        edges: Pairs of names, the first in a layer above the second's.
    """
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    rows: list[list[Place]] = [[(name,) for name in layer] for layer in layers]
    ways: dict[tuple[str, str], list[Place]] = {}
    joined: dict[Place, list[Place]] = defaultdict(list)
    for start, end in edges:
        passed: list[Place] = [(start, end, row) for row in range(depth[start] + 1, depth[end])]
        for row, place in enumerate(passed, depth[start] + 1):
            rows[row].append(place)
        ways[start, end] = [(start,), *passed, (end,)]
        for above, below in pairwise(ways[start, end]):
            joined[above].append(below)
            joined[below].append(above)
    x = _order(rows, joined)
    left = min((x[place] - _width(place) / 2 for row in rows for place in row), default=0.0)
    x = {place: centre - left + MARGIN for place, centre in x.items()}
    right = max((x[place] + _width(place) / 2 for row in rows for place in row), default=0.0)
    tops = [MARGIN + row * (HEIGHT + RISE) for row in range(len(rows))]
    return Drawing(
        width=right + MARGIN,
        height=MARGIN + len(rows) * (HEIGHT + RISE) - RISE + MARGIN,
        corners={name: (x[(name,)] - WIDTH / 2, tops[row]) for name, row in depth.items()},
        lines={
            ends: _line([x[place] for place in way], tops[depth[ends[0]] :])
            for ends, way in ways.items()
        },
    )


def _width(place: Place) -> float:
    return WIDTH if len(place) == 1 else LANE


def _order(rows: list[list[Place]], joined: dict[Place, list[Place]]) -> dict[Place, float]:
    """Order the places of each row, and return their centres."""
    x: dict[Place, float] = {}
    for row in rows:
        x |= dict(zip(row, _spread(row, [0.0] * len(row)), strict=True))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = {
                place: fmean(x[other] for other in joined[place]) if joined[place] else x[place]
                for place in row
            }
            row.sort(key=wanted.__getitem__)
            x |= dict(zip(row, _spread(row, [wanted[place] for place in row]), strict=True))
    return x


def _spread(row: Sequence[Place], wanted: Sequence[float]) -> list[float]:
    """Return centres near the wanted ones, in their order, that leave a gap between all.

    As far right as must be and as far left as must be both leave it, and so does their mean.
    """
    apart = [(_width(a) + _width(b)) / 2 + GAP for a, b in pairwise(row)]
    rightmost, leftmost = list(wanted), list(wanted)
    for k, distance in enumerate(apart, 1):
        rightmost[k] = max(wanted[k], rightmost[k - 1] + distance)
    for k, distance in reversed(list(enumerate(apart))):
        leftmost[k] = min(wanted[k], leftmost[k + 1] - distance)
    return [fmean(both) for both in zip(rightmost, leftmost, strict=True)]


def _line(centres: Sequence[float], tops: Sequence[float]) -> str:
    """Return the data of a line that goes down straight in layers, and bends between them."""
    data = f"M{centres[0]:.0f} {tops[0]:.0f}"
    for (start, end), (above, below) in zip(pairwise(centres), pairwise(tops), strict=False):
        bottom = above + HEIGHT
        bend = (bottom + below) / 2
        data += f"V{bottom:.0f}C{start:.0f} {bend:.0f} {end:.0f} {bend:.0f} {end:.0f} {below:.0f}"
    return data
