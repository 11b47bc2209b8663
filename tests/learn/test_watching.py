"""`tn.learn.watch`: the numbers of tiny models found by hand, hooks, resuming, and errors."""

import csv
import gc
import math
import shutil
import tracemalloc

import numpy as np
import pytest
import strict_cupy

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.learn import watch
from tinygrad_norm.nn import functional as F

X = np.array([[1.0, 2.0], [3.0, 4.0]])


def tiny():
    """Two linear layers with a ReLU between them whose second unit is dead for X."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    for parameter, values in zip(
        model.parameters(), ([[1, 0], [-1, -1]], [0, 0], [[2, 5]], [0]), strict=True
    ):
        parameter.copy_(tn.tensor(values, dtype=tn.float64))
    return model, tn.optim.SGD(model.parameters(), lr=0.1)


def train(model, optimizer, x, steps=1, watched=None):
    for _ in range(steps):
        optimizer.zero_grad()
        model(tn.tensor(x)).sum().backward()
        optimizer.step()
        if watched is not None:
            watched.step()


def values(rows):
    return {(layer, quantity): value for _, layer, quantity, value in rows}


def test_activations_gradients_dead_units_and_updates():
    """z = [[1, -3], [3, -7]], h = [[1, 0], [3, 0]], y = [2, 6], and dL/dy = 1 for both samples."""
    model, optimizer = tiny()
    with watch(model) as watched:
        train(model, optimizer, X, 1, watched)
    expected = {
        ("0", "activation_mean"): -1.5,
        ("0", "activation_std"): math.sqrt(14.75),
        ("0", "unit_std"): math.sqrt((1 + 4) / 2),
        ("0", "activation_grad"): math.sqrt(8),
        ("1", "activation_mean"): 1,
        ("1", "activation_std"): math.sqrt(10 / 4 - 1),
        ("1", "unit_std"): math.sqrt(1 / 2),
        ("1", "dead"): 0.5,
        ("1", "activation_grad"): math.sqrt(58),
        ("2", "activation_mean"): 4,
        ("2", "activation_std"): 2,
        ("2", "unit_std"): 2,
        ("2", "activation_grad"): math.sqrt(2),
        ("0.weight", "grad"): math.sqrt(208),
        ("0.weight", "update_ratio"): 0.1 * math.sqrt(208 / 3),
        ("0.bias", "grad"): 4,
        ("2.weight", "grad"): 4,
        ("2.weight", "update_ratio"): 0.1 * 4 / math.sqrt(29),
        ("2.bias", "grad"): 2,
    }
    assert list(values(watched.rows)) == list(expected)  # without the updates of biases, which were 0
    assert values(watched.rows) == pytest.approx(expected, rel=1e-12)
    assert {step for step, *_ in watched.rows} == {1}


def test_batch_statistics_beside_the_running_ones():
    """m = [2, 4] and v = [2, 8] beside M = [1, 0] and V = [4, 1]: distances 1/2 and 4, ratios 1/2 and 8."""
    layer = nn.BatchNorm1d(2, eps=0.0).double()
    layer.running_mean.copy_(tn.tensor([1.0, 0.0]))
    layer.running_var.copy_(tn.tensor([4.0, 1.0]))
    optimizer = tn.optim.SGD(layer.parameters(), lr=0.1)
    with watch(layer) as watched:
        train(layer, optimizer, np.array([[1.0, 2.0], [3.0, 6.0]]), 1, watched)
    found = values(watched.rows)
    assert found["BatchNorm1d", "mean_distance"] == pytest.approx(2.25)
    assert found["BatchNorm1d", "var_ratio"] == pytest.approx(2)
    np.testing.assert_allclose(layer.running_mean.numpy(), [1.1, 0.4])  # moved once, as ever


def test_units_are_channels_of_images_and_features_of_sequences():
    """A filter whose outputs are negative everywhere is one dead unit of two; a function counts too."""
    conv, sequence = nn.Conv2d(1, 2, 1), nn.Conv1d(1, 2, 1)
    for layer in (conv, sequence):
        layer.weight.fill_(0)
        layer.bias.copy_(tn.tensor([1.0, -1.0]))
    assert dead(nn.Sequential(conv, nn.ReLU()), tn.ones(2, 1, 3, 3)) == {"1": 0.5}
    assert dead(nn.Sequential(sequence, nn.ReLU()), tn.ones(2, 1, 3)) == {"1": 0.5}

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 4), nn.Linear(4, 2), nn.Linear(4, 2)
            self.a.weight.fill_(0)
            self.a.bias.copy_(tn.tensor([1.0, -1.0, -1.0, -1.0]))

        def forward(self, x):
            h = F.relu(self.a(x))
            return self.b(h) + self.c(h)

    assert dead(Block(), tn.ones(2, 3, 2)) == {"b (input)": 0.75}


def dead(model, x):
    with watch(model) as watched:
        model(x).sum().backward()
        watched.step()
    return {layer: value for _, layer, quantity, value in watched.rows if quantity == "dead"}


def test_calls_in_one_step_are_averaged_and_evaluation_is_left_out():
    model, optimizer = tiny()
    with watch(model) as watched:
        with tn.no_grad():
            model(tn.tensor(X * 100))
        model.eval()
        model(tn.tensor(X * 100))
        model.train()
        for scale in (1, 2):
            model(tn.tensor(X * scale)).sum().backward()
        optimizer.step()
        watched.step()
    found = values(watched.rows)
    assert found["2", "activation_mean"] == pytest.approx((4 + 8) / 2)
    assert found["2.weight", "grad"] == pytest.approx(4 + 8)


def test_only_the_first_of_every_steps_has_hooks_and_none_stay():
    model, optimizer = tiny()
    watched, seen = watch(model, every=3), []
    for _ in range(7):
        seen.append(bool(model[0]._forward_hooks))
        train(model, optimizer, X, 1, watched)
    assert seen == [True, False, False] * 2 + [True]
    assert sorted({step for step, *_ in watched.rows}) == [1, 4, 7]
    watched = watch(model)
    assert model[0]._forward_hooks
    watched.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(RuntimeError, match="no longer watched"):
        watched.step()


class Shared(nn.Module):
    """Activations that are used twice, statistics that run, and several outputs."""

    def __init__(self):
        super().__init__()
        self.block = nn.ResidualBlock(2, 4)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        x = self.norm(self.block(x)).flatten(2).swapaxes(1, 2)
        return self.lstm(self.attention(x))[0][:, -1]


@pytest.mark.parametrize("every", [1, 2])
def test_watching_changes_no_bit(every):
    states = []
    for is_watched in (False, True):
        tn.manual_seed(3)
        model = Shared()
        optimizer, x = tn.optim.AdamW(model.parameters(), lr=0.01), tn.randn(4, 2, 3, 3)
        watched = watch(model, every) if is_watched else None
        train(model, optimizer, x, 3, watched)
        states.append([*model.state_dict().items(), *((n, p.grad) for n, p in model.named_parameters())])
    for (name, a), (_, b) in zip(*states, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


@pytest.mark.slow
def test_memory_does_not_grow():
    model = nn.Sequential(nn.Linear(200, 200), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 200))
    optimizer, x = tn.optim.SGD(model.parameters(), lr=0.01), np.ones((20, 200), np.float32)
    x[0] = 2
    watched, held = watch(model), []
    tracemalloc.start()
    try:
        for _ in range(3):
            train(model, optimizer, x, 5, watched)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[2] - held[1] < 50_000  # rows; an activation more per step would be 80,000


def test_the_file_and_resuming_it(tmp_path):
    model, optimizer = tiny()
    watched, path = watch(model, every=2), tmp_path / "stats.csv"
    train(model, optimizer, X * 1e-3, 6, watched)
    watched.save(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"step": "1", "layer": "0", "quantity": "activation_mean", "value": "-0.0015"}
    assert [int(row["step"]) for row in rows] == [step for step, *_ in watched.rows]
    whole = path.read_text()

    model, optimizer = tiny()
    train(model, optimizer, X * 1e-3, 4)
    with watch(model, every=2) as watched:
        watched.resume(path, 4)  # step 5 is in the file, and comes again
        train(model, optimizer, X * 1e-3, 2, watched)
    watched.save(path)
    assert path.read_text() == whole
    watched.resume(tmp_path / "missing.csv", 2)
    assert (watched.rows, watched.steps) == ([], 2)


def test_the_table():
    model, optimizer = tiny()
    with watch(model) as watched:
        train(model, optimizer, X, 2, watched)
    lines = watched.table().splitlines()
    assert lines[0].split() == ["step", "2", "activation", "activation", "unit", "activation", "update"]
    assert lines[1].split() == ["mean", "std", "std", "dead", "grad", "grad", "ratio"]
    assert lines[3].split()[:2] == ["1", "ReLU"]
    assert lines[5].startswith("0.weight ")


def test_not_a_number_is_recorded(tmp_path):
    model, optimizer = tiny()
    model[0].weight.fill_(math.nan)
    with watch(model) as watched:
        train(model, optimizer, X, 1, watched)
    assert math.isnan(values(watched.rows)["0", "activation_mean"])
    watched.save(tmp_path / "stats.csv")
    watched.resume(tmp_path / "stats.csv", 1)
    assert math.isnan(values(watched.rows)["0", "activation_mean"])
    assert "NaN" in watched.table()


def on(backend):
    """Rows of three steps, every second recorded, and what each step waited for."""
    with tn.use_backend(backend):
        head, *tail = tiny()[0]
        model, waited = nn.Sequential(head, nn.BatchNorm1d(2, eps=0.1).double(), *tail), []
        optimizer = tn.optim.SGD(model.parameters(), lr=0.1)
        with watch(model, every=2) as watched, strict_cupy.record_waits() as waits:
            for _ in range(3):
                before = len(waits)
                train(model, optimizer, X, 1, watched)
                waited.append(len(waits) - before)
    return watched.rows, waited


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in's kernels need g++")
def test_a_step_on_a_gpu_waits_once_when_it_is_recorded():
    with strict_cupy.standing_in():
        rows, waited = on("cupy")
    assert waited == [1, 0, 1]
    expected, _ = on("numpy")
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    # A bias before BatchNorm has the gradient 0, up to rounding.
    numbers = [[row[3] for row in found if row[1] != "0.bias"] for found in (rows, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)


def test_a_captured_step_raises(monkeypatch):
    model, optimizer = tiny()
    monkeypatch.setattr("tinygrad_norm.learn.step_recorder.current_graph", object)
    with (
        watch(model) as watched,
        pytest.raises(RuntimeError, match="captured as a CUDA graph cannot be watched"),
    ):
        train(model, optimizer, X, 1, watched)


def test_wrong_use_is_explained(tmp_path):
    model, optimizer = tiny()
    for wrong, error, message in (
        (lambda: watch(print), TypeError, "watch takes a module of tinygrad_norm.nn, got builtins"),
        (lambda: watch(nn.ReLU()), ValueError, "ReLU has no parameters"),
        (lambda: watch(model, 0), ValueError, "every must be at least 1, got 0"),
        (lambda: watch(model, 1.5), TypeError, "every must be an int, got 1.5"),
        (lambda: watch(model).table(), ValueError, "no step was recorded"),
        (lambda: watch(model).save(tmp_path / "a.csv"), ValueError, "no step was recorded"),
        (lambda: watch(model).step(), RuntimeError, "no layer ran in step 1 in training mode"),
    ):
        with pytest.raises(error, match=message):
            wrong()
    with watch(model) as watched:
        model(tn.tensor(X)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        with pytest.raises(RuntimeError, match=r"no parameter has a gradient in step 1: .* before zero_grad"):
            watched.step()


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "step,layer,quantity,value\n1,0,mean\n", "\x00\n"], ids=range(4)
)
def test_a_foreign_file_is_not_continued(tmp_path, text):
    path = tmp_path / "stats.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"stats\.csv is not a file of watched layers"):
        watch(tiny()[0]).resume(path, 3)


def drawn(model, x, path, monkeypatch):
    """The figure of two steps, which is not written."""
    figure, kept = pytest.importorskip("matplotlib.figure").Figure, []
    monkeypatch.setattr(figure, "savefig", lambda self, path: kept.append(self))
    with watch(model) as watched:
        train(model, tn.optim.SGD(model.parameters(), lr=0.1), x, 2, watched)
    watched.plot(path, "a title with a $")
    return kept[0]


def test_the_panels_of_the_picture(tmp_path, monkeypatch):
    head, *tail = tiny()[0]
    model = nn.Sequential(head, nn.BatchNorm1d(2).double(), *tail)
    figure = drawn(model, X, tmp_path / "stats.png", monkeypatch)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title.split(" (")[0] for title in titles] == [
        "outputs, after the normalization",
        "gradients of these outputs",
        "gradients of the weights",
        "updates of the weights",
        "dead units after each ReLU",
        "batch mean – running mean",
    ]
    colours = [[line.get_color() for line in curves(axes)] for axes in figure.axes]
    first, last = map(tuple, colours[0])
    assert first != last
    assert [list(map(tuple, found[:2])) for found in colours[1:4]] == [[first, last]] * 3
    assert [list(map(tuple, found)) for found in colours[4:]] == [[first]] * 2  # that of the layer before
    for axes in figure.axes:
        assert axes.get_yscale() == ("linear" if axes.get_title().startswith("dead") else "log")
    assert legend_of(figure) == ["0 Linear + BatchNorm1d", "3 Linear"]


def curves(axes):
    """The lines, without the dashed one at 1."""
    return [line for line in axes.lines if line.get_linestyle() == "-"]


def legend_of(figure):
    (legend,) = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for text in legend.get_texts()]


def test_outputs_are_those_after_the_normalization_on_the_same_axes(tmp_path, monkeypatch):
    """The units of [[1, -3], [3, -7]] have the standard deviations 1 and 2, and 1 after BatchNorm."""
    head, *tail = tiny()[0]
    plain = drawn(nn.Sequential(head, *tail), X, tmp_path / "a.png", monkeypatch)
    head, *tail = tiny()[0]
    normalized = nn.Sequential(head, nn.BatchNorm1d(2, eps=0).double(), *tail)
    figure = drawn(normalized, X, tmp_path / "b.png", monkeypatch)
    firsts = [found.axes[0].lines[0].get_ydata()[0] for found in (plain, figure)]
    assert firsts == pytest.approx([math.sqrt((1 + 4) / 2), 1])
    assert legend_of(plain) == ["0 Linear", "2 Linear"]
    assert plain.axes[0].get_title() == "outputs"
    assert [axes.get_ylim() for axes in plain.axes[:5]] == [axes.get_ylim() for axes in figure.axes[:5]]


def test_an_axis_is_wider_where_a_value_is_outside(tmp_path, monkeypatch):
    model, _ = tiny()
    model[2].weight.fill_(3e-6)
    outputs, _, gradients, *_ = drawn(model, X, tmp_path / "a.png", monkeypatch).axes
    assert outputs.get_ylim() == (1e-6, 1e2)  # y = 3e-6 (1, 3)
    assert gradients.get_ylim() == (1e-5, 1e2)


def test_the_legend_of_many_layers_names_some_of_them(tmp_path, monkeypatch):
    tn.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(30))).double()
    (legend,) = drawn(model, X, tmp_path / "stats.png", monkeypatch).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert (names[0], names[-1], len(names)) == ("0 Linear", "29 Linear", 12)
    assert legend.get_title().get_text() == "12 of 30 layers"


class Attends(nn.Module):
    """A ReLU that is a function, and an attention whose output is that of the layer in it."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x):
        h = self.b(F.relu(self.a(x)))[None]
        return self.attention(h, h, h)[0]


def test_an_attention_is_one_layer_and_a_function_has_the_colour_of_the_layer_before(tmp_path, monkeypatch):
    tn.manual_seed(0)
    model = Attends().double()
    figure = drawn(model, X, tmp_path / "stats.png", monkeypatch)
    assert legend_of(figure) == ["a", "b", "attention.out_proj"]
    outputs, _, gradients, _, dead = (
        [tuple(line.get_color()) for line in curves(axes)] for axes in figure.axes[:5]
    )
    assert len(set(outputs)) == 3
    assert gradients == [*outputs, outputs[2]]  # in_proj_weight too
    assert dead == outputs[:1]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written(tmp_path, ending):
    pytest.importorskip("matplotlib")
    model, optimizer = tiny()
    with watch(model) as watched:
        train(model, optimizer, X, 2, watched)
    path = tmp_path / f"stats.{ending}"
    watched.plot(path, "tiny $model")
    assert path.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")
