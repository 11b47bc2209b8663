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
LEFT_IN_FORMULAS = """[...document.querySelectorAll('#formulas mo')]
  .filter((one) => one.parentNode.localName !== 'mover' && /[_^{}]/.test(one.textContent))
  .map((one) => one.closest('math').getAttribute('aria-label'))"""
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


def check_inputs_and_results(page, found):
    for value in (*found["inputs"][:1], *found["results"], *found["dys"]):
        assert cells(page, "#tensors", value["name"]) == value["array"]["values"]
    for value in found["inputs"][1:]:
        assert cells(page, "#inputs", value["name"]) == value["array"]["values"]
    pooled = page.evaluate(
        "[...document.querySelectorAll('#cube .in, #cube .own')].map((b) => Number(b.dataset.entry))"
    )
    assert sorted(pooled) == found["pools"][0]


def check_gradients(page, found):
    for gradient in found["gradients"]:
        page.evaluate(
            "{ const list = document.getElementById('gradient'); "
            f"list.value = {json.dumps(gradient['name'])}; list.dispatchEvent(new Event('change')); }}"
        )
        total = f"sum of the paths = {gradient['name']}"
        assert cells(page, "#paths", total) == gradient["total"]["values"]
        assert cells(page, "#paths", "finite differences") == gradient["finite_difference"]["values"]
        for path in gradient["paths"]:
            assert cells(page, "#paths", path["name"]) == path["gradient"]["values"]
        verdict = page.evaluate("document.getElementById('verdict').textContent")
        assert ("kink" if gradient["at_kink"] else "agree") in verdict


def check_step(page, step, backward):
    if not backward:
        assert cells(page, "#step", step["name"]) == step["array"]["values"]
        return
    assert cells(page, "#step", f"d{step['name']}") == step["incoming"]["values"]
    marks = page.evaluate("[...document.querySelectorAll('#step .rows span')].map((m) => m.textContent)")
    marks = [mark for mark in marks if mark[0] in "✓✗–" and len(mark) > 1]
    expected = {True: "✓ finite differences agree", None: "– at a kink"}
    assert marks == [expected[flow["correct"]] for flow in step["flows"]]
    shown = {name: cells(page, "#step", name) for name in {f"d{flow['name']}" for flow in step["flows"]}}
    for flow in step["flows"]:
        if sum(other["name"] == flow["name"] for other in step["flows"]) == 1:
            assert shown[f"d{flow['name']}"] == flow["outgoing"]["values"]


def check_steps(page, found):
    """Every step, forward and then backward, as the arrow key goes through them."""
    page.evaluate("document.activeElement.blur()")
    moves = [(step, False) for step in found["steps"]] + [(step, True) for step in found["steps"][::-1]]
    for step, backward in moves:
        check_step(page, step, backward)
        page.press("ArrowRight")


def check_numbers(page, name):
    found = answer({"op": name})
    check_inputs_and_results(page, found)
    check_gradients(page, found)
    return found


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "weight_norm", "positional_norm"])
def test_the_numbers_on_the_page_are_those_of_the_library(explorer, name):
    page = explorer(f"op={name}")
    check_steps(page, check_numbers(page, name))
    assert page.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NORMS)
def test_the_numbers_of_every_normalization_on_the_page(explorer, name):
    page = explorer(f"op={name}")
    found = check_numbers(page, name)
    check_steps(page, found)
    assert page.evaluate(LEFT_IN_FORMULAS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.errors == []
    page.send("Page.close")


IN_FORMULAS = "[...document.querySelectorAll('#formulas {}')].map((one) => one.textContent)"


def test_sums_shapes_and_derivatives_in_formulas_are_set_as_such(explorer):
    page = explorer("op=layer_norm&shape=2x4")
    assert page.evaluate(IN_FORMULAS.format("msub")) == ["∑rows", "∑rows"]
    assert page.evaluate(IN_FORMULAS.format(".shape")) == ["(..., D)"]
    upright = page.evaluate(IN_FORMULAS.format("mi"))
    assert {"d", "L", "x", "y"} <= set(upright)
    assert not {name for name in upright if len(name) == 2 and name[0] == "d"}


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        pytest.param("weight_norm", ["(K, ...)", "(K, 1, ...)"], id="weight"),
        pytest.param("crms_norm", ["(..., D - 1)", "(..., D - 1)"], id="difference"),
        pytest.param("scale_norm", ["(..., D)", "(1,)"], id="number"),
    ],
)
def test_only_a_shape_is_set_as_a_shape(explorer, op, shapes):
    page = explorer(f"op={op}")
    assert page.evaluate(IN_FORMULAS.format(".shape")) == shapes
    assert page.evaluate(LEFT_IN_FORMULAS) == []


