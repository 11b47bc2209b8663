"""`tinygrad-norm bench distributed`: what several processes send, what it costs, what more would cost."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import distributed
from ..bench import alpha_beta
from ..bench.alpha_beta import Network
from ..bench.charts import curves
from ..bench.parallel_prediction import predicted_seconds
from ..bench.parallel_rounds import (
    Row,
    fastest_all_reduces,
    fastest_profiles,
    find_mpiexec,
    measure_with,
    summary,
)
from ..bench.parallel_step import MODELS, Measured, Profile, measure_all
from ..bench.timing import environment, is_fair, settings
from ..distributed.mpi import launched
from ..suggestions import unknown
from .bench import Json, Plot, bench
from .distributed_tables import (
    EFFICIENCY,
    panels,
    print_fit,
    print_predictions,
    print_smallest,
    print_steps,
    ranks_in_words,
)
from .errors import ctrl_c_ends_all, errors_printed
from .figure_files import draw, plain, write
from .tables import print_line, wide_console

NETWORKS = ("10:20", "100:2")
MOST_PER_CORE = 4
CLOCK = "wall; profiles and predictions: processor time"


@bench.command("distributed")
@ctrl_c_ends_all()
def bench_distributed(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help=f"{', '.join(MODELS)}.", show_default="all"),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(help="Numbers of processes, as 1,2,4.", show_default="1, 2, 4, … up to the cores"),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples of one process.", min=2)] = 64,
    seconds: Annotated[float, typer.Option(help="Seconds to time each step.", min=0)] = 0.5,
    rounds: Annotated[int, typer.Option(help="Times that all is measured, by turns.", min=1)] = 5,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GBIT:µS",
            help="A network to predict for: its rate in Gbit/s, and its latency in µs, an assumption.",
            show_default=" and ".join(NETWORKS),
        ),
    ] = None,
    json: Json = None,
    plot: Plot = None,
    here: Annotated[bool, typer.Option(hidden=True, help="Start no processes: measure these.")] = False,
) -> None:
    """Time training on several processes, and predict it for more.

    It starts mpiexec with each number of processes, one thread each, and measures a training step with
    SyncBatchNorm: messages and bytes by kind, the time inside their calls, and the time that the same
    messages take alone. Strong scaling shares one batch; weak scaling gives each process a whole one. Besides
    the median step it shows the fastest, which other programs disturb least. A model of the network is fitted
    to all-reduces here; it also predicts 8 to 1,024 processes on other networks.

    Inside mpiexec it measures that number of processes only.
    """
    chosen = _models(models or ())
    if here or launched():
        for given, name in ((processes, "--processes"), (network, "--network"), (plot, "--plot")):
            if given is not None:
                raise typer.BadParameter(f"mpiexec has started the processes: leave out {name}, or mpiexec")
        _fairly()
        _measure_here(chosen, batch, seconds, json)
        return
    counts = _counts(processes, batch)
    networks = [_network(text) for text in network or NETWORKS]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    with errors_printed():
        found = list(_rounds(wide_console(), counts, rounds, chosen, batch, seconds))
    facts = {name: fact for name, fact in environment().items() if "torch" not in name}
    facts |= {"mpi4py": version("mpi4py"), "BLAS threads": "1", "clock": CLOCK, "load at the start": load}
    _report(found, networks, facts, json, plot, batch=batch, seconds=seconds, rounds=rounds)


def _models(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in MODELS:
            raise typer.BadParameter(unknown("model", name, MODELS))
    return list(dict.fromkeys(names or MODELS))


def _counts(text: str | None, batch: int) -> list[int]:
    """Return the numbers of processes to measure, 1 among them."""
    cores = os.cpu_count() or 1
    if text is None:
        return [n for n in sorted({2**k for k in range(cores.bit_length())} | {cores}) if n <= batch]
    try:
        counts = {int(part) for part in text.split(",")}
    except ValueError:
        raise typer.BadParameter(
            f"--processes takes numbers with commas between, as 1,2,4; got {text!r}"
        ) from None
    most = min(MOST_PER_CORE * cores, batch)
    if not 1 <= min(counts) <= max(counts) <= most:
        raise typer.BadParameter(
            f"--processes must be from 1 to {most}, as there are {cores} cores and {batch} samples to share, "
            f"got {text!r}"
        )
    return sorted(counts | {1})


def _network(text: str) -> Network:
    try:
        rate, latency = map(float, text.split(":"))
        if 0 < rate < float("inf") and 0 <= latency < float("inf"):
            return alpha_beta.line(rate, latency)
    except ValueError:
        pass
    raise typer.BadParameter(
        f"--network takes Gbit/s and µs, as 10:20, the first above 0, the second not below; got {text!r}"
    )


def _fairly() -> None:
    """Start this process again with one thread, as BLAS reads the environment at start.

    It stays the same process for mpiexec.
    """
    if not is_fair():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings()})


def _measure_here(models: Sequence[str], batch: int, seconds: float, json: Path | None) -> None:
    with errors_printed():
        group = distributed.init()
    if batch < group.size:
        raise typer.BadParameter(
            f"{batch} samples cannot be shared by {group.size} processes: take a larger --batch"
        )
    found = measure_all(models, batch, seconds, group)
    if group.rank:
        return
    console = wide_console()
    print_steps(console, summary([found]))
    if found.all_reduces:
        print_fit(console, found.all_reduces, alpha_beta.fit(found.all_reduces))
    facts = {"cores": str(os.cpu_count()), "clock": CLOCK}
    write(
        json,
        facts,
        found.steps,
        ranks=found.ranks,
        profiles=list(map(plain, found.profiles)),
        all_reduces=found.all_reduces,
    )


def _rounds(
    console: Console, counts: Sequence[int], rounds: int, models: Sequence[str], batch: int, seconds: float
) -> Iterator[Measured]:
    """Yield what every start of mpiexec has measured; show how far it is, without a terminal on stderr."""
    mpiexec, start = find_mpiexec(), time.monotonic()
    command = ["tinygrad_norm", "bench", "distributed", "--here", *models]
    command += ["--batch", str(batch), "--seconds", str(seconds)]
    total = rounds * len(counts)
    with console.status(f"0/{total} measuring") as status:
        for done in range(total):
            found = measure_with(mpiexec, counts[done % len(counts)], command)
            yield found
            elapsed = time.monotonic() - start
            to_go = timedelta(seconds=round(elapsed / (done + 1) * (total - done - 1)))
            status.update(f"{done + 1}/{total} measuring, about {to_go} to go")
            if not console.is_terminal:
                steps = (f"{s.model} {s.seconds * 1e3:.2f} ms" for s in found.steps if s.scaling == "weak")
                line = f"{done + 1}/{total}, {ranks_in_words(found.ranks)}: {', '.join(steps)}"
                typer.echo(f"{line}; about {to_go} to go", err=True)


def _report(
    found: Sequence[Measured],
    networks: Sequence[Network],
    facts: Mapping[str, str],
    json: Path | None,
    plot: Path | None,
    **more: Any,
) -> None:
    """Print the tables, and write the files that are given."""
    console, times, profiles = wide_console(), fastest_all_reduces(found), fastest_profiles(found)
    fitted = alpha_beta.fit(times) if times else None
    rows = summary(found)
    if fitted is not None:
        by_model = {profile.model: profile for profile in profiles}
        rows = [_with_prediction(row, by_model[row.step.model], fitted.network) for row in rows]
    print_steps(console, rows)
    if fitted is not None:
        print_fit(console, times, fitted)
    predicted = print_predictions(console, profiles, networks)
    smallest = print_smallest(console, profiles, networks)
    print_line(console, ", ".join(f"{key} {value}" for key, value in facts.items()))
    fields = {
        "all_reduces": times,
        "fit": plain(fitted) if fitted else None,
        "profiles": list(map(plain, profiles)),
        "predictions": predicted,
        "smallest_models": smallest,
    }
    write(json, facts, rows, **fields, **more)
    lines = panels(rows, times, fitted, profiles, networks)
    title = "data parallelism: measured (dashed: the model, or ideal scaling), and predicted"
    draw(plot, lambda path: curves(path, lines, 2, title, facts, (EFFICIENCY,)))


def _with_prediction(row: Row, profile: Profile, network: Network) -> Row:
    if row.step.scaling == "strong" or row.step.ranks == 1:
        return row
    return dataclasses.replace(row, predicted=predicted_seconds(profile, network, row.step.ranks))
