"""Parts of plots that experiments share."""

from typing import Any

from numpy.typing import NDArray


def seed_lines(axes: Any, x: Any, values: NDArray[Any], label: str, color: str, **options: Any) -> None:
    """Draw `values` (seeds, points) over `x` (points,): a line for each seed, one entry in the legend."""
    lines = axes.plot(x, values.T, color, lw=1, **options)
    lines[0].set_label(label)


def plain_ticks(axis: Any) -> None:
    """Write the numbers of a short logarithmic axis as 0.5, 1, 2, not as powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    axis.set(major_locator=LogLocator(subs=(1, 2, 3, 5)), minor_locator=NullLocator())
    axis.set_major_formatter(ScalarFormatter())


def legend_below(figure: Any, columns: int = 3) -> None:
    """Draw the legend of all axes below them, where it hides nothing."""
    figure.legend(fontsize=8, loc="outside lower center", ncols=columns)