def test_a_sum_below_a_root_is_below_the_root(explorer):
    assert "∑x2" in explorer("op=scale_norm").evaluate(IN_FORMULAS.format("msqrt"))


def test_steps_go_forward_and_backward_by_keyboard(explorer):
    page = explorer("op=rms_norm")
    steps = answer({"op": "rms_norm"})["steps"]
    assert cells(page, "#step", steps[0]["name"]) == steps[0]["array"]["values"]
    for _ in range(len(steps)):
        page.press("ArrowRight")
    last = steps[-1]
    assert "Backward" in page.evaluate("document.getElementById('step').textContent")
    assert cells(page, "#step", f"d{last['flows'][0]['name']}") == last["flows"][0]["outgoing"]["values"]
    page.wait(f"location.hash.includes('step={len(steps)}')")
    page.press("ArrowLeft")
    assert "Forward" in page.evaluate("document.getElementById('step').textContent")


def test_everything_is_reached_by_tab(explorer):
    page = explorer("op=layer_norm")
    wanted = {
        "op",
        "shape",
        "random",
        "save",
        "next",
        "position",
        "gradient",
        "mistake",
        "draw",
        "others-title",
    }
    page.evaluate("document.getElementById('others').open = true")
    for _ in range(40):
        page.press("Tab")
        wanted -= {page.evaluate("document.activeElement.id")}
    assert wanted == set()


def test_one_click_breaks_a_path_and_marks_the_wrong_entries(explorer):
    page = explorer("op=batch_norm")
    name = "the path through m is dropped"
    mistake = next(m for m in answer({"op": "batch_norm"})["mistakes"] if m["name"] == name)
    page.evaluate(f"document.querySelector('[data-break=\"{name}\"]').focus()")
    page.press("Enter")
    assert cells(page, "#paths", "broken") == mistake["gradient"]["values"]
    marked = page.evaluate(
        "[...document.querySelectorAll('.cell.wrong')].map((c) => Number(c.dataset.index))"
    )
    assert marked == mistake["wrong"]
    assert "48 of 48 entries of dx are wrong" in page.evaluate(
        "document.getElementById('verdict').textContent"
    )
    page.wait("location.hash.includes('mistake=the+path+through+m+is+dropped')")
    link = page.evaluate("location.hash")
    page.press("Enter")
    assert page.evaluate("document.querySelectorAll('.cell.wrong').length") == 0
    again = explorer(link.removeprefix("#"))
    assert again.evaluate("document.querySelectorAll('.cell.wrong').length") == 48
    again.evaluate("document.getElementById('mend').click()")
    assert again.evaluate("document.querySelectorAll('.cell.wrong').length") == 0


def test_each_path_has_a_button_that_drops_it(explorer):
    for name in ("batch_norm", "positional_norm", "add_rms_norm"):
        page = explorer(f"op={name}")
        found = answer({"op": name})
        buttons = page.evaluate("[...document.querySelectorAll('[data-break]')].map((b) => b.dataset.break)")
        assert len(buttons) == len(found["gradients"][0]["paths"])


def type_in(page, place, text):
    """Give a cell or a field the focus, and type another value, as a person would."""
    page.evaluate(f"document.body.dataset.ready = ''; document.querySelector({json.dumps(place)}).focus()")
    page.evaluate("document.activeElement.select()")
    page.send("Input.insertText", text=text)
    page.press("Enter")
    page.wait(READY)


def first_gradient(page):
    return cells(page, "#paths", "finite differences")


def test_a_number_can_be_edited_and_the_link_keeps_it(explorer):
    page = explorer("op=group_norm")
    type_in(page, "#tensors [data-tensor=x] .cell", "7.5")
    x = cells(page, "#tensors", "x")
    assert x[0] == 7.5
    expected = answer({"op": "group_norm", "shape": [2, 4, 2, 3], "x": x})["gradients"][0]
    assert first_gradient(page) == expected["finite_difference"]["values"]
    again = explorer(page.evaluate("location.hash").removeprefix("#"))
    assert cells(again, "#tensors", "x") == x


def test_weights_dy_and_options_can_be_edited_and_the_link_keeps_them(explorer):
    page = explorer("op=batch_norm")
    page.evaluate("document.getElementById('others').open = true")
    type_in(page, "#inputs [data-tensor=w] .cell", "3")
    type_in(page, "#tensors [data-tensor=dy] .cell", "-2,5")
    type_in(page, "[data-option=eps]", "0.5")
    w, dy = cells(page, "#inputs", "w"), cells(page, "#tensors", "dy")
    assert (w[0], dy[0]) == (3, -2.5)
    question = {"op": "batch_norm", "inputs": {"weight": w}, "dy": dy, "options": {"eps": "0.5"}}
    expected = answer(question)["gradients"][0]["finite_difference"]["values"]
    assert first_gradient(page) == expected
    again = explorer(page.evaluate("location.hash").removeprefix("#"))
    assert first_gradient(again) == expected
    assert page.errors == []


