"""Run experiments: tune, measure, judge, and write NAME.json and NAME.png into a folder, job by job."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..files import locked, remove_partial
from .experiment import Experiment, Row, find
from .experiment_results import Results
from .jobs import Done, Job, check_workers, perform_all
from .made_by import own_version
from .measuring_code import fingerprint
from .result_file import JobRecord, Record, plain, read, write
from .result_plot import save_plot
from .verdicts import Verdict

FOLDER = Path("runs/experiments")
"""Where results are written if nothing else is said."""


@dataclass(frozen=True)
class Outcome:
    """What came out: the results, the table, the verdict and the files."""

    experiment: Experiment
    results: Results
    rows: Sequence[Row]
    verdict: Verdict
    record: Record
    folder: Path

    @property
    def figures(self) -> Path:
        """The file of the figures."""
        return self.folder / f"{self.experiment.name}.json"

    @property
    def plot(self) -> Path:
        """The picture."""
        return self.folder / f"{self.experiment.name}.png"

    @property
    def seconds(self) -> float:
        """How long the jobs took, added up."""
        return sum(job.seconds for job in self.record.jobs)


class Runner:
    """An experiment on its way: which jobs are to be done, and what is known."""

    def __init__(self, experiment: Experiment, folder: Path, seeds: int | None, again: bool) -> None:
        self.experiment, self.folder = experiment, folder
        self.path = folder / f"{experiment.name}.json"
        self.seeds = range(experiment.seeds if seeds is None else seeds)
        self.code = fingerprint(experiment.measure)
        self.tuning = experiment.tuning
        if self.tuning and self.seeds and min(self.tuning.seeds) < len(self.seeds):
            raise ValueError(
                f"{experiment.name} is tuned with seed {min(self.tuning.seeds)}: run fewer seeds, got {seeds}"
            )
        self.old = read(self.path) if self.path.exists() and not again else None
        settings = {name: {**experiment.sizes, **given} for name, given in experiment.settings.items()}
        facts = {
            name: getattr(experiment, name) for name in ("title", "claim", "source", "paper", "known", "rule")
        }
        self.record = Record(experiment.name, own_version(), facts, list(self.seeds), plain(settings))
        self.settings = settings

    @property
    def total(self) -> int:
        """The number of all jobs."""
        tuned = len(self.tuning.values) * len(self.tuning.seeds) if self.tuning else 0
        return len(self.settings) * (tuned + len(self.seeds))

    def tuning_jobs(self) -> list[Job]:
        """Return the jobs that tune and are not done."""
        if self.tuning is None:
            return []
        return [
            job
            for setting in self.settings
            for value in self.tuning.values
            for seed in self.tuning.seeds
            if (job := self._job(setting, seed, {self.tuning.parameter: value}))
        ]

    def jobs(self) -> list[Job]:
        """Return the other jobs that are not done; what is tuned is chosen now."""
        chosen: Mapping[str, Mapping[str, float]] = {}
        if self.tuning is not None:
            scores, values = self._tuned()
            parameter = self.tuning.parameter
            self.record.tuning = {"parameter": parameter, "scores": scores, "chosen": values}
            chosen = {setting: {parameter: value} for setting, value in values.items()}
        found = (self._job(s, seed, chosen.get(s, {})) for s in self.settings for seed in self.seeds)
        return [job for job in found if job]

    def add(self, done: Done) -> None:
        """Write a job's figures."""
        job = done.job
        self._keep(
            JobRecord(
                setting=job.setting,
                seed=job.seed,
                arguments=plain(job.arguments),
                code=self.code,
                figures=plain(done.figures),
                seconds=round(done.seconds, 3),
                made=dict(done.made),
            )
        )
        self.record.unfinished = self.total - len(self.record.jobs)
        write(self.path, self.record)

    def finish(self) -> Outcome:
        """Judge, and write the table, the verdict and the plot."""
        order = {name: k for k, name in enumerate(self.settings)}
        self.record.jobs.sort(key=lambda job: (job.seed not in self.seeds, order[job.setting], job.seed))
        self.record.unfinished = 0
        write(self.path, self.record)
        self.record = read(self.path)  # what a report will see
        outcome = judged(self.experiment, self.record, self.folder)
        self.record.table = [list(row) for row in outcome.rows]
        self.record.verdict, self.record.reason = outcome.verdict
        save_plot(outcome.plot, self.experiment, outcome.results, self.record)
        write(self.path, self.record)
        return outcome

    def _job(self, setting: str, seed: int, tuned: Mapping[str, float]) -> Job | None:
        """Return the job, or take it over from an earlier run and return None."""
        arguments = {**self.settings[setting], **tuned}
        wanted = setting, seed, plain(arguments), self.code
        if self.record.job(*wanted):
            return None
        if self.old and self.code and (done := self.old.job(*wanted)):
            self._keep(done)
            return None
        return Job(self.experiment.name, setting, seed, arguments, self.experiment.measure)

    def _keep(self, job: JobRecord) -> None:
        self.record.jobs.append(job)

    def _tuned(self) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """Return each setting's mean score by value, and its best value."""
        assert self.tuning is not None
        scores: dict[str, dict[str, float]] = {}
        chosen: dict[str, float] = {}
        for setting in self.settings:
            means: dict[float, float] = {}
            for value in self.tuning.values:
                arguments = plain({**self.settings[setting], self.tuning.parameter: value})
                found = [self.record.job(setting, seed, arguments, self.code) for seed in self.tuning.seeds]
                values = [float(job.figures[self.tuning.score]) for job in found if job]
                mean = float(np.mean(values))
                means[value] = mean if math.isfinite(mean) else math.inf
            scores[setting] = {str(value): mean for value, mean in means.items()}
            chosen[setting] = min(means, key=means.__getitem__)
        return scores, chosen


