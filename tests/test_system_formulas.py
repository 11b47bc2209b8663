"""Formulas of the docstrings as LaTeX: exact for examples, and nothing lost or moved in any of them."""

import inspect
import json
import operator
import re
import shutil
import subprocess
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pytest
from system_pages.formula import Segment, parts, segments
from system_pages.page import derivation_of, systems
from system_pages.symbols import NotAFormula

import tinygrad_norm as tn
from tinygrad_norm.learn.systems import OTHERS

# The letters of LaTeX's names, to compare with those of the docstrings.
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "upsilon": "υ", "varphi": "φ", "psi": "ψ",
    "Gamma": "Γ", "Lambda": "Λ", "Sigma": "Σ", "Psi": "Ψ",
}  # fmt: skip
KNOWN_AS_CODE = {  # parts that are not formulas, and are shown as they are
    "window(c) = channels c - size//2 … c + (size - 1)//2, as far as they exist",
    'norm="l2"',
    'norm="layer"',
    'norm="rms"',
    'norm="rms-all"',
    'norm="rms-weightless"',
    'as "rms", over the E = H·D features of all heads together, each with weight (E,)',
    'as "rms", without a weight',
    "v_norm=True",
}


def lines():
    """All lines of formulas, contributions of paths among them."""
    found = {}
    for op in systems().values():
        derivation = derivation_of(op)
        contributions = [cell for row in derivation.paths for cell in row[1:]]
        found |= dict.fromkeys([*derivation.formula, *derivation.gradients, *contributions])
    for names in OTHERS.values():
        for name in names.split():
            docstring = inspect.getdoc(operator.attrgetter(name)(tn)) or ""
            for block in re.findall(
                r"^(?:Formula|Backward):\n((?:    .*\n)+)", docstring + "\n", re.MULTILINE
            ):
                found |= dict.fromkeys(block.splitlines())
    return [part.replace("...", "…") for line in found for part in re.split(r"\s{2,}", line.strip()) if part]


def formula(text):
    """The LaTeX of a text that is one formula, with single spaces."""
    (found,) = segments(text)
    assert found.kind == "formula"
    return re.sub(r" +", " ", found.text).strip()


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("m = mean(x)", r"m = \operatorname{mean}(x)"),
        ("v = mean((x - m)²)", r"v = \operatorname{mean}((x - m)^{2})"),
        ("r = 1/√(v + eps)", r"r = \frac{1}{\sqrt{v + \mathrm{eps}}}"),
        ("x̂ = (x - m)·r", r"\hat{x} = (x - m) \cdot r"),
        ("m = Σ n_i·m_i/n", r"m = \sum \frac{n_{i} \cdot m_{i}}{n}"),
        ("s = √(Σ(x - m)²/(D - 1))", r"s = \sqrt{\frac{\sum (x - m)^{2}}{D - 1}}"),
        ("n = ‖x‖ = √Σx²", r"n = \lVert x \rVert = \sqrt{\sum x^{2}}"),
        ("db = Σrows dy", r"\mathrm{d}b = \sum_{\mathrm{rows}} \mathrm{d}y"),
        ("Σ_N = Σ/t", r"\Sigma_{N} = \frac{\Sigma}{t}"),
        ("P_k = 1.5·P_(k-1)³·Σ_N", r"P_{k} = 1.5 \cdot P_{k-1}^{3} \cdot \Sigma_{N}"),
        ("W = Σ^(-½)", r"W = \Sigma^{- 1/2}"),
        ("n = (Σ |x|ᵖ)^(1/p)", r"n = \left( \sum \lvert x \rvert^{p} \right)^{1/p}"),
        (
            "dW = (dy - Σ(dy∘Ŵ)·u·vᵀ)/σ",
            r"\mathrm{d}W = \frac{\mathrm{d}y - \left( \sum \mathrm{d}y \circ \hat{W} \right)"
            r" \cdot u \cdot v^{\mathsf{T}}}{\sigma }",
        ),
        ("∂r/∂v = -r³/2", r"\frac{\partial r}{\partial v} = - \frac{r^{3}}{2}"),
        ("du = g·x·∂s/∂u", r"\mathrm{d}u = g \cdot x \cdot \frac{\partial s}{\partial u}"),
        ("m_t = (1 - s)·m_{t-1} + s·x_t", r"m_{t} = (1 - s) \cdot m_{t-1} + s \cdot x_{t}"),
        ("κ = 1/√(2·ln n)", r"\kappa = \frac{1}{\sqrt{2 \cdot \ln n}}"),
        ("y = x @ weightᵀ + bias", r"y = x \, \mathrm{weight}^{\mathsf{T}} + \mathrm{bias}"),
        (
            "y_nfp = bias_f + Σck weight_fck·x̄_ncq",
            r"y_{nfp} = \mathrm{bias}_{f} + \sum_{ck} \mathrm{weight}_{fck} \cdot \bar{x}_{ncq}",
        ),
        ("G = ghost_batch_size", r"G = \mathrm{ghost\_batch\_size}"),
    ],
    ids=str,
)
def test_formulas_become_latex(text, latex):
    assert formula(text) == latex