def test_each_array_can_be_made_random(explorer):
    page = explorer("op=batch_norm")
    for place, name in (("#tensors", "x"), ("#tensors", "dy"), ("#inputs", "w"), ("#inputs", "b")):
        before = {one: cells(page, "#tensors", one) for one in ("x", "dy")}
        before |= {one: cells(page, "#inputs", one) for one in ("w", "b")}
        page.evaluate(
            f"document.body.dataset.ready = ''; document.querySelector('[data-random={name}]').click()"
        )
        page.wait(READY)
        after = cells(page, place, name)
        assert all(abs(value) < 10 for value in after)
        assert sum(a == b for a, b in zip(after, before[name], strict=True)) <= len(after) // 2
        for other in set(before) - {name}:
            assert cells(page, "#inputs" if other in "wb" else "#tensors", other) == before[other]


def test_new_random_numbers_replace_what_was_edited(explorer):
    page = explorer("op=rms_norm&dy=1,2,3&shape=1x1x3&x=1,2,3")
    page.evaluate("document.body.dataset.ready = ''; document.getElementById('random').click()")
    page.wait(READY)
    found = answer({"op": "rms_norm", "shape": [1, 1, 3], "seed": 1})
    assert cells(page, "#tensors", "x") == found["inputs"][0]["array"]["values"]
    assert cells(page, "#tensors", "dy") == found["dys"][0]["array"]["values"]


def test_what_is_not_a_number_is_said_and_changes_nothing(explorer):
    page = explorer("op=rms_norm&shape=1x1x3")
    x = cells(page, "#tensors", "x")
    page.evaluate("document.querySelector('#tensors [data-tensor=x] .cell').focus()")
    page.send("Input.insertText", text="one")
    page.press("Enter")
    page.wait("/one is not a number/.test(document.getElementById('message').textContent)")
    assert [float(v) for v in page.evaluate(f"({CELLS})('#tensors', 'x').map((c) => c[0])")] == x


def test_the_arrow_keys_go_from_cell_to_cell(explorer):
    page = explorer("op=batch_norm")
    page.evaluate("document.querySelector('#tensors [data-tensor=x] .cell').focus()")
    places = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.press(key)
        places.append(page.evaluate("document.activeElement.dataset.index"))
    assert places == ["1", "4", "3", "0"]
    page.press("Tab")
    assert page.evaluate("document.activeElement.closest('[data-tensor]').dataset.tensor") == "y"
    assert page.evaluate("document.getElementById('count').textContent").startswith("1 of")


def test_a_click_shows_the_pool_of_that_entry(explorer):
    page = explorer("op=instance_norm")
    pool = answer({"op": "instance_norm"})["pools"][9]
    page.evaluate("document.querySelector('#cube [data-entry=\"9\"]').dispatchEvent(new Event('click'))")
    marked = page.evaluate(
        "[...document.querySelectorAll('#tensors [data-tensor=x] .cell.pooled')].map((c) => +c.dataset.index)"
    )
    assert marked == pool
    page.wait("location.hash.includes('entry=9')")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param("op=batch_norm&shape=90x90", "may have 64 numbers", id="large"),
        pytest.param("op=batchnorm", "did you mean 'batch_norm'", id="name"),
        pytest.param("op=batch_norm&x=1,2", "x must have 48 numbers", id="size"),
        pytest.param("op=batch_norm&option.eps=abc", "eps", id="option"),
        pytest.param("op=batch_norm&input.w=1", "unknown input", id="input"),
    ],
)
def test_what_cannot_be_computed_is_said_and_one_can_start_anew(server, browser, state, words):
    page = browser.open(f"{server.address}#{state}")
    page.wait("document.body?.dataset.ready === 'problem'")
    assert words in page.evaluate("document.getElementById('message').textContent")
    assert page.evaluate("document.getElementById('explorer').hidden")
    page.evaluate("document.getElementById('anew').click()")
    page.wait(READY)
    assert page.evaluate("document.getElementById('op').value") == "batch_norm"


@pytest.mark.parametrize(
    ("state", "where"),
    [
        pytest.param("op=rms_norm&x=1,two,3", "x", id="x"),
        pytest.param("op=rms_norm&seed=-1&step=1.5", "seed, step", id="whole"),
        pytest.param("op=rms_norm&shape=2xx", "shape", id="shape"),
        pytest.param("op=rms_norm&input.weight=,&colour=red", "input.weight, colour", id="unknown"),
    ],
)
def test_a_damaged_link_is_said_and_the_rest_is_used(explorer, state, where):
    page = explorer(state)
    message = page.evaluate("document.getElementById('message').textContent")
    assert f"damaged at {where}: that was left out" in message
    assert page.evaluate("document.getElementById('op').value") == "rms_norm"


