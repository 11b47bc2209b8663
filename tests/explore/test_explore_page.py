"""The explorer in a browser: the library's numbers, usable by keyboard, and no request elsewhere."""

import json
import threading

import pytest
from headless import PROGRAM

import tinygrad_norm.explore.answer as answers
from tinygrad_norm.explore import Server
from tinygrad_norm.explore.answer import answer, graph, list_of_norms
from tinygrad_norm.explore.webpage import page as page_text
from tinygrad_norm.registry import REGISTRY

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

NORMS = sorted(op.name for op in REGISTRY.values() if op.kind == "normalization")
READY = "document.body?.dataset.ready === 'yes'"
CELLS = """(place, name) => {
  const blocks = [...document.querySelectorAll(`${place} [data-tensor]`)];
  const block = blocks.find((one) => one.dataset.tensor === name);
  const cells = [...block.querySelectorAll('.cell')];
  return cells.map((cell) => [cell.dataset.value, cell.value || cell.textContent]);
}"""


@pytest.fixture(scope="module")
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def explorer(server, browser):
    """Open the explorer in a state."""

    def open_(state, **look):
        page = browser.open(f"{server.address}#{state}", **look)
        page.wait(READY)
        return page

    return open_


def cells(page, place, name):
    """The exact numbers behind the cells of an array, checked against the rounded ones that can be read."""
    found = page.evaluate(f"({CELLS})({json.dumps(place)}, {json.dumps(name)})")
    for exact, shown in found:
        assert exact == "" or float(shown) == pytest.approx(float(exact), rel=0.06, abs=1e-12)
    return [None if exact == "" else float(exact) for exact, _ in found]


def check_numbers(page, name):
    found = answer({"op": name})
    x = next(value for value in found["values"] if not value["expression"])
    assert cells(page, "#tensors", x["name"]) == x["array"]["values"]
    for dy in found["dys"][:1]:
        assert cells(page, "#tensors", dy["name"]) == dy["array"]["values"]
    gradient = found["gradients"][0]
    assert cells(page, "#paths", f"sum of the paths = {gradient['name']}") == gradient["total"]["values"]
    assert cells(page, "#paths", "finite differences") == gradient["finite_difference"]["values"]
    for path in gradient["paths"]:
        assert cells(page, "#paths", path["name"]) == path["gradient"]["values"]
    pooled = page.evaluate(
        "[...document.querySelectorAll('#cube .in, #cube .own')].map((b) => Number(b.dataset.entry))"
    )
    assert sorted(pooled) == found["pools"][0]
    assert "agree" in page.evaluate("document.getElementById('verdict').textContent")


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "weight_norm"])
def test_the_numbers_on_the_page_are_those_of_the_library(explorer, name):
    page = explorer(f"op={name}")
    check_numbers(page, name)
    assert page.errors == []


@pytest.mark.slow
def test_the_numbers_of_every_normalization_on_the_page(explorer):
    page = explorer("op=rms_norm")
    for name in NORMS:
        page.evaluate(f"document.body.dataset.ready = ''; location.hash = 'op={name}'; 0")
        page.wait(f"{READY} && document.getElementById('op').value === {json.dumps(name)}")
        if answer({"op": name})["gradients"]:
            check_numbers(page, name)
    assert page.errors == []


def test_steps_go_forward_and_backward_by_keyboard(explorer):
    page = explorer("op=rms_norm")
    steps = answer({"op": "rms_norm"})["steps"]
    assert cells(page, "#step", steps[0]["name"]) == steps[0]["array"]["values"]
    for _ in range(len(steps)):
        page.press("ArrowRight")
    last = steps[-1]
    assert "Backward" in page.evaluate("document.getElementById('step').textContent")
    assert cells(page, "#step", f"d{last['flows'][0]['name']}") == last["flows"][0]["outgoing"]["values"]
    assert f"step={len(steps)}" in page.evaluate("location.hash")
    page.press("ArrowLeft")
    assert "Forward" in page.evaluate("document.getElementById('step').textContent")


def test_everything_is_reached_by_tab(explorer):
    page = explorer("op=rms_norm&shape=1x1x3")
    wanted = {"op", "shape", "random", "save", "next", "position", "gradient", "mistake", "draw"}
    for _ in range(60):
        page.press("Tab")
        wanted -= {page.evaluate("document.activeElement.id")}
    assert wanted == set()


def test_one_click_breaks_a_path_and_marks_the_wrong_entries(explorer):
    page = explorer("op=batch_norm")
    found = answer({"op": "batch_norm"})
    index = next(k for k, m in enumerate(found["mistakes"]) if m["name"] == "the path through m is dropped")
    page.evaluate(f"document.querySelector('[data-break=\"{index}\"]').focus()")
    page.press("Enter")
    assert cells(page, "#paths", "broken") == found["mistakes"][index]["gradient"]["values"]
    marked = page.evaluate(
        "[...document.querySelectorAll('.cell.wrong')].map((c) => Number(c.dataset.index))"
    )
    assert marked == found["mistakes"][index]["wrong"]
    assert "48 of 48 entries of dx are wrong" in page.evaluate(
        "document.getElementById('verdict').textContent"
    )
    assert f"mistake={index}" in page.evaluate("location.hash")
    page.evaluate("document.getElementById('mend').click()")
    assert page.evaluate("document.querySelectorAll('.cell.wrong').length") == 0


