"""`tinygrad-norm gradcheck`: its table, its JSON, its exit status and its answers to wrong calls."""

import json
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.backends.cuda import availability
from tinygrad_norm.cli import app
from tinygrad_norm.registry import REGISTRY, Case, Op, fixed

LONG = max(REGISTRY, key=len), "layer_norm"


class WrongSquare(Function):
    """y = x² · dx = 3·dy·x, which is wrong"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 3 * dy * self.saved[0]


def failing(x):
    raise KeyError("lost")


@pytest.fixture
def planted(monkeypatch):
    """Three ops that are wrong: in the gradient, in one of two forms, and altogether."""
    cases = (Case(((2, 3),)), Case(((),)))
    for op in (
        Op("wrong_gradient", WrongSquare.apply, None, cases),
        Op("wrong_form", lambda x: x * x, lambda x: 2 * x, cases),
        Op("raises", failing, None, cases),
    ):
        monkeypatch.setitem(REGISTRY, op.name, op)


def run(*arguments):
    return CliRunner().invoke(app, ["gradcheck", *arguments])


def row(result, name):
    return next(line.split() for line in result.output.splitlines() if line.split()[:1] == [name])


def test_a_table_with_one_row_per_op():
    result = run("add", "layer_norm")
    assert result.exit_code == 0, result.output
    name, kind, cases, error, time, verdict = row(result, "layer_norm")
    assert (name, kind, verdict) == ("layer_norm", "normalization", "ok")
    assert int(cases) == len(REGISTRY["layer_norm"].cases)
    assert 0 < float(error) < 1e-7
    assert float(time) >= 0
    assert row(result, "add")[-1] == "ok"
    assert "2 ops" in result.output
    assert "\x1b" not in result.output  # no colours, no cursor movements if the output is not a terminal


def test_all_is_within_80_columns():
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["gradcheck", *LONG])
    assert result.exit_code == 0, result.output
    assert [row(result, name)[-1] for name in LONG] == ["ok"] * len(LONG)
    assert max(map(len, result.output.splitlines())) <= 80


def test_without_a_name_all_ops_are_checked():
    order, few = list(REGISTRY), {name: REGISTRY[name] for name in ("neg", "matmul", "rms_norm")}
    with patch.dict(REGISTRY, few, clear=True):
        result = run()
    assert list(REGISTRY) == order  # monkeypatch.delitem would put them back at the end
    assert result.exit_code == 0, result.output
    assert "3 ops" in result.output


def test_an_op_without_gradient_has_no_error_to_show(monkeypatch):
    op = Op("positive", lambda x: x > 0, None, (Case((fixed([1.0, -1.0]),)),))
    monkeypatch.setitem(REGISTRY, op.name, op)
    result = run("positive")
    assert result.exit_code == 0, result.output
    assert row(result, "positive")[3] == "–"


@pytest.mark.usefixtures("planted")
def test_a_failure_is_printed_and_sets_the_exit_status():
    result = run("wrong_gradient", "neg")
    assert result.exit_code == 1
    assert row(result, "wrong_gradient")[-1] == "FAILED"
    assert row(result, "neg")[-1] == "ok"
    assert "wrong_gradient, case 2×3, closed form: wrong gradient of output 0[" in result.output
    assert "the analytic gradient is 1.5 × the numeric one" in result.output
    assert "1 of 2 ops failed: wrong_gradient" in result.output


class WithoutWeight(Function):
    """y = w·x̂ + b · dx = r·(dy - mean(dy) - x̂·mean(dy·x̂)), which forgets w; dw = Σ dy, which forgets x̂"""

    def forward(self, x, weight, bias):
        c = x - x.mean(-1, keepdims=True)
        r = ((c * c).mean(-1, keepdims=True) + 1e-5) ** -0.5
        self.saved = c * r, r
        return weight * c * r + bias

    def backward(self, dy):
        x_hat, r = self.saved
        dx = r * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))
        return dx, dy.sum(0), dy.sum(0)


def test_the_mistake_is_told_once_per_op_with_names_of_arguments(monkeypatch):
    def own_norm(x, weight, bias):
        return WithoutWeight.apply(x, weight, bias)

    cases = (Case(((4, 5), (5,), (5,))), Case(((3, 5), (5,), (5,))))
    monkeypatch.setitem(REGISTRY, "own_norm", Op("own_norm", own_norm, None, cases))
    output = run("own_norm").output
    assert "with respect to weight[" in output
    assert "wrong in all: output 0 / x, output 0 / weight" in output
    assert "with respect to input" not in output
    assert output.count("dx: the weight is forgotten") == 1
    assert output.count("dweight: the weight's gradient lacks x̂") == 1


def test_the_first_failing_case_is_printed_in_full_the_others_in_one_line(monkeypatch):
    cases = (Case(((2, 3),)), Case(((),)), Case(((4,),)))
    monkeypatch.setitem(REGISTRY, "wrong", Op("wrong", WrongSquare.apply, None, cases))
    told = [line for line in run("wrong").output.splitlines() if line.startswith(("wrong, case", "  "))]
    told = told[next(k for k, line in enumerate(told) if line.startswith("wrong, case")) :]
    assert [line.split()[0] for line in told[:6]] == [
        "wrong,",
        *["analytic", "numeric", "relative", "wrong", "hint:"],
    ]
    for line, case in zip(told[6:], ["()", "4"], strict=True):
        assert line.startswith(f"wrong, case {case}, closed form: wrong gradient of output 0")
        assert "analytic" in line
        assert "relative error 0.333" in line


@pytest.mark.usefixtures("planted")
def test_forms_that_differ_are_a_failure():
    result = run("wrong_form")
    assert result.exit_code == 1
    assert (
        "wrong_form, case 2×3: output 0 of the closed form differs from the composed form's" in result.output
    )
    assert "gradient of x of the closed form differs" in result.output


@pytest.mark.usefixtures("planted")
def test_an_op_that_raises_is_a_failure_and_the_others_still_run():
    result = run("raises", "neg")
    assert result.exit_code == 1
    assert "raises, case 2×3, closed form: KeyError: 'lost'" in result.output
    assert row(result, "neg")[-1] == "ok"


@pytest.mark.usefixtures("planted")
def test_json_of_values_that_are_not_gradients(tmp_path):
    path = tmp_path / "results.json"
    run("wrong_form", "raises", "--json", str(path))
    differing, raising = json.loads(path.read_text())["ops"]
    assert differing["failures"][0]["message"].startswith("output 0 of the closed form differs")
    assert differing["failures"][0]["relative_error"] > 1e-9
    assert raising["failures"][0] == {
        "case": "2×3",
        "form": "closed form",
        "message": "KeyError: 'lost'",
        "relative_error": None,
    }


class WrongWeight(Function):
    """y = weight·x̂, x̂ = x·r, r = 1/√(mean(x²) + ε) · dx = r·(g − x̂·mean(g·x̂)), g = weight·dy"""

    def forward(self, x, weight):
        r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        self.saved = x * r, r, weight
        return weight * x * r

    def backward(self, dy):
        x_hat, r, weight = self.saved
        g = weight * dy
        return r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True)), dy.sum(0)  # without x̂


def test_the_verdict_of_the_doctor_is_printed_once_with_names(monkeypatch):
    cases = Case(((3, 5), (5,))), Case(((4, 5), (5,)))
    monkeypatch.setitem(REGISTRY, "wrong", Op("wrong", wrong_weight, None, cases))
    result = run("wrong")
    assert result.exit_code == 1
    assert result.output.count("with respect to weight[") == 2
    assert "input 1" not in result.output
    assert result.output.count("dweight: ") == 1
    assert "dweight: the weight's gradient lacks x̂" in result.output


def wrong_weight(x, weight):
    return WrongWeight.apply(x, weight)


class Leaking(Function):
    """y = x² · dx = 2·dy·x"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 2 * dy * self.saved[0] + dy.sum(0)


