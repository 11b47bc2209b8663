"""The picture of a pool: the N × C × H·W cube, with the entries shaded that share a statistic with one.

    svg = pool_picture(REGISTRY["group_norm"])

The entries are blocks: samples go back, channels to the right, positions up. Nothing about an op is written
here: the pool is what `pools.py` finds in a registered case.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import escape

import numpy

from ..normalization.core.summary import formula_lines
from ..registry import Op
from .given import Given, names_of_arguments
from .sharing import first_of, pools_of, small_input
from .steps import modules_of

_RIGHT, _UP, _BACK = (26.0, 0.0), (0.0, -26.0), (15.0, -12.0)
_FILLS = {
    "out": ("#dfe5ec", "#c9d2dc", "#b7c2ce"),
    "in": ("#7fb2f0", "#4f8fdd", "#3873bf"),
    "own": ("#ffb454", "#f08c1a", "#c96f0a"),
}
"""The front, the top and the right side of a block: outside the pool, in it, and the entry itself."""

_AXES = {1: ("", "C", ""), 2: ("N", "C", ""), 3: ("N", "C", "L"), 4: ("N", "C", "H·W")}
_OF_FEATURES = {1: ("", "D", ""), 2: ("N", "D", ""), 3: ("N", "T", "D")}
_OF_LAST_CHANNELS = {1: ("", "C", ""), 2: ("N", "C", ""), 3: ("N", "T", "C"), 4: ("N", "H", "W·C")}
_OF_WEIGHTS = {2: ("out", "in", ""), 3: ("out", "in", "k"), 4: ("out", "in", "kH·kW")}


def pool_picture(op: Op, given: Given | None = None, entry: int | None = None) -> str:
    """Return SVG text: the blocks of x, shaded where the entry's result depends on them.

    Each block is a group with the attribute `data-entry`, its index in x, and the class "in", "out" or "own".

    Args:
        op: a registered normalization.
        given: its inputs; by default small ones.
        entry: an index into the first result; by default the block nearest to the reader.

    Raises:
        IndexError: if the result has no such entry.
    """
    given = given or small_input(op)
    shape, pools = first_of(given).shape, pools_of(op, given)
    if entry is None:
        entry = min(_nearest(shape), len(pools) - 1)
    if not 0 <= entry < len(pools):
        raise IndexError(f"entry must be in 0 … {len(pools) - 1}, got {entry}")
    is_same = len(pools) == pools.shape[1]
    return blocks_picture(shape, pools[entry], entry if is_same else None, axes_of(op, len(shape)), title(op))


def title(op: Op) -> str:
    """Return the name of the op and what it says about its pool."""
    name = op.title or op.name
    return f"{name}: {op.pool}" if op.pool else name


def axes_of(op: Op, axes: int) -> tuple[str, str, str]:
    """Return what the axes of the picture are called: into the depth, to the right, up."""
    if op.family == "weight" and names_of_arguments(op, 1)[0] in ("weight", "v"):
        return _OF_WEIGHTS.get(axes, ("", "", ""))
    *before, last = _axes_in_derivation(op)
    if "..." not in (*before, last) and 1 < len(before) < axes and axes > 2:
        names = [*before, *before[-1:] * (axes - len(before) - 1), last]
        return names[0], names[1], "·".join(names[2:])
    if before == ["..."] and last == "C":
        return _OF_LAST_CHANNELS.get(axes, ("", "", ""))
    if last[:1] == "D" or "last ax" in op.pool or "feature" in op.pool:
        return _OF_FEATURES.get(axes) or _AXES.get(axes, ("", "", ""))
    return _AXES.get(axes, ("", "", ""))


def _axes_in_derivation(op: Op) -> list[str]:
    """Return the axes of x that the first formula of the derivation names, x (N, T, D); else [""]."""
    lines = formula_lines(sys.modules[modules_of(op)[0]].__doc__ or "")
    found = re.match(r"\s*[A-Za-z](?:, [a-z])* \(([^()]*)\)", lines[0]) if lines else None
    return found[1].split(", ") if found else [""]


def blocks_picture(
    shape: tuple[int, ...],
    pool: numpy.ndarray,
    own: int | None,
    axes: tuple[str, str, str] = ("N", "C", "H·W"),
    text: str = "",
) -> str:
    """Return SVG text for an array of `shape` whose entries in `pool`, booleans, are shaded."""
    depth, width, height = extent(shape)
    back = (depth * _BACK[0], depth * _BACK[1])
    left, top = 14.0 + 8.0 * len(axes[2]), -height * _UP[1] - back[1] + 16.0
    total = (left + width * _RIGHT[0] + back[0] + 16.0, top + 26.0)
    blocks = "".join(
        _block(index, place, (left, top), "own" if index == own else "in" if pool[index] else "out")
        for index, place in _farthest_first(shape)
    )
    labels = (
        (axes[1], left + width * _RIGHT[0] / 2, top + 18.0, "middle"),
        (axes[2], left - 6.0, top + height * _UP[1] / 2 + 4.0, "end"),
        (axes[0], left - 8.0 + back[0] / 2, top + height * _UP[1] + back[1] / 2 - 2.0, "end"),
    )
    texts = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{escape(label)}</text>'
        for label, x, y, anchor in labels
        if label
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="pool-picture" role="img" '
        f'viewBox="0 0 {total[0]:.1f} {total[1]:.1f}" width="{total[0]:.0f}" height="{total[1]:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="13"><title>{escape(text)}</title>'
        f"{blocks}{texts}</svg>"
    )


def extent(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return how many blocks the picture has into the depth, to the right and up."""
    if len(shape) < 2:
        return 1, int(numpy.prod(shape)), 1
    return shape[0], shape[1], int(numpy.prod(shape[2:]))


def _nearest(shape: tuple[int, ...]) -> int:
    """Return the block in front, at the right and at the top: three of its sides can be seen."""
    _, width, height = extent(shape)
    return _index(0, width - 1, 0, width, height)


def _index(n: int, c: int, up: int, width: int, height: int) -> int:
    return (n * width + c) * height + up


def _farthest_first(shape: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Yield index and place of the blocks, so that a later one covers an earlier; position 0 is on top."""
    depth, width, height = extent(shape)
    for n in reversed(range(depth)):
        for c in range(width):
            for level in range(height):
                yield _index(n, c, height - 1 - level, width, height), (n, c, level)


def _block(index: int, place: tuple[int, int, int], origin: tuple[float, float], kind: str) -> str:
    n, c, level = place
    x = origin[0] + c * _RIGHT[0] + n * _BACK[0]
    y = origin[1] + level * _UP[1] + n * _BACK[1]
    w, h, (bx, by) = _RIGHT[0], -_UP[1], _BACK
    front = f"{x:g},{y:g} {x + w:g},{y:g} {x + w:g},{y - h:g} {x:g},{y - h:g}"
    top = f"{x:g},{y - h:g} {x + w:g},{y - h:g} {x + w + bx:g},{y - h + by:g} {x + bx:g},{y - h + by:g}"
    side = f"{x + w:g},{y:g} {x + w + bx:g},{y + by:g} {x + w + bx:g},{y - h + by:g} {x + w:g},{y - h:g}"
    faces = "".join(
        f'<polygon class="{name}" points="{points}" fill="{fill}"/>'
        for name, points, fill in zip(("front", "top", "side"), (front, top, side), _FILLS[kind], strict=True)
    )
    return f'<g class="{kind}" data-entry="{index}" stroke="#ffffff" stroke-width="0.8">{faces}</g>'