def test_a_number_can_be_edited_and_the_link_keeps_it(explorer):
    page = explorer("op=group_norm")
    page.evaluate(
        "{ const cell = document.querySelector('#tensors input.cell'); document.body.dataset.ready = '';"
        " cell.focus(); cell.value = '7.5'; cell.dispatchEvent(new Event('change')); }"
    )
    page.wait(READY)
    x = cells(page, "#tensors", "x")
    assert x[0] == 7.5
    assert (
        cells(page, "#paths", "finite differences")
        == (
            answer({"op": "group_norm", "shape": [2, 4, 2, 3], "x": x})["gradients"][0]["finite_difference"][
                "values"
            ]
        )
    )
    again = explorer(page.evaluate("location.hash").removeprefix("#"))
    assert cells(again, "#tensors", "x") == x


def test_a_click_shows_the_pool_of_that_entry(explorer):
    page = explorer("op=instance_norm")
    pool = answer({"op": "instance_norm"})["pools"][9]
    page.evaluate("document.querySelector('#cube [data-entry=\"9\"]').dispatchEvent(new Event('click'))")
    marked = page.evaluate(
        "[...document.querySelectorAll('#tensors [data-tensor=x] .cell.pooled')].map((c) => +c.dataset.index)"
    )
    assert marked == pool
    assert "entry=9" in page.evaluate("location.hash")


def test_what_cannot_be_computed_is_said(server, browser):
    page = browser.open(f"{server.address}#op=batch_norm&shape=90x90")
    page.wait("document.body?.dataset.ready === 'problem'")
    assert "may have 64 numbers" in page.evaluate("document.getElementById('message').textContent")


def test_the_graph_can_be_zoomed(explorer, monkeypatch):
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="9" height="9"/></svg>'
    monkeypatch.setattr(answers, "_drawn", lambda op, given: svg)  # Graphviz may be missing
    page = explorer("op=rms_norm&shape=1x1x3")
    page.evaluate("document.getElementById('draw').click()")
    page.wait("document.querySelector('#graph img')?.clientWidth > 40")
    widths = []
    for button in ("fit", "in", "out", "out"):
        page.evaluate(f"document.getElementById('{button}').click()")
        widths.append(page.evaluate("document.querySelector('#graph img').clientWidth"))
    assert widths[3] < widths[0] < widths[1]
    assert abs(widths[2] - widths[0]) <= 1
    page.evaluate("document.getElementById('graph').focus()")
    page.press("+")
    assert page.evaluate("document.querySelector('#graph img').clientWidth") > widths[3]
    assert page.errors == []


def test_without_graphviz_the_page_says_what_to_install(explorer, monkeypatch):
    def missing(op, given):
        raise RuntimeError("Graphviz's program dot is not installed")

    monkeypatch.setattr(answers, "_drawn", missing)
    page = explorer("op=rms_norm&shape=1x1x3")
    page.evaluate("document.getElementById('draw').click()")
    page.wait("/dot is not installed/.test(document.getElementById('graph').textContent)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400], ids=["wide", "narrow"])
def test_it_fits_and_asks_nobody_else(server, explorer, width, dark):
    page = explorer("op=group_norm&mistake=0", width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper, ink = page.evaluate(
        "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    )
    light = [sum(map(int, color.strip("rgb()").split(","))) for color in (paper, ink)]
    assert (light[0] < light[1]) == dark
    assert abs(light[0] - light[1]) > 400
    assert page.evaluate("document.querySelectorAll('math').length") > 3
    assert all(url.startswith((f"http://127.0.0.1:{server.server_port}/", "data:")) for url in page.requests)
    assert page.errors == []


def test_the_button_saves_a_file(explorer):
    page = explorer("op=rms_norm&shape=1x1x3&step=2")
    page.evaluate(
        "{ window.kept = null; URL.createObjectURL = (blob) => { window.kept = blob; return '#'; };"
        " HTMLAnchorElement.prototype.click = function () { window.file = this.download; };"
        " document.getElementById('save').click(); }"
    )
    page.wait("window.file === 'rms_norm.html'")
    html = page.evaluate("window.kept.text()")
    saved = json.loads(html.partition('id="saved">')[2].partition("</script>")[0])
    assert saved["state"]["step"] == 2
    assert saved["answer"]["shape"] == [1, 1, 3]


def test_the_saved_file_works_without_a_server(browser, tmp_path):
    question = {"op": "layer_norm"}
    found = answer(question)
    path = tmp_path / "layer_norm.html"
    saved = {"norms": list_of_norms(), "answer": found, "graph": graph(question), "state": {"step": 3}}
    path.write_text(page_text(saved), encoding="utf-8")
    page = browser.open(path.as_uri())
    page.wait(READY)
    check_numbers(page, "layer_norm")
    assert page.evaluate("document.getElementById('op').disabled")
    assert page.evaluate("document.getElementById('position').value") == "3"
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert page.errors == []