def test_prose_and_shapes_stay_beside_formulas():
    assert segments("r = 1/√v over the S positions of one channel") == [
        Segment("formula", r"r = \frac{1}{\sqrt{v}}"),
        Segment("prose", "over the"),
        Segment("formula", "S"),
        Segment("prose", "positions of one channel"),
    ]
    assert segments("x (N, C, *S)") == [Segment("formula", "x"), Segment("code", "(N, C, *S)")]
    assert [len(part) for part in parts("x (..., D)   m = mean(x)")] == [2, 1]


def test_a_slash_in_prose_is_no_fraction():
    assert Segment("formula", "C/G") in segments("over the C/G channels of a group")
    assert formula("y = w(q - p) / (C·Z)") == r"y = w(q - p) / (C \cdot Z)"


@pytest.mark.parametrize(
    "text",
    ["a//b = c", "y = f(x", "y = x)", 'norm="l2" = s', "y = x % 2", "flag=True", "y = √"],
    ids=["floor", "open", "closed", "quotes", "percent", "flag", "root"],
)
def test_what_is_not_understood_is_refused(text):
    with pytest.raises(NotAFormula):
        segments(text)


def letters(text):
    """The letters and digits of a formula in their order, whatever it is written in."""
    for name, letter in GREEK.items():
        text = re.sub(rf"\\{name}(?![a-z])", letter, text)
    text = text.replace("½", "12").replace(r"\alpha ", "α").replace(r"\sum", "Σ").replace(r"\infty", "")
    text = re.sub(
        r"\\(?:left|right|frac|tfrac|sqrt|hat|bar|overline|mathrm|mathsf|operatorname|text|cdot|circ|otimes"
        r"|times|lVert|rVert|lvert|rvert|langle|rangle|partial|prime|le|ge|ne|in|leftarrow|to|ldots"
        r"|mathrel|displaystyle)(?![a-z])",
        " ",
        text,
    )
    text = unicodedata.normalize("NFKD", text.replace("alpha", "α").replace("beta", "β"))
    return [c for c in text if (c.isalnum() and c.isascii()) or c in GREEK.values()]


def test_no_formula_of_any_system_loses_or_moves_a_letter():
    seen = 0
    for line in lines():
        if line in KNOWN_AS_CODE:
            with pytest.raises(NotAFormula):
                segments(line)
            continue
        found = " ".join(segment.text for segment in segments(line))
        assert letters(found) == letters(line), line
        seen += 1
    assert seen > 300


def test_katex_renders_all_formulas(tmp_path):
    found = find_spec("sphinxcontrib.katex") if find_spec("sphinxcontrib") else None
    if found is None or not found.origin or shutil.which("node") is None:
        pytest.skip("needs Node.js and sphinxcontrib-katex")
    script = Path(found.origin).with_name("katex.min.js")
    known = [line for line in lines() if line not in KNOWN_AS_CODE]
    formulas = {s.text for line in known for s in segments(line) if s.kind == "formula"}
    file = tmp_path / "formulas.json"
    file.write_text(json.dumps(sorted(formulas)), encoding="utf-8")
    program = (
        f"const katex = require({json.dumps(str(script))});"
        f"for (const text of JSON.parse(require('fs').readFileSync({json.dumps(str(file))})))"
        "katex.renderToString(text, {throwOnError: true, strict: 'error'});"
        "console.log('all');"
    )
    run = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "all", run.stderr