def test_what_the_doctor_finds_without_a_line_of_the_derivation_is_printed_too(monkeypatch):
    monkeypatch.setitem(REGISTRY, "leaky", Op("leaky", Leaking.apply, None, (Case(((3, 4),)),)))
    assert (
        run("leaky").output.count(": gradients leak across samples: y[0, 0] does not depend on x[1, 0]") == 1
    )


def test_functions_of_files_and_ops_are_all_checked_and_written(tmp_path, monkeypatch):
    """Each in this process, which need not start first."""
    call = lambda function, *arguments, **limits: function(*arguments)  # noqa: E731
    monkeypatch.setattr("tinygrad_norm.cli.doctor.in_own_process", call)
    own, path = tmp_path / "own.py", tmp_path / "out.json"
    own.write_text(
        "def good_forward(x): return x * x, x\ndef good_backward(dy, x): return 2 * x * dy\n"
        "bad = good_forward, lambda dy, x: 1 / 0\nwrong = good_forward, lambda dy, x: x * dy\n"
    )
    targets = [f"{own}:{name}" for name in ("bad", "good", "wrong")]
    result = run(*targets, "exp", "--json", str(path))
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.output
    assert "good_forward: the backward is right" in result.output
    assert row(result, "exp")[-1] == "ok"
    results = json.loads(path.read_text())
    assert [op["name"] for op in results["ops"]] == ["exp"]
    found = results["functions"]
    assert [function["name"] for function in found] == targets
    assert [(f["checked"], f["passed"]) for f in found] == [(False, False), (True, True), (True, False)]
    assert found[2]["verdict"].startswith("good_forward: the backward is wrong")
    assert results["passed"] is False
    assert run(targets[1], "--json", str(path)).exit_code == 0
    assert json.loads(path.read_text())["passed"] is True