SCROLLED = "[document.getElementById('graph').scrollLeft, document.getElementById('graph').scrollTop]"


def mouse(page, kind, right, down, **more):
    """Move, press or turn the mouse at a place within the graph."""
    page.evaluate("document.getElementById('graph').scrollIntoView()")
    box = page.evaluate(
        "(({left, top}) => [left, top])(document.getElementById('graph').getBoundingClientRect())"
    )
    button = {} if kind == "mouseWheel" else {"button": "left", "clickCount": 1}
    page.send("Input.dispatchMouseEvent", type=kind, x=box[0] + right, y=box[1] + down, **button, **more)


@pytest.mark.slow
def test_the_graph_of_graphviz_is_shown(explorer):
    if graph({"op": "rms_norm"})["problem"]:
        pytest.skip("needs Graphviz")
    page = explorer("op=batch_norm")
    page.evaluate("document.getElementById('draw').click()")
    page.wait("document.querySelector('#graph img')?.naturalWidth > 400")
    assert page.errors == []


def test_the_graph_can_be_zoomed_and_dragged(explorer, monkeypatch):
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="80"><rect width="9" height="9"/></svg>'
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
    mouse(page, "mouseWheel", 200, 100, deltaX=0, deltaY=-100)
    page.wait(f"document.querySelector('#graph img').clientWidth >= {widths[1] - 2}")
    for _ in range(3):
        page.press("+")
    before = page.evaluate(SCROLLED)
    mouse(page, "mousePressed", 200, 100)
    mouse(page, "mouseMoved", 150, 80)
    mouse(page, "mouseReleased", 150, 80)
    page.wait(f"{SCROLLED}[0] === {before[0] + 50}")
    assert page.evaluate(SCROLLED) == [before[0] + 50, before[1] + 20]
    assert page.errors == []


def test_without_graphviz_the_page_says_what_to_install(explorer, monkeypatch):
    def missing(op, given):
        raise RuntimeError("Graphviz's program dot is not installed, only DOT. Install it with `apt`")

    monkeypatch.setattr(answers, "_drawn", missing)
    page = explorer("op=rms_norm&shape=1x1x3")
    page.evaluate("document.getElementById('draw').click()")
    page.wait("/here. Install it with apt\\./.test(document.getElementById('graph').textContent)")
    assert page.evaluate("document.querySelector('#graph code').textContent") == "apt"
    assert page.errors == []


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


def test_the_button_saves_a_file(explorer, browser, tmp_path):
    page = explorer("op=batch_norm&shape=1x2x1x2&step=2&input.weight=3,4&dy=1,0,0,0&option.eps=0.5")
    page.evaluate(
        "{ window.kept = null; URL.createObjectURL = (blob) => { window.kept = blob; return '#'; };"
        " HTMLAnchorElement.prototype.click = function () { window.file = this.download; };"
        " document.getElementById('save').click(); }"
    )
    page.wait("window.file === 'batch_norm.html'")
    html = page.evaluate("window.kept.text()")
    saved = json.loads(html.partition('id="saved">')[2].partition("</script>")[0])
    assert saved["state"]["step"] == 2
    assert saved["answer"]["shape"] == [1, 2, 1, 2]
    path = tmp_path / "batch_norm.html"
    path.write_text(html, encoding="utf-8")
    again = browser.open(path.as_uri())
    again.wait(READY)
    assert cells(again, "#inputs", "w") == [3, 4]
    assert cells(again, "#tensors", "dy") == [1, 0, 0, 0]
    assert again.evaluate("document.querySelector('[data-option=eps]').value") == "0.5"
    assert first_gradient(again) == first_gradient(page)
    assert again.evaluate("document.querySelectorAll('#explorer input.cell, [data-random]').length") == 0
    assert again.errors == []


def test_the_saved_file_works_without_a_server(browser, tmp_path):
    question = {"op": "layer_norm"}
    found = answer(question)
    path = tmp_path / "layer_norm.html"
    saved = {"norms": list_of_norms(), "answer": found, "graph": graph(question), "state": {"step": 3}}
    path.write_text(page_text(saved), encoding="utf-8")
    page = browser.open(path.as_uri())
    page.wait(READY)
    check_numbers(page, "layer_norm")
    header = page.evaluate("document.querySelector('header').textContent")
    assert "A saved page" in header
    assert "`" not in header
    assert "change a number" not in header
    assert page.evaluate("document.querySelector('#about code').textContent") == "tinygrad-norm explore"
    assert page.evaluate("document.getElementById('op').disabled")
    assert page.evaluate("document.getElementById('position').value") == "3"
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    assert page.errors == []
