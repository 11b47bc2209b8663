"""The chart that `tinygrad-norm train` draws on a terminal: what it shows, in which width, and when not."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tinygrad_norm.cli.cost_chart import MARGIN, PARTS, CostChart
from tinygrad_norm.cli.progress import train_with_progress
from tinygrad_norm.training import Config, Run

STEPS = 10


def run_of(epochs, history=()):
    """Return what a chart knows of a run."""
    return SimpleNamespace(
        task=SimpleNamespace(cost=SimpleNamespace(name="loss")),
        config=SimpleNamespace(epochs=epochs),
        loader=range(STEPS),
        progress=SimpleNamespace(epoch=0, step=0, history=list(history)),
    )


def row(epoch, train, validation):
    return {"epoch": epoch, "train_loss": train, "validation_loss": validation}


def chart_of(*rows, epochs=None):
    run = run_of(epochs or len(rows))
    chart = CostChart(run)
    for values in rows:
        run.progress.history.append(row(*values))
        chart.add_epoch(run)
    return chart


def printed(chart, width=80, height=24, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, force_terminal=True, color_system=None, width=width, height=height).print(chart)
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


def test_costs_fall_from_the_upper_left_to_the_lower_right_on_a_logarithmic_scale():
    first, *lines, last = printed(chart_of(*((k, 4.0**-k, 3 * 4.0**-k) for k in range(1, 9))))
    assert first == "loss  train 0.0000  o validation 0.0000"
    assert last.split() == ["0", "8", "epochs"]
    labels = [line[:MARGIN].strip() for line in lines]
    assert labels == ["0.75", "", "", "0.00338", "", "", "1.53e-05"]
    dots = [line[MARGIN:].replace("o", " ") for line in lines]
    starts = [len(line) - len(line.lstrip()) for line in dots]
    assert starts == sorted(set(starts))  # on a linear scale, nearly all would be in the lowest line
    marks = [(column, k) for k, line in enumerate(lines) for column, c in enumerate(line) if c == "o"]
    assert len(marks) == 8
    assert [k for _, k in sorted(marks)] == sorted(k for _, k in marks)


def test_drawn_is_the_mean_of_the_steps_since_the_last_reading():
    run = run_of(epochs=1)
    chart = CostChart(run)
    for step, mean in ((2, 1.0), (4, 1.5), (10, 1.2)):
        run.progress.step = step
        chart.add_steps(run, mean)
    parts = {part / PARTS: total / count for part, (total, count) in chart._parts.items()}
    assert parts == pytest.approx({0.1: 1.0, 0.3: 2.0, 0.7: 1.0})
    run.progress.history.append(row(1, 1.2, 1.3))
    chart.add_epoch(run)
    assert len(chart._parts) == 3  # all of its steps were there


def test_a_long_run_is_drawn_from_as_few_numbers_as_a_short_one():
    chart = chart_of(*((k, 1 / k, 2 / k) for k in range(1, 3001)))
    assert len(chart._parts) == PARTS
    assert max(map(len, printed(chart))) <= 80


@pytest.mark.parametrize("width", [30, 40, 80, 120, 300])
def test_it_is_as_wide_as_the_terminal_but_not_wider_than_legible(width):
    lines = printed(chart_of((1, 2.0, 2.5), (2, 1.0, 1.25)), width)
    assert len(lines) == 9
    assert max(map(len, lines)) == min(width, 100)
    assert ("loss" in lines[0]) == (width >= 40)
    assert "train 1.0000  o validation" in lines[0]


@pytest.mark.parametrize(
    "terminal", [{"width": 29}, {"height": 15}, {"encoding": "ascii"}], ids=["narrow", "low", "ascii"]
)
def test_a_terminal_without_room_or_braille_gets_none(terminal):
    chart = chart_of((1, 2.0, 2.5))
    assert printed(chart) != []
    assert printed(chart, **terminal) == []


def test_before_the_first_figures_there_is_none():
    assert printed(CostChart(run_of(epochs=3))) == []


def test_costs_of_any_sign_are_on_a_linear_scale():
    lines = printed(chart_of((1, 3.0, 1.0), (2, -1.0, 0.0)))
    assert [line[:MARGIN].strip() for line in lines[1:8]] == ["3", "", "", "1", "", "", "-1"]


def test_a_constant_cost_is_a_line_in_the_middle():
    lines = printed(chart_of((1, 2.0, 2.0), (2, 2.0, 2.0)))
    assert [k for k, line in enumerate(lines[1:8]) if "o" in line] == [3]


def test_a_run_that_is_continued_shows_its_former_epochs():
    chart = CostChart(run_of(4, [row(1, 2.0, 2.5), row(2, 1.0, 1.25)]))
    lines = printed(chart)
    assert "".join(lines[1:8]).count("o") == 2
    assert lines[0] == "loss  train 1.0000  o validation 1.2500"


def train(folder, **console):
    console = Console(file=io.StringIO(), color_system=None, width=80, height=24, **console)
    run = Run(Config(epochs=2), folder)
    train_with_progress(console, run)
    return run, console.file.getvalue()


def test_the_last_frame_stays_and_a_pipe_gets_none(tmp_path):
    run, terminal = train(tmp_path / "terminal", force_terminal=True)
    _, pipe = train(tmp_path / "pipe", force_terminal=False)
    last = run.progress.history[-1]
    end = terminal.rpartition("epoch 2/2")[2]
    assert "\nloss  train 0." in end
    assert f"o validation {last['validation_loss']:.4f}" in end
    assert f"40/40 loss {last['train_loss']:.4f}" in end
    assert "2 epochs" in end
    assert not any(0x2800 <= ord(c) < 0x2900 for c in pipe)
    files = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("terminal", "pipe")]
    assert files[0] == files[1]
