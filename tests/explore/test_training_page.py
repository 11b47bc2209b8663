"""The curves of a training in a browser: they grow, say the figures of the run, and stay afterwards."""

import json
import re
import threading

import pytest
from headless import PROGRAM

from tinygrad_norm.explore import Server, TrainingCurves
from tinygrad_norm.explore import server as served_by
from tinygrad_norm.training import Config, NormGrid, Run
from tinygrad_norm.training.task import format_figure

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

STATE = "document.body?.dataset.ready"
TABLE = (
    "[...document.querySelectorAll('#training-table tbody tr')]"
    ".map((r) => [...r.cells].map((c) => c.textContent))"
)
DOTS = "document.querySelectorAll('#charts figure:first-child .dot').length"


@pytest.fixture
def served():
    curves = TrainingCurves("mlp on digits, batch normalization", "runs/digits-mlp-batch")
    with Server(curves=curves) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def train(curves, run, on_epoch=lambda run: None):
    with curves.following(run) as (step, epoch):
        run.train(step, lambda run: (epoch(run), on_epoch(run)))


def figures_of_results(run, part):
    return [format_figure(name, value) for name, value in run.figures()[part].items()]


def test_before_the_first_epoch_has_ended_the_table_says_last_batches(served, browser, tmp_path):
    page = browser.open(served.address)
    page.wait(f"{STATE} === 'training'")

    def look(run):
        if (run.progress.epoch, run.progress.step) == (0, 5):
            page.wait(f"/last batches/.test({TABLE}[0]?.[3])")
            loss, validation, accuracy, _ = page.evaluate(TABLE)[0][3:]
            assert re.fullmatch(r"\d\.\d{4} \(last batches\)", loss)
            assert re.fullmatch(r"\d+\.\d\d% \(last batches\)", accuracy)
            assert validation == "–"

    run = Run(Config(epochs=1), tmp_path / "run")
    with served.curves.following(run) as (step, epoch):
        run.train(lambda run: (step(run), look(run)), epoch)
    page.wait(f"{TABLE}[0]?.[1] === 'finished'")
    assert "last batches" not in "".join(page.evaluate(TABLE)[0])
    assert page.errors == []


def test_the_curves_grow_while_it_trains_and_the_explorer_follows(served, browser, tmp_path):
    page = browser.open(served.address)
    page.wait(f"{STATE} === 'training'")
    seen = []

    def row(run):
        names, history = run.task.figure_names, run.progress.history[-1]
        parts = [(name, history[f"{part}_{name}"]) for name in names for part in ("train", "validation")]
        return [format_figure(name, value) for name, value in parts]

    def look(run):
        epoch = run.progress.epoch
        page.wait(f"{DOTS} === {epoch}")
        _, state, _, *figures = page.evaluate(TABLE)[0]
        assert state == "training"
        assert figures == row(run)
        seen.append(page.evaluate("document.querySelector('#charts path').getAttribute('d').length"))
        assert page.evaluate("document.getElementById('explorer').hidden")

    run = Run(Config(norm="layer", epochs=3), tmp_path / "run")
    train(served.curves, run, look)
    assert seen == sorted(set(seen))
    assert len(seen) == 3
    served.curves.end()
    page.wait(f"{STATE} === 'yes'")
    assert page.evaluate("document.getElementById('op').value") == "layer_norm"
    assert page.evaluate(TABLE)[0][3:] == row(run)
    assert figures_of_results(run, "train") == page.evaluate(TABLE)[0][3::2]
    assert "It has ended" in page.evaluate("document.getElementById('training-words').textContent")
    for k, name in enumerate(("loss", "accuracy")):
        page.evaluate(f"document.querySelectorAll('.chart')[{k}].focus()")
        page.press("ArrowLeft")
        text = page.evaluate(f"document.querySelectorAll('.reading')[{k}].textContent")
        assert text.startswith("epoch 2:")
        assert float(text.rpartition(" ")[2]) == pytest.approx(
            run.progress.history[1][f"validation_{name}"], rel=1e-3
        )
    assert page.errors == []
    assert all(url.startswith((f"http://127.0.0.1:{served.server_port}/", "data:")) for url in page.requests)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400], ids=["wide", "narrow"])
def test_several_norms_have_a_colour_each(served, browser, tmp_path, width, dark):
    grid = NormGrid(Config(epochs=1), ["batch", "layer"], 1, tmp_path)
    for name, config in grid.configs.items():
        served.curves.expect(name, config)
    page = browser.open(served.address, width=width, dark=dark)
    page.wait(f"{STATE} === 'training'")
    assert [row[1] for row in page.evaluate(TABLE)] == ["waiting", "waiting"]
    grid.train(lambda run: train(served.curves, run))
    page.wait(f"{DOTS} === 2")
    colours = page.evaluate("[...document.querySelectorAll('.dot')].map((d) => getComputedStyle(d).fill)")
    assert len(set(colours)) == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelector('[data-key=batch]').focus()")
    page.press("Enter")
    assert page.evaluate(DOTS) == 1
    assert page.evaluate("document.activeElement.dataset.key") == "batch"
    page.evaluate("document.getElementById('log').click()")
    page.wait("location.hash.includes('log=1')")
    assert page.errors == []


def test_closing_the_page_ends_the_wait(served, browser, monkeypatch):
    monkeypatch.setattr(served_by, "GRACE", 0.5)
    page = browser.open(served.address)
    page.wait(f"{STATE} === 'training'")
    served.curves.end()
    page.wait(f"{STATE} === 'yes'")
    waiting = threading.Thread(target=served.wait_until_closed, daemon=True)
    waiting.start()
    page.send("Page.close")
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_server_that_has_ended_leaves_the_curves(browser, tmp_path):
    curves = TrainingCurves("mlp", "runs/mlp")
    with Server(curves=curves) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        train(curves, Run(Config(epochs=1), tmp_path / "run"))
        page = browser.open(server.address)
        page.wait(f"{DOTS} === 1")
        server.shutdown()
        thread.join()
    page.wait("/process has ended/.test(document.getElementById('training-words').textContent)")
    assert page.evaluate(DOTS) == 1


def test_the_saved_page_has_the_curves(served, browser, tmp_path):
    train(served.curves, Run(Config(epochs=2), tmp_path / "run"))
    saved = {"norms": [], "answer": None, "graph": None, "training": served.curves.since()}
    path = tmp_path / "saved.html"
    path.write_text(served_by.page(saved), encoding="utf-8")
    page = browser.open(path.as_uri())
    page.wait(f"{DOTS} === 2")
    assert json.loads(page.evaluate("JSON.stringify(document.getElementById('explorer').hidden)"))
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert page.errors == []
