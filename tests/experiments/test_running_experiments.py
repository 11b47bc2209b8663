"""Experiments run: tuned, resumed, reproduced, judged; and what a folder may hold."""

import json
import math
import sys

import numpy as np
import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments.experiment import Experiment
from tinygrad_norm.experiments.measuring_code import fingerprint
from tinygrad_norm.experiments.result_file import read
from tinygrad_norm.files import FolderInUse, locked

pytest.importorskip("matplotlib")
CALLS = []


def measure(seed, lr, best, fails=None):
    CALLS.append((seed, lr, best))
    if fails is not None and seed == fails:
        raise ZeroDivisionError("planted")
    noise = np.random.default_rng(seed).normal()
    loss = math.inf if lr > 1 else (math.log10(lr) - math.log10(best)) ** 2 + 1e-3 * noise
    return {"loss": loss, "curve": np.arange(3) + seed}


def judge(results):
    """Holds if the loss of a is below that of b for every seed, cannot be told if they are within 0.01."""
    a, b = results.values("a", "loss"), results.values("b", "loss")
    if abs(a - b).max() < 0.01:
        return experiments.cannot_be_told("both are alike")
    if (a < b).all():
        return experiments.holds(f"{experiments.spread(a)} is below {experiments.spread(b)}")
    return experiments.does_not_hold("a is not lower")


def tabulate(results):
    return [experiments.Row("loss of a", experiments.spread(results.values("a", "loss")), "0")]


def draw(results, figure):
    figure.subplots().plot(results.values("a", "curve").T)


def make(tuned=True, **changes):
    given = {
        "name": "toy",
        "title": "A toy",
        "claim": "a is lower than b.",
        "source": "Nobody 2000",
        "paper": "a = 0",
        "known": "from memory",
        "measure": measure,
        "judge": judge,
        "tabulate": tabulate,
        "draw": draw,
        "settings": {"a": {"best": 0.1}, "b": {"best": 0.01}},
        "sizes": {"fails": None},
        "tuning": experiments.Tuning((0.01, 0.1, 10.0), "loss"),
    }
    if not tuned:
        given |= {"tuning": None, "sizes": {"fails": None, "lr": 0.1}}
    return Experiment(**{**given, **changes})


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def test_each_setting_is_tuned_over_the_same_values_and_then_run_with_the_seeds(tmp_path):
    (outcome,) = experiments.run(make(), tmp_path)
    assert outcome.results.chosen == {"a": 0.1, "b": 0.01}
    assert outcome.results.scores["a"][10.0] == math.inf
    assert outcome.results.at_an_end("b")
    assert not outcome.results.at_an_end("a")
    tuning = [call for call in CALLS if call[0] == 100]
    assert len(tuning) == 6
    assert sorted(call for call in CALLS if call[0] != 100) == [
        (s, lr, lr) for s in range(3) for lr in (0.01, 0.1)
    ]
    assert outcome.verdict.state == "cannot be told"
    assert outcome.results.values("a", "curve").shape == (3, 3)
    assert outcome.plot.stat().st_size > 5000


