"""The tables and the plot of `tinygrad-norm bench distributed`."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from ..bench.alpha_beta import Fit, Network
from ..bench.counted_messages import KINDS
from ..bench.parallel_prediction import RANKS, efficiency, predicted_seconds, smallest_model
from ..bench.parallel_rounds import Row
from ..bench.parallel_step import Profile
from .tables import NOTHING, figures_table, print_line

LEAST = (0.5, 0.9)
"""The efficiencies for which the smallest model is searched."""
EFFICIENCY = "efficiency"
LEAST_DRAWN = 512
"""Bytes of the shortest message in the plot."""
BASES = {"of one process": False, "of the same work on two without waiting": True}
"""What the efficiency in the search is relative to."""
FAMILY = "wide-mlp"
"""The model that is scaled in the search."""


def print_steps(console: Console, rows: Sequence[Row]) -> None:
    """Print what a step sends, if there are several processes, and what it takes."""
    sent = {row.step.model: row.step for row in rows if row.step.ranks > 1}
    if sent:
        cells = []
        for model, step in sent.items():
            counts, sizes = zip(*(step.messages[kind] for kind in KINDS), strict=True)
            by_kind = (f"{count}: {size:,} B" for count, size in zip(counts, sizes, strict=True))
            cells.append((model, *by_kind, str(sum(counts)), f"{sum(sizes):,} B"))
        numbers = [*KINDS, "messages", "together"]
        console.print(figures_table(console, ("a step sends",), numbers, cells))
    cells = [
        (
            row.step.model,
            row.step.scaling,
            ranks_in_words(row.step.ranks),
            _milli(row.step.seconds),
            f"{_milli(row.low)}–{_milli(row.high)}",
            _milli(row.step.waiting) if row.step.ranks > 1 else NOTHING,
            _fraction(row.efficiency),
            _milli(row.step.fastest),
            *map(_milli, (row.step.fastest_waiting, row.step.alone) if row.step.ranks > 1 else (None, None)),
            _fraction(row.fastest_efficiency),
            _milli(row.predicted),
        )
        for row in rows
    ]
    numbers = ["median ms", "of rounds", "in calls", "efficiency"]
    numbers += ["fastest ms", "in calls ", "messages alone", "efficiency ", "by the model, processor time"]
    console.print(figures_table(console, ("model", "scaling", "processes"), numbers, cells))
    print_line(console, f"there are {os.cpu_count()} cores; more processes than cores wait for each other")


def ranks_in_words(ranks: int) -> str:
    """Return the number of processes, marked if there are more than cores."""
    over = " (more than cores)" if ranks > (os.cpu_count() or 1) else ""
    return f"{ranks} process{'es' * (ranks > 1)}{over}"


def print_fit(console: Console, times: Sequence[tuple[int, int, float]], fitted: Fit) -> None:
    """Print the measured all-reduces beside the model, and how well it fits."""
    by_size: dict[int, dict[int, float]] = {}
    for ranks, nbytes, seconds in times:
        by_size.setdefault(nbytes, {})[ranks] = seconds
    counts = sorted({ranks for ranks, *_ in times})
    cells = [
        (
            f"{nbytes:,} B",
            *(
                f"{value * 1e6:.1f}"
                for ranks in counts
                for value in (found[ranks], fitted.network.all_reduce(nbytes, ranks))
            ),
        )
        for nbytes, found in by_size.items()
    ]
    numbers = [text for ranks in counts for text in (f"µs on {ranks}", f"model on {ranks}")]
    console.print(figures_table(console, ("all-reduce",), numbers, cells))
    latency, rate = fitted.network.latency * 1e6, 8e-9 / max(fitted.network.per_byte, 1e-18)
    print_line(
        console,
        f"fitted: α {latency:.2f} µs, β {fitted.network.per_byte * 1e9:.3f} ns per byte ({rate:.1f} Gbit/s); "
        f"R² of the logarithms {fitted.r_squared:.3f}, off by a factor of up to {fitted.worst_factor:.3g}",
    )


def print_predictions(
    console: Console, profiles: Sequence[Profile], networks: Sequence[Network]
) -> list[dict[str, Any]]:
    """Print step time and efficiency, and return them."""
    predicted = []
    times, efficiencies = [], []
    for profile in profiles:
        for network in networks:
            seconds = [predicted_seconds(profile, network, ranks) for ranks in RANKS]
            found = [efficiency(profile, network, ranks) for ranks in RANKS]
            words = profile.model, network.name
            times.append((*words, *(f"{value * 1e3:.2f}" for value in seconds)))
            efficiencies.append((*words, *(f"{value:.2f}" for value in found)))
            predicted += [
                {"model": profile.model, "network": network.name, "ranks": R, "seconds": t, "efficiency": e}
                for R, t, e in zip(RANKS, seconds, found, strict=True)
            ]
    columns = [f"{ranks:,}" for ranks in RANKS]
    console.print(figures_table(console, ("predicted ms a step, processor time", "network"), columns, times))
    console.print(figures_table(console, ("predicted efficiency", "network"), columns, efficiencies))
    for p in profiles:
        print_line(
            console,
            f"{p.model}, {p.parameters:,} parameters: one process takes {p.plain * 1e3:.2f} ms of "
            f"processor time a step, {p.bucketed * 1e3:.2f} with gradients in buckets, {p.whole * 1e3:.2f} "
            "also with SyncBatchNorm",
        )
    print_line(console, "predictions: weak scaling, a full rate and equally fast ranks; α is an assumption")
    return predicted


def print_smallest(
    console: Console, profiles: Sequence[Profile], networks: Sequence[Network]
) -> list[dict[str, Any]]:
    """Print from which size on it pays, if the family was measured, and return it."""
    measured = next((profile for profile in profiles if profile.model == FAMILY), None)
    if measured is None:
        return []
    found, cells = [], []
    for (to, same), network, least in itertools.product(BASES.items(), networks, LEAST):
        sizes = [smallest_model(measured, network, ranks, least, same) for ranks in RANKS]
        cells.append((f"{least:.0%} {to}", network.name, *map(_short, sizes)))
        found += [
            {"to": to, "network": network.name, "efficiency": least, "ranks": R, "parameters": n}
            for R, n in zip(RANKS, sizes, strict=True)
        ]
    words = f"parameters of a {FAMILY} from which on its efficiency is", "network"
    console.print(figures_table(console, words, [f"{ranks:,}" for ranks in RANKS], cells))
    return found


def _milli(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1e3:.2f}"


def _fraction(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _short(count: int | None) -> str:
    if count is None:
        return "none"
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def panels(
    rows: Sequence[Row],
    times: Sequence[tuple[int, int, float]],
    fitted: Fit | None,
    profiles: Sequence[Profile],
    networks: Sequence[Network],
) -> dict[tuple[str, str, str], dict[tuple[str, bool], list[tuple[float, float]]]]:
    """Return the panels of the plot, for `bench.charts.curves`."""
    found: dict[tuple[str, str, str], dict[tuple[str, bool], list[tuple[float, float]]]] = {}
    for ranks, nbytes, seconds in times:
        if fitted is not None and nbytes >= LEAST_DRAWN:
            lines = found.setdefault((f"an all-reduce on {ranks} processes", "KiB", "µs"), {})
            for time, is_model in ((seconds, False), (fitted.network.all_reduce(nbytes, ranks), True)):
                lines.setdefault((f"{ranks}", is_model), []).append((nbytes / 1024, time * 1e6))
    for row in rows:
        step = row.step
        lines = found.setdefault((f"{step.scaling} scaling", "processes", "ms a step"), {})
        lines.setdefault((step.model, False), []).append((step.ranks, step.seconds * 1e3))
        if row.efficiency is not None:
            lines.setdefault((step.model, True), []).append((step.ranks, step.seconds * row.efficiency * 1e3))
    for network in networks:
        lines = found.setdefault((f"predicted: {network.name}", "processes", EFFICIENCY), {})
        for profile in profiles:
            lines[profile.model, False] = [(R, efficiency(profile, network, R)) for R in RANKS]
    return found
