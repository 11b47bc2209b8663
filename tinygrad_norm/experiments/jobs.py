"""Jobs: one setting of an experiment with one seed. They run here, side by side, or on a Dask cluster.

joblib sends them: to processes of this machine, or through its Dask backend to the workers of a cluster. A
job carries its function, so that an experiment of your own script needs no installation on the workers.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from ..backends.cpu.threads import use_threads
from .made_by import made_by, own_version

CONNECT_SECONDS = 10
"""How long a Dask scheduler may take to answer."""


@dataclass(frozen=True)
class Job:
    """One call of `measure`, and what it is for."""

    experiment: str
    setting: str
    seed: int
    arguments: Mapping[str, Any]
    measure: Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Done:
    """A job, its figures, how long it took and what made it."""

    job: Job
    figures: Mapping[str, Any]
    seconds: float
    made: Mapping[str, str | None]


def perform(job: Job) -> Done:
    """Run a job on one thread, so that its digits do not depend on how many run beside it.

    Raises:
        RuntimeError: if it raises; the message names the job.
    """
    begin = time.perf_counter()
    try:
        with use_threads(1):
            figures = dict(job.measure(seed=job.seed, **job.arguments))
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise RuntimeError(
            f"experiment {job.experiment}, setting {job.setting!r}, seed {job.seed}: {words}"
        ) from error
    return Done(job, figures, time.perf_counter() - begin, made_by())


def perform_all(jobs: Sequence[Job], workers: int = 1, dask: str | None = None) -> Iterator[Done]:
    """Run jobs side by side and yield each when it is done, in any order.

    Args:
        jobs: the jobs.
        workers: how many processes of this machine run them; with 1 they run in this one.
        dask: the address of a Dask scheduler, as in "tcp://10.0.0.1:8786"; its workers run them instead.

    Raises:
        RuntimeError: if joblib or Dask is not installed, no scheduler answers, a worker has another version
            of this package, or a job raises.
    """
    if dask is None and workers == 1:
        yield from map(perform, jobs)
        return
    joblib = _joblib()
    with ExitStack() as stack:
        stack.enter_context(_cluster(dask) if dask is not None else nullcontext())
        parallel = joblib.Parallel(
            n_jobs=-1 if dask is not None else workers, return_as="generator_unordered", batch_size=1
        )
        for done in parallel(joblib.delayed(perform)(job) for job in jobs):
            if done.made["version"] != own_version():
                raise RuntimeError(
                    f"a worker at {dask} has tinygrad_norm {done.made['version']}, this is {own_version()}: "
                    "install one version on all of them"
                )
            yield done


def check_workers(workers: int, dask: str | None) -> None:
    """Check that jobs can be run so, before anything else is done.

    Raises:
        ValueError: if workers is less than 1.
        RuntimeError: if joblib or Dask is not installed, no scheduler answers, or it has no worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if dask is not None or workers > 1:
        _joblib()
    if dask is not None:
        with _client(dask) as client:
            try:
                client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except OSError:  # asyncio's TimeoutError is one
                message = f"the Dask scheduler at {dask!r} has no worker: start one with `dask worker {dask}`"
                raise RuntimeError(message) from None


def _joblib() -> Any:
    try:
        import joblib
    except ImportError:
        raise RuntimeError(
            "jobs side by side need joblib: pip install 'tinygrad_norm[experiments]', or run one at a time"
        ) from None
    return joblib


def _client(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise RuntimeError("a Dask cluster needs Dask: pip install 'tinygrad_norm[dask]'") from None
    try:
        client: Any = distributed.Client
        return client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise RuntimeError(
            f"no Dask scheduler answers at {address!r} ({error}). Start one with `dask scheduler` and pass "
            "the address that it prints, or leave Dask out to run on this machine"
        ) from None


def _cluster(address: str) -> AbstractContextManager[Any]:
    """Return a context in which joblib sends to the workers of the scheduler at this address."""
    stack = ExitStack()
    stack.enter_context(_client(address))
    stack.enter_context(_joblib().parallel_config(backend="dask"))
    return stack