def nan_of_negatives(x):
    return tn.where(x > 0, x, float("nan"))


def test_nan_is_never_ok_even_if_both_forms_have_it(monkeypatch, tmp_path):
    cases = (Case((fixed([1.0, -1.0], differentiable=True),)),)
    monkeypatch.setitem(REGISTRY, "nans", Op("nans", nan_of_negatives, nan_of_negatives, cases))
    path = tmp_path / "results.json"
    result = run("nans", "--json", str(path))
    assert result.exit_code == 1
    assert row(result, "nans")[-1] == "FAILED"
    assert "output 0 of the closed form is NaN in 1 of 2 places" in result.output
    assert json.loads(path.read_text())["ops"][0]["passed"] is False


def test_nan_of_constants_is_never_ok(monkeypatch):
    """Nothing is differentiated here, and both forms agree."""
    constant = fixed([1.0, -1.0])
    monkeypatch.setitem(
        REGISTRY, "nans", Op("nans", nan_of_negatives, nan_of_negatives, (Case((constant,)),))
    )
    assert row(run("nans"), "nans")[-1] == "FAILED"


def test_infinite_errors_are_infinite_in_json(monkeypatch, tmp_path):
    cases = (Case((fixed([1.0, -1.0]),)),)
    monkeypatch.setitem(REGISTRY, "nans", Op("nans", nan_of_negatives, lambda x: x * 1.0, cases))
    path = tmp_path / "results.json"
    run("nans", "--json", str(path))
    (op,) = json.loads(path.read_text())["ops"]
    assert op["composed_error"] == "inf"


@pytest.mark.usefixtures("planted")
def test_json(tmp_path):
    path = tmp_path / "new" / "results.json"
    assert run("wrong_gradient", "rms_norm", "--json", str(path)).exit_code == 1
    results = json.loads(path.read_text())
    assert results["passed"] is False
    assert results["allowed"] == {"composed_error": 1e-9, "numeric_error": 1e-7}
    wrong, right = results["ops"]
    assert wrong["name"] == "wrong_gradient"
    assert wrong["passed"] is False
    assert wrong["composed_error"] is None
    assert wrong["numeric_error"] == pytest.approx(1 / 3)
    assert len(wrong["failures"]) == wrong["cases"] == 2
    failure = wrong["failures"][0]
    (i, j) = failure["index"]
    assert failure["output_index"] == [i, j]
    assert failure["message"].startswith(f"wrong gradient of output 0[{i}, {j}] with respect to inputs[0]")
    assert (failure["case"], failure["form"]) == ("2×3", "closed form")
    assert (failure["input"], failure["output"]) == ("inputs[0]", 0)
    assert failure["analytic"] == pytest.approx(1.5 * failure["numerical"])
    assert failure["relative_error"] == pytest.approx(1 / 3)
    assert 0 < failure["step"] <= 1e-2
    assert right["passed"] is True
    assert right["failures"] == []
    assert right["composed_error"] <= 1e-9
    assert right["numeric_error"] <= 1e-7
    assert right["seconds"] > 0
    assert [path.name for path in path.parent.iterdir()] == ["results.json"]


def test_an_unknown_name_prints_similar_ones():
    result = run("add", "layer_nrm")
    assert result.exit_code == 2
    assert "layer_nrm" in result.output
    assert "layer_norm" in result.output
    assert "rms_norm" in run("rms").output


def test_an_unknown_backend_raises():
    result = run("add", "--backend", "abacus")
    assert result.exit_code == 2
    assert "abacus" in result.output
    assert "numpy" in result.output


def test_cupy_without_cupy_says_what_to_install(monkeypatch):
    def missing():
        raise RuntimeError("pip install it")

    monkeypatch.setattr(availability, "load_cupy", missing)
    monkeypatch.delitem(tn.backends._LOADED, "cupy", raising=False)
    result = run("add", "--backend", "cupy")
    assert result.exit_code == 2
    assert "pip install it" in result.output


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("neg", "--json", str(tmp_path / "file" / "results.json"))
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_second_derivatives_are_checked_on_demand(planted):
    result = run("--second", "tanh", "layer_norm")
    assert result.exit_code == 0
    assert "Worst relative errors of second derivatives:" in result.output
    result = run("--second", "wrong_form")
    assert result.exit_code == 1
    assert "wrong_form" in result.output


def test_second_derivatives_of_own_files_are_checked_in_python(tmp_path):
    result = run("--second", str(tmp_path / "mine.py:f"))
    assert result.exit_code == 2
    assert "tn.gradgradcheck" in result.output