def run(
    names: str | Experiment | Sequence[str | Experiment],
    folder: str | Path = FOLDER,
    *,
    seeds: int | None = None,
    workers: int = 1,
    dask: str | None = None,
    again: bool = False,
    on_job: Callable[[int, int], Any] | None = None,
    on_outcome: Callable[[Outcome], Any] | None = None,
) -> list[Outcome]:
    """Run experiments and return what came out; jobs that the folder has already are not run again.

    Args:
        names: names of experiments, or experiments.
        folder: where NAME.json and NAME.png are written.
        seeds: how many seeds, instead of the experiment's own number.
        workers: how many processes run jobs side by side.
        dask: the address of a Dask scheduler whose workers run the jobs instead.
        again: measure all anew.
        on_job: called with the number of jobs done and of all, after each.
        on_outcome: called with each outcome when it is known.

    Raises:
        ValueError: if a name is unknown, seeds or workers are less than 1, the folder has results of another
            version, or another process writes to it.
        RuntimeError: if matplotlib, joblib or Dask is missing, no Dask scheduler answers, or a job raises.
        OSError: if the folder cannot be written to.
    """
    given = [names] if isinstance(names, str | Experiment) else names
    experiments = {(found := find(one) if isinstance(one, str) else one).name: found for one in given}
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if find_spec("matplotlib") is None:
        raise RuntimeError("the plots need matplotlib: pip install 'tinygrad_norm[experiments]'")
    check_workers(workers, dask)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_partial(folder, [f"{name}{suffix}" for name in experiments for suffix in (".json", ".png")])
        runners = {name: Runner(one, folder, seeds, again) for name, one in experiments.items()}
        return _run_all(runners, workers, dask, on_job or _nothing, on_outcome or _nothing)


def _run_all(
    runners: Mapping[str, Runner],
    workers: int,
    dask: str | None,
    on_job: Callable[[int, int], Any],
    on_outcome: Callable[[Outcome], Any],
) -> list[Outcome]:
    """Run what tunes first, then all else; so the jobs of all experiments run side by side."""
    total = sum(runner.total for runner in runners.values())
    outcomes: dict[str, Outcome] = {}

    def report() -> None:
        on_job(sum(len(runner.record.jobs) for runner in runners.values()), total)

    def finish(name: str) -> None:
        outcomes[name] = runners[name].finish()
        on_outcome(outcomes[name])

    for done in perform_all([job for one in runners.values() for job in one.tuning_jobs()], workers, dask):
        runners[done.job.experiment].add(done)
        report()
    waiting = {name: runner.jobs() for name, runner in runners.items()}
    left = {name: len(jobs) for name, jobs in waiting.items()}
    report()
    for name in [name for name, number in left.items() if not number]:
        finish(name)
    for done in perform_all([job for jobs in waiting.values() for job in jobs], workers, dask):
        name = done.job.experiment
        runners[name].add(done)
        report()
        left[name] -= 1
        if not left[name]:
            finish(name)
    return [outcomes[name] for name in runners]


def judged(experiment: Experiment, record: Record, folder: Path) -> Outcome:
    """Return the outcome that the figures of a finished record give, by the rule of today."""
    seeds = record.seeds
    figures = {
        setting: {
            job.seed: job.figures for job in record.jobs if job.setting == setting and job.seed in seeds
        }
        for setting in record.settings
    }
    tuning = record.tuning or {"scores": {}, "chosen": {}}
    scores = {
        s: {float(value): score for value, score in found.items()} for s, found in tuning["scores"].items()
    }
    results = Results(figures, scores, tuning["chosen"])
    return Outcome(
        experiment, results, experiment.tabulate(results), experiment.verdict(results), record, folder
    )


def _nothing(*_: Any) -> None:
    pass