def test_the_files_say_what_was_run_and_hold_no_number_that_json_has_not(tmp_path):
    (outcome,) = experiments.run(make(), tmp_path)

    def refuse(text):
        raise AssertionError(text)

    content = json.loads(outcome.figures.read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["facts"]["rule"].startswith("Holds if the loss of a")
    assert content["verdict"] == "cannot be told"
    assert content["tuning"]["scores"]["a"]["10.0"] == "inf"
    assert len(content["jobs"]) == 12
    assert set(content["jobs"][0]["made"]) >= {"version", "commit", "numpy"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.json", "toy.png"]


def test_the_plot_says_the_verdict(tmp_path):
    figures = []
    experiments.run(make(tuned=False, draw=lambda results, figure: figures.append(figure)), tmp_path)
    assert figures[0].get_suptitle() == "A toy\nverdict: holds"


def test_a_planted_figure_changes_the_verdict(tmp_path):
    (outcome,) = experiments.run(make(tuned=False), tmp_path)
    assert outcome.verdict.state == "holds"
    record = read(outcome.figures)
    for wrong, state in ((5.0, "does not hold at this scale"), (1.0, "cannot be told")):
        for job in record.jobs:
            if job.setting == "a":
                job.figures["loss"] = wrong if wrong > 1 else outcome.results.mean("b", "loss")
        assert experiments.experimenting.judged(make(tuned=False), record, tmp_path).verdict.state == state


def test_what_was_stopped_goes_on_with_what_is_left(tmp_path):
    with pytest.raises(RuntimeError, match="toy, setting 'b', seed 1: ZeroDivisionError: planted"):
        experiments.run(
            make(tuned=False, settings={"a": {"best": 0.1}, "b": {"best": 0.01, "fails": 1}}), tmp_path
        )
    assert read(tmp_path / "toy.json").unfinished == 2
    assert read(tmp_path / "toy.json").verdict is None
    CALLS.clear()
    counts = []
    (outcome,) = experiments.run(
        make(tuned=False), tmp_path, on_job=lambda done, total: counts.append((done, total))
    )
    # the arguments of b were others
    assert [(seed, 0.1, 0.01) for seed in range(3)] == CALLS
    assert counts[0] == (3, 6)
    assert counts[-1] == (6, 6)
    assert outcome.verdict.state == "holds"
    experiments.run(make(tuned=False), tmp_path)
    assert len(CALLS) == 3
    experiments.run(make(tuned=False), tmp_path, again=True)
    assert len(CALLS) == 9


def test_further_seeds_are_added(tmp_path):
    experiments.run(make(), tmp_path)
    CALLS.clear()
    (outcome,) = experiments.run(make(), tmp_path, seeds=5)
    assert sorted({seed for seed, *_ in CALLS}) == [3, 4]
    assert outcome.results.seeds == [0, 1, 2, 3, 4]


def test_two_seeds_decide_nothing(tmp_path):
    (outcome,) = experiments.run(make(tuned=False), tmp_path, seeds=2)
    assert outcome.verdict == experiments.cannot_be_told("2 seeds: at least 3 are needed")


@pytest.mark.slow
def test_runs_agree_to_the_last_digit_side_by_side_or_not(tmp_path):
    pytest.importorskip("joblib")
    experiment = experiments.find("bias-before-batchnorm").with_sizes(steps=2)
    figures = []
    for workers in (1, 2):
        (outcome,) = experiments.run(experiment, tmp_path / str(workers), workers=workers)
        figures.append([job.figures for job in outcome.record.jobs])
    assert figures[0] == figures[1]


@pytest.mark.slow
def test_a_dask_cluster_runs_the_same_jobs(tmp_path):
    distributed = pytest.importorskip("distributed")
    experiment = experiments.find("bias-before-batchnorm").with_sizes(steps=2)
    (here,) = experiments.run(experiment, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        (there,) = experiments.run(experiment, tmp_path / "there", dask=cluster.scheduler_address)
    assert [job.figures for job in there.record.jobs] == [job.figures for job in here.record.jobs]


def test_no_dask_scheduler_answers(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("tinygrad_norm.experiments.jobs.CONNECT_SECONDS", 0.2)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(RuntimeError, match="no Dask scheduler answers at"):
            experiments.run(make(), tmp_path / "new", dask=address)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_dask_scheduler_has_no_worker(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("tinygrad_norm.experiments.jobs.CONNECT_SECONDS", 1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(RuntimeError, match="has no worker: start one with `dask worker inproc:"),
    ):
        experiments.run(make(), tmp_path, dask=cluster.scheduler_address)


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        ("joblib", {"workers": 2}, r"need joblib: pip install 'tinygrad_norm\[experiments\]'"),
        ("distributed", {"dask": "tcp://127.0.0.1:9"}, r"needs Dask: pip install 'tinygrad_norm\[dask\]'"),
    ],
    ids=["joblib", "dask"],
)
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, module, given, message):
    pytest.importorskip("joblib")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=message):
        experiments.run(make(), tmp_path, **given)
    assert list(tmp_path.iterdir()) == []
    experiments.run(make(), tmp_path)  # one after the other


def test_without_matplotlib_nothing_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_norm.experiments.experimenting.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="the plots need matplotlib: pip install"):
        experiments.run(make(), tmp_path)
    assert CALLS == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": "bias before"}, "Did you mean bias-before-batchnorm"),
        ({"names": "bias-befor-batchnrm"}, "Did you mean bias-before-batchnorm"),
        ({"names": "xyzzy"}, "Choose one of .*bias-before-batchnorm"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"seeds": 101}, "tuned with seed 100"),
    ],
    ids=["part of a name", "misspelled", "unknown", "no seed", "no worker", "seeds of the tuning"],
)
def test_wrong_arguments(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        experiments.run(**{"names": make(), "folder": tmp_path, **given})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"version": "', '"version": "9.', 1), "is of tinygrad_norm 9"),
        (lambda text: text[:100], "damaged"),
        (lambda text: text.replace('"seed"', '"sed"'), "damaged"),
        (lambda text: "[]", "is not the result of an experiment"),
    ],
    ids=["another version", "cut off", "another field", "another file"],
)
def test_a_folder_with_another_file(tmp_path, change, message):
    (outcome,) = experiments.run(make(), tmp_path)
    path = outcome.figures
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        experiments.run(make(), tmp_path)
    with pytest.raises(ValueError, match=message):
        experiments.report(tmp_path)
    assert experiments.run(make(), tmp_path, again=True)[0].verdict == outcome.verdict


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(FolderInUse):
        experiments.run(make(), tmp_path)


