"""What several processes send, the model of what it costs, and the command that measures both."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from mpi_runs import MISSING, mpiexec
from thread_group import run_ranks
from typer.testing import CliRunner

from tinygrad_norm import nn
from tinygrad_norm.bench import alpha_beta, parallel_step
from tinygrad_norm.bench.alpha_beta import Network, line
from tinygrad_norm.bench.counted_messages import BACKWARD, BUCKET, FORWARD, WEIGHING, counts_and_bytes
from tinygrad_norm.bench.parallel_prediction import (
    RANKS,
    bucket_sizes,
    efficiency,
    predicted_seconds,
    scaled,
    smallest_model,
)
from tinygrad_norm.bench.parallel_rounds import Measured, fastest_all_reduces, fastest_profiles, summary
from tinygrad_norm.bench.parallel_step import Profile, Step, Training
from tinygrad_norm.cli import app
from tinygrad_norm.cli.distributed_tables import print_fit
from tinygrad_norm.cli.tables import wide_console
from tinygrad_norm.distributed.group import Alone, Group
from tinygrad_norm.distributed.reducer import BUCKET_BYTES

needs_mpi = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

# -- counts


def expected_messages(training):
    """Counts and bytes of a step, from the layers and parameters of a float32 model."""
    channels = [m.num_features for m in training.model.modules() if isinstance(m, nn.SyncBatchNorm)]
    parameters = list(training.model.parameters())
    gradients = sum(p.array.size for p in parameters)
    return {
        WEIGHING: (1, 8),
        FORWARD: (len(channels), 4 * 4 * sum(channels)),
        BACKWARD: (len(channels), 4 * 2 * sum(channels)),
        BUCKET: (len(training.model.reducer.buckets), 4 * (gradients + len(parameters))),
    }


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("model", parallel_step.MODELS)
def test_a_step_sends_what_the_formula_says(model, ranks):
    def step(group):
        training = Training(model, 8, group)
        training.step()
        first = counts_and_bytes(training.record.messages)
        training.step()
        return first, counts_and_bytes(training.record.messages), expected_messages(training), len(group.log)

    for first, second, expected, sent in run_ranks(ranks, step):
        assert first == second == expected
        assert sent > 2 * sum(count for count, _ in expected.values())  # and the waits


def test_the_wide_mlp_sends_its_gradients_in_four_buckets():
    counts = run_ranks(2, lambda group: expected_messages(Training("wide-mlp", 4, group))[BUCKET])
    assert counts == [(4, 4 * (830_474 + 18))] * 2


def test_a_single_process_sends_nothing_and_its_mirror_sends_everything():
    alone = Group(0, 1, Alone(), lambda status: None)
    single = Training("mlp", 4, alone)
    single.step()
    assert single.record.messages == []
    mirror = Training("mlp", 8, parallel_step.mirrored())
    mirror.step()
    assert counts_and_bytes(mirror.record.messages) == expected_messages(mirror)
    for own, right in zip(mirror.model.parameters(), single.model.parameters(), strict=True):
        np.testing.assert_array_equal(own.grad.numpy().shape, right.grad.numpy().shape)


def test_a_mirrored_step_has_the_gradients_of_its_shard_twice():
    """Two ranks with the same samples: the gradients of the batch are those of each."""
    alone = Group(0, 1, Alone(), lambda status: None)
    single = Training("cnn", 6, alone)
    mirror = Training("cnn", 12, parallel_step.mirrored())
    mirror.inputs.array[...], mirror.labels.array[...] = single.inputs.array, single.labels.array
    single.step()
    mirror.step()
    for own, right in zip(mirror.model.parameters(), single.model.parameters(), strict=True):
        np.testing.assert_allclose(own.grad.numpy(), right.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_waiting_is_measured_and_the_messages_are_repeated_alone():
    steps = run_ranks(2, lambda group: parallel_step.measure("mlp", "weak", 4, 0.0, group))
    for step in steps:
        assert (step.ranks, step.samples) == (2, 8)
        assert 0 < step.waiting <= step.seconds
        assert 0 < step.fastest_waiting < step.fastest <= step.seconds
        assert step.alone > 0
    assert steps[0].messages == steps[1].messages
    assert run_ranks(2, lambda group: parallel_step.measure("mlp", "strong", 4, 0.0, group).samples) == [4, 4]


# -- the model


@pytest.mark.parametrize(("alpha", "beta"), [(2e-6, 3e-10), (5e-5, 8e-10), (0.0, 1e-9), (1e-6, 0.0)])
def test_the_fit_finds_known_numbers(alpha, beta):
    true = Network("", alpha, beta)
    times = [(N, m, true.all_reduce(m, N)) for N in (2, 4) for m in parallel_step.SIZES]
    fitted = alpha_beta.fit(times)
    assert (fitted.network.latency, fitted.network.per_byte) == pytest.approx(
        (alpha, beta), rel=1e-6, abs=1e-16
    )
    assert fitted.r_squared == pytest.approx(1)
    assert fitted.worst_factor == pytest.approx(1)


def test_the_fit_says_how_bad_it_is():
    true = Network("", 1e-6, 1e-9)
    times = [(2, m, true.all_reduce(m, 2) * (1.5 if m == 512 else 1)) for m in parallel_step.SIZES]
    fitted = alpha_beta.fit(times)
    assert fitted.network.latency == pytest.approx(1e-6, rel=0.2)
    assert 1.2 < fitted.worst_factor < 1.5
    assert 0.9 < fitted.r_squared < 0.999


def test_a_message_that_takes_11_times_as_long_is_off_by_that_factor(capsys):
    """A relative error of the model could not pass 100 %."""
    true = Network("", 1e-6, 1e-9)
    sizes = parallel_step.SIZES
    times = [(N, m, true.all_reduce(m, N)) for N in (2, 4, 8, 16, 32) for m in sizes]
    ranks, nbytes, seconds = times[-1]
    times[-1] = ranks, nbytes, 11 * seconds
    fitted = alpha_beta.fit(times)
    assert fitted.worst_factor == pytest.approx(11, rel=0.05)
    print_fit(wide_console(), times, fitted)
    assert f"off by a factor of up to {fitted.worst_factor:.3g}" in " ".join(capsys.readouterr().out.split())


def test_no_fitted_number_is_negative():
    fitted = alpha_beta.fit([(2, 8, 1e-9), (2, 512, 1e-6), (2, 32768, 1e-4)])
    assert fitted.network.latency == 0
    assert fitted.network.per_byte > 0


def test_times_of_messages():
    network = line(10, 20)
    assert network.all_reduce(1e6, 4) == pytest.approx(2 * 2 * 20e-6 + 2 * 0.75 * 1e6 * 0.8e-9)
    assert network.all_gather(1e6, 4) == pytest.approx(2 * 20e-6 + 3 * 1e6 * 0.8e-9)
    assert network.all_reduce(8, 5) == pytest.approx(2 * 3 * 20e-6, rel=1e-3)
    assert network.all_reduce(1e9, 1) == network.all_gather(1e9, 1) == 0


# -- predictions

MS = 1e-3
PROFILE = Profile(
    model="wide-mlp",
    parameters=830_474,
    plain=10 * MS,
    bucketed=11 * MS,
    whole=12 * MS,
    forward=3 * MS,
    backward=7 * MS,
    buckets=((1 * MS, 1_000_000), (4 * MS, 1_000_000), (6.9 * MS, 100_000)),
    gathers=(8192, 8192),
    sums=(4096, 4096),
    joints=((2, 0.1 * MS), (1024, 0.1 * MS)),
)
FREE = Network("free", 0.0, 0.0)


def test_one_process_pays_nothing_and_a_free_network_only_the_work():
    assert predicted_seconds(PROFILE, line(10, 20), 1) == PROFILE.plain
    assert predicted_seconds(PROFILE, FREE, 1024) == PROFILE.whole
    assert efficiency(PROFILE, FREE, 1024) == pytest.approx(10 / 12)


def test_buckets_hide_behind_backward_until_the_last():
    """1 MB takes 2 ms on two ranks: from 1 to 3 and from 4 to 6; the last, 0.2 ms, ends 0.1 ms too late."""
    network = Network("", 0.0, 2e-9)
    sent = 2 * 8192 * 2e-9 + 2 * 4096 * 2e-9
    assert predicted_seconds(PROFILE, network, 2) == pytest.approx(12 * MS + sent + 0.1 * MS)


def test_buckets_wait_for_each_other():
    """1 MB takes 4 ms: from 1 to 5, and to 9; the last to 9.4, which is 2.4 ms after backward."""
    network = Network("", 0.0, 4e-9)
    sent = 2 * 8192 * 4e-9 + 2 * 4096 * 4e-9
    assert predicted_seconds(PROFILE, network, 2) == pytest.approx(12 * MS + sent + 2.4 * MS)


def test_the_weighing_hides_behind_forward():
    alone = Profile("", 1, MS, MS, 2 * MS, 0.5 * MS, MS, (), (), (), ((2, 0.0), (4, 0.0)))
    assert predicted_seconds(alone, Network("", 0.2 * MS, 0.0), 2) == pytest.approx(2 * MS)
    assert predicted_seconds(alone, Network("", 0.4 * MS, 0.0), 2) == pytest.approx(2.3 * MS)


def test_joining_the_moments_of_more_ranks_takes_longer():
    """It is on a line between the measured numbers of ranks, beyond that of two, which `whole` has."""
    growing = dataclasses.replace(PROFILE, joints=((2, 0.1 * MS), (512, 5.1 * MS), (1024, 12.1 * MS)))
    found = [predicted_seconds(growing, FREE, ranks) for ranks in (2, 257, 512, 768, 1024)]
    assert found == pytest.approx([12 * MS, 14.5 * MS, 17 * MS, 20.5 * MS, 24 * MS])
    assert efficiency(growing, FREE, 1024) == pytest.approx(10 / 24)
    assert predicted_seconds(scaled(growing, 1024), FREE, 1024) == pytest.approx(
        scaled(PROFILE, 1024).whole + 2 * 12 * MS
    )
    assert smallest_model(growing, FREE, 1024, 0.8) > smallest_model(PROFILE, FREE, 1024, 0.8)
    noisy = dataclasses.replace(PROFILE, joints=((2, 0.1 * MS), (1024, 0.05 * MS)))
    assert predicted_seconds(noisy, FREE, 1024) == PROFILE.whole


def test_a_profile_times_the_joining_for_every_number_of_ranks():
    found = parallel_step.profile("mlp", 4, 0.0, Group(0, 1, Alone(), lambda status: None))
    counts, seconds = zip(*found.joints, strict=True)
    assert counts == parallel_step.SHARDS
    assert set(RANKS) < set(counts)
    assert min(seconds) > 0
    assert seconds[-1] > 2 * seconds[0]
    assert parallel_step.joining_seconds((), 4) == 0


@pytest.mark.parametrize("network", [line(10, 20), line(100, 2), line(1, 50)], ids=lambda n: n.name)
def test_more_ranks_are_never_faster_and_faster_networks_never_slower(network):
    times = [predicted_seconds(PROFILE, network, ranks) for ranks in RANKS]
    assert times == sorted(times)
    better = Network("", network.latency / 2, network.per_byte / 2)
    assert all(predicted_seconds(PROFILE, better, R) <= t for R, t in zip(RANKS, times, strict=True))


def test_the_scaled_model_is_the_measured_one_at_its_own_width():
    made = Training("wide-mlp", 4, parallel_step.mirrored())
    made.step()
    messages = made.record.messages
    found = scaled(PROFILE, 512)
    assert found.parameters == PROFILE.parameters == sum(p.array.size for p in made.model.parameters())
    assert (found.plain, found.whole) == pytest.approx((PROFILE.plain, PROFILE.whole))
    sizes = {kind: [m.nbytes for m in messages if m.kind == kind] for kind in (BUCKET, FORWARD, BACKWARD)}
    assert [nbytes for _, nbytes in found.buckets] == sizes[BUCKET]
    assert list(found.gathers) == sizes[FORWARD]
    assert list(found.sums) == sizes[BACKWARD]
    assert found.buckets[-1][0] == pytest.approx(PROFILE.backward)


def test_runs_of_parameters_are_those_of_the_reducer():
    made = Training("cnn", 4, parallel_step.mirrored())
    sizes = [p.array.size for p in reversed(list(made.model.parameters()))]
    for limit in (BUCKET_BYTES, 4096, 1):
        runs = parallel_step.DistributedDataParallel(
            made.model.module, process_group=parallel_step.mirrored(), bucket_cap_mb=limit / 2**20
        ).reducer.buckets
        assert bucket_sizes(sizes, limit) == [[p.array.size for p in run.parameters] for run in runs]


def test_the_smallest_model_grows_with_ranks_and_efficiency():
    network = line(10, 20)
    sizes = [smallest_model(PROFILE, network, ranks, 0.5) for ranks in RANKS]
    assert sizes == sorted(sizes)
    assert smallest_model(PROFILE, network, 8, 0.7) > sizes[0]
    assert smallest_model(PROFILE, network, 8, 0.85) is None  # the last of three large buckets is late
    assert smallest_model(PROFILE, line(100, 2), 8, 0.85) < sizes[-1]
    assert smallest_model(PROFILE, FREE, 8, 0.95) is None  # 10/11, as it copies gradients
    assert smallest_model(PROFILE, FREE, 8, 1.0, to_same_work=True) == scaled(PROFILE, 16).parameters
    assert smallest_model(PROFILE, network, 8, 0.7, to_same_work=True) < smallest_model(
        PROFILE, network, 8, 0.7
    )
    assert smallest_model(PROFILE, FREE, 8, 0.1) == scaled(PROFILE, 16).parameters


# -- rounds


def test_a_summary_has_medians_and_efficiencies():
    def step(scaling, ranks, seconds):
        return Step(
            "mlp", scaling, ranks, 64, seconds, seconds / 2, seconds / 4, seconds / 8, seconds / 9, {}
        )

    rounds = [
        Measured(ranks, [step(scaling, ranks, seconds * ranks) for scaling in ("strong", "weak")], [], [])
        for seconds in (1.0, 5.0, 2.0)
        for ranks in (1, 2)
    ]
    rows = {(row.step.scaling, row.step.ranks): row for row in summary(rounds)}
    assert list(rows) == [("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2)]
    row = rows["strong", 2]
    assert (row.step.seconds, row.low, row.high, row.step.waiting) == (4.0, 2.0, 10.0, 2.0)
    assert (row.step.fastest, row.step.fastest_waiting, row.step.alone) == (0.5, 0.25, 2 / 9)
    assert (row.efficiency, row.fastest_efficiency) == (0.25, 0.25)
    assert (rows["weak", 2].efficiency, rows["weak", 2].fastest_efficiency) == (0.5, 0.5)
    assert rows["weak", 1].efficiency == rows["strong", 1].efficiency == 1


def test_profiles_and_all_reduces_are_the_fastest_of_all_rounds():
    slow = dataclasses.replace(PROFILE, plain=9 * MS, whole=20 * MS, forward=8 * MS)
    rounds = [Measured(1, [], [slow], []), Measured(1, [], [PROFILE], [])]
    rounds += [Measured(1, [], [dataclasses.replace(slow, joints=((2, 0.2 * MS), (1024, 0.05 * MS)))], [])]
    rounds += [Measured(2, [], [], [(2, 8, t), (2, 64, 2 * t)]) for t in (3.0, 1.0, 2.0)]
    joints = ((2, 0.1 * MS), (1024, 0.05 * MS))
    assert fastest_profiles(rounds) == [dataclasses.replace(PROFILE, plain=9 * MS, joints=joints)]
    assert fastest_all_reduces(rounds) == [(2, 8, 1.0), (2, 64, 2.0)]


# -- the command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mpl"], "unknown model 'mpl'"),
        (["--processes", "1;2"], "takes numbers with commas between, as 1,2,4; got '1;2'"),
        (["--processes", "0"], "--processes must be from 1 to"),
        (["--processes", "100000"], "got '100000'"),
        (["--processes", ""], "takes numbers"),
        (["--batch", "1"], "Invalid value for '--batch'"),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
        (["--network", "10"], "--network takes Gbit/s and µs, as 10:20"),
        (["--network", "0:20"], "got '0:20'"),
        (["--network", "nan:20"], "got 'nan:20'"),
        (["--network", "10:-1"], "got '10:-1'"),
        (["--json", "/no/such/folder/x.json"], "is not a folder"),
        (["--plot", "x.pdf"], "must end in .png or .svg"),
    ],
    ids=lambda value: " ".join(value).replace("/", "-") if isinstance(value, list) else "words",
)
def test_bad_options_are_named(options, words):
    result = CliRunner().invoke(app, ["bench", "distributed", *options], env={"COLUMNS": "2000"})
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("missing", ["mpiexec to start processes with", "mpi4py to send messages with"])
def test_without_mpi_it_says_what_to_install(monkeypatch, missing):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None if "mpiexec" in missing else "/bin/mpiexec")
    monkeypatch.setattr("tinygrad_norm.bench.parallel_rounds.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["bench", "distributed"])
    assert result.exit_code == 2
    assert f"error: there is no {missing}: pip install 'tinygrad_norm[mpi]' mpich" in result.output


def test_processes_that_fail_say_why(monkeypatch, tmp_path):
    program = tmp_path / "mpiexec"
    program.write_text("#!/bin/sh\necho 'rank 1 of 2: no such network' >&2; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("tinygrad_norm.cli.bench_distributed.find_mpiexec", lambda: str(program))
    result = CliRunner().invoke(app, ["bench", "distributed", "--processes", "2"])
    assert result.exit_code == 2
    assert "error: mpiexec -n 1 has failed:\nrank 1 of 2: no such network" in result.output


def test_what_is_in_processor_time_says_so(monkeypatch, tmp_path):
    step = Step("wide-mlp", "weak", 1, 64, 0.02, 0.0, 0.02, 0.0, 0.0, {})
    command = "tinygrad_norm.cli.bench_distributed"
    monkeypatch.setattr(f"{command}._rounds", lambda *_: [Measured(1, [step], [PROFILE], [])])
    monkeypatch.setattr(f"{command}.version", lambda name: "4")
    monkeypatch.setattr(f"{command}.environment", dict)
    file = tmp_path / "found.json"
    options = ["--processes", "1", "--json", str(file)]
    result = CliRunner().invoke(app, ["bench", "distributed", *options], env={"COLUMNS": "2000"})
    assert result.exit_code == 0, result.output
    assert "one process takes 10.00 ms of processor time a step" in result.output
    assert "predicted ms a step, processor time" in result.output
    clock = json.loads(file.read_text())["environment"]["clock"]
    assert clock == "wall; profiles and predictions: processor time"


BENCH = [sys.executable, "-m", "tinygrad_norm", "bench", "distributed"]


@needs_mpi
@pytest.mark.slow
def test_the_command_measures_and_predicts(tmp_path):
    pytest.importorskip("matplotlib")
    options = ["mlp", "wide-mlp", "--processes", "2", "--rounds", "1", "--seconds", "0.01", "--batch", "8"]
    files = tmp_path / "found.json", tmp_path / "found.png"
    done = subprocess.run(
        [*BENCH, *options, "--network", "25:5", "--json", files[0], "--plot", files[1]],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1/2, 1 process: mlp" in done.stderr
    assert "4: 3,321,968 B" in done.stdout
    assert "25 Gbit/s, α 5 µs" in done.stdout
    assert "α is an assumption" in done.stdout
    found = json.loads(files[0].read_text())
    assert [(row["step"]["ranks"], row["step"]["samples"]) for row in found["rows"][:4]] == [
        *((1, 8), (2, 8)),
        *((1, 8), (2, 16)),
    ]
    assert len(found["all_reduces"]) == len(parallel_step.SIZES)
    assert [p["ranks"] for p in found["predictions"]] == [*RANKS, *RANKS]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.iterdir()) == sorted(files)


@needs_mpi
@pytest.mark.slow
def test_inside_mpiexec_it_measures_those_processes():
    done = mpiexec(2, *BENCH, "mlp", "--seconds", "0.01", "--batch", "8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| mlp ") == 3  # what it sends, strong, weak
    assert "2 processes" in done.stdout
    assert "fitted: α" in done.stdout
    refused = mpiexec(2, *BENCH, "--processes", "2")
    assert refused.returncode == 2
    assert "leave out --processes" in " ".join(refused.stderr.replace("│", " ").split())
