"""`tinygrad-norm train --explore`: the curves in the browser while it trains, then the explorer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from ..explore import Server, TrainingCurves
from ..training import NormGrid, Run
from ..training.run_record import read_metrics
from .browser import opened
from .errors import errors_printed


@contextmanager
def live_curves(console: Console, trained: Run | NormGrid, wanted: bool) -> Iterator[TrainingCurves | None]:
    """Serve the curves of what the body trains, and keep them until the page is closed or Ctrl-C.

    Yields None if they are not wanted. A body that ends in Ctrl-C or an error ends the server too; after a
    loss that is not finite, which was printed, the curves stay.
    """
    if not wanted:
        yield None
        return
    with errors_printed():
        curves = _curves_of(trained)
        server = Server(curves=curves)
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        console.print(f"curves at {server.address}", markup=False, highlight=False, soft_wrap=True)
        if not opened(server.address):
            console.print("No browser could be started: open the address in one, on this machine.")
        problem = None
        try:
            try:
                yield curves
            except SystemExit as error:  # the message was printed
                problem = error
            curves.end("finished" if problem is None else "stopped")
            if problem is None or curves.diverged:
                _wait(console, server)
        finally:
            server.shutdown()
            thread.join()
    if problem is not None:
        raise problem


def _wait(console: Console, server: Server) -> None:
    console.print(
        f"The curves and the explorer stay at {server.address} until the page is closed; Ctrl-C ends them.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        server.wait_until_closed()
    except KeyboardInterrupt:
        console.print("The explorer has ended.")
    else:
        console.print("The page was closed: the explorer has ended.")


def _curves_of(trained: Run | NormGrid) -> TrainingCurves:
    if isinstance(trained, Run):
        return TrainingCurves(trained.config.title, str(trained.out))
    config = trained.config
    curves = TrainingCurves(f"{config.model} on {config.data_name}", str(trained.out))
    curves.labels = dict(trained.labels)
    for name, one in trained.configs.items():
        state = trained.state.get(name, {})
        ended = "finished" if "figures" in state else "diverged" if "diverged" in state else "waiting"
        rows = read_metrics(trained.out / name / "metrics.csv")
        curves.expect(name, one, rows, state=ended, words=state.get("diverged", ""))
    return curves