def test_sizes_have_names():
    with pytest.raises(ValueError, match="toy has the sizes fails, got steps"):
        make().with_sizes(steps=3)


def test_what_is_registered_has_a_rule_enough_seeds_and_a_name_of_its_own():
    facts = {"title": "", "claim": "", "source": "", "paper": "", "known": "from memory", "settings": {}}
    with pytest.raises(ValueError, match="there is an experiment 'bias-before-batchnorm' already"):
        experiments.register("bias-before-batchnorm", measure, judge, tabulate, draw, **facts)
    with pytest.raises(ValueError, match="write the rule"):
        experiments.register("new", measure, lambda results: None, tabulate, draw, **facts)
    with pytest.raises(ValueError, match="expected at least 3 seeds, got 2"):
        experiments.register("new", measure, judge, tabulate, draw, **facts, seeds=2)
    with pytest.raises(ValueError, match="seeds below 3 are run"):
        tuning = experiments.Tuning((1.0,), "loss", seeds=(2,))
        experiments.register("new", measure, judge, tabulate, draw, **facts, tuning=tuning)
    assert "new" not in experiments.EXPERIMENTS


def test_a_cell_of_a_notebook_may_register_again(monkeypatch):
    monkeypatch.setattr(experiments.experiment, "EXPERIMENTS", {})
    monkeypatch.setattr(measure, "__module__", "__main__")
    facts = {"title": "", "claim": "", "source": "", "paper": "", "known": "from memory", "settings": {}}
    for seeds in (3, 4):
        experiments.register("mine", measure, judge, tabulate, draw, **facts, seeds=seeds)
    assert experiments.find("mine").seeds == 4


CODE = '''"""A."""
X = 1
def measure(seed):
    """B."""
    return X
def judge(results):
    """R."""
    return 1
'''


def test_code_that_works_on_figures_is_not_part_of_the_fingerprint(tmp_path):
    prints = []
    judged_otherwise = CODE.replace("return 1", "return 2").replace('"""B."""', "# c")
    for k, text in enumerate((CODE, judged_otherwise, CODE.replace("X = 1", "X = 2"))):
        path, names = tmp_path / f"code{k}.py", {}
        path.write_text(text, encoding="utf-8")
        exec(compile(text, str(path), "exec"), names)
        prints.append(fingerprint(names["measure"]))
    assert prints[0] == prints[1] != prints[2]


def test_a_function_that_draws_batches_is_part_of_the_fingerprint(tmp_path):
    prints = []
    for k in range(2):
        text, path, names = f"{CODE}def draw_batch():\n    return {k}\n", tmp_path / f"code{k}.py", {}
        path.write_text(text, encoding="utf-8")
        exec(compile(text, str(path), "exec"), names)
        prints.append(fingerprint(names["measure"]))
    assert prints[0] != prints[1]


def test_without_a_file_no_figures_are_taken_over(tmp_path):
    for factor in (1, 2):
        names = {}
        exec(f"def measure(seed):\n    return {{'loss': {factor} * seed, 'curve': [0.0]}}", names)
        settings = {"a": {}, "b": {}}
        toy = make(tuned=False, sizes={}, settings=settings, measure=names["measure"])
        (outcome,) = experiments.run(toy, tmp_path)
        assert outcome.results.values("a", "loss").tolist() == [0, factor, 2 * factor]


def test_the_interval_of_a_mean_is_that_of_students_t():
    low, high = experiments.interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    low, high = experiments.interval(np.arange(40.0))
    assert low < 19.5 < high


def test_spread_in_words():
    assert experiments.spread([0.5, 0.5, 0.5]) == "0.5"
    assert experiments.spread([1.0, 2.0, 3.0]) == "2 ± 1"
    assert experiments.spread([0.5, 0.7], percent=True) == "60 ± 14 %"
