"""How loops are chosen, compiled and kept, and what happens if that is impossible."""

import os
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
from loop_runs import needs_numba

import tinygrad_norm as tn
from tinygrad_norm.backends.cpu import loop_compiler
from tinygrad_norm.backends.cpu import loop_mode as modes
from tinygrad_norm.backends.cpu.loop_compiler import NotCompiled, load_numba
from tinygrad_norm.backends.cpu.loop_helpers import helper
from tinygrad_norm.backends.cpu.loops import Loop
from tinygrad_norm.normalization.sample.layernorm import layer_norm_forward


@helper
def doubled(a):
    return a + a


@helper
def quadrupled(a):
    return doubled(doubled(a))


def fill(x, y):
    for i in range(len(x)):
        y[i] = quadrupled(x[i])


def normalized(**environment):
    """Run LayerNorm in a new process, and return what it prints: whether Numba is loaded, and y."""
    code = (
        "import os, sys, numpy as np, tinygrad_norm as tn\n"
        "dtype = os.environ.get('DTYPE', 'float32')\n"
        "x = tn.tensor(np.arange(12, dtype=dtype).reshape(3, 4))\n"
        "assert 'numba' not in sys.modules\n"
        "y = tn.nn.functional.layer_norm(x, (4,)).numpy()\n"
        "print('numba' in sys.modules, y.dtype, *y[0].round(3))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "TINYGRAD_NORM_LOOPS"}
    command = [sys.executable, "-W", "default", "-c", code]
    return subprocess.Popen(
        command, env={**inherited, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(process):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out.strip(), errors


Y = "-1.342 -0.447 0.447 1.342"


def test_the_environment_chooses_the_mode():
    for text, mode in {"0": "off", "off": "off", "python": "python", "1": "compiled"}.items():
        assert modes._chosen({"TINYGRAD_NORM_LOOPS": text}) == mode
    assert modes._chosen({}) in ("compiled", "off")
    assert modes._chosen({"TINYGRAD_NORM_LOOPS": ""}) == modes._chosen({})
    with pytest.raises(ValueError, match="one of 0, 1, off, python, compiled, got 'yes'"):
        modes._chosen({"TINYGRAD_NORM_LOOPS": "yes"})


def test_a_mode_holds_within_its_block():
    before = modes.loop_mode.mode
    with tn.use_loops("python"):
        assert modes.loop_mode.mode == "python"
        with tn.use_loops("off"):
            assert not modes.loop_mode.on
        assert modes.loop_mode.mode == "python"
    assert modes.loop_mode.mode == before
    with pytest.raises(ValueError, match="unknown mode 'fast' of loops: choose one of off, python, compiled"):
        tn.use_loops("fast")


def test_a_loop_is_plain_python():
    x, y = np.arange(3.0), np.empty(3)
    with tn.use_loops("python"):
        Loop(fill)(x, y)
    np.testing.assert_array_equal(y, 4 * x)


@needs_numba
def test_helpers_are_compiled_into_a_loop():
    x, y = np.arange(3.0), np.empty(3)
    with tn.use_loops("compiled"):
        Loop(fill)(x, y)
    np.testing.assert_array_equal(y, 4 * x)


@needs_numba
def test_compiled_code_is_kept_until_a_helper_changes(monkeypatch, tmp_path):
    def indices():
        return {file.name: file.read_bytes() for file in tmp_path.rglob("*.nbi")}

    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    x, y = np.arange(3.0), np.empty(3)
    with tn.use_loops("compiled"):
        first, second, third = Loop(fill), Loop(fill), Loop(fill)
        first(x, y)
        assert list(tmp_path.rglob("*.nbc"))
        second(x, y)
        assert sum(second._compiled.stats.cache_hits.values()) == 1
        monkeypatch.setattr(loop_compiler, "_stamp", lambda function: "a helper has changed")
        third(x, y)
        assert sum(third._compiled.stats.cache_hits.values()) == 0


@needs_numba
def test_numba_is_imported_at_the_first_loop(tmp_path):
    assert said(normalized(NUMBA_CACHE_DIR=str(tmp_path))) == (f"True float32 {Y}", "")
    assert said(normalized(TINYGRAD_NORM_LOOPS="0")) == (f"False float32 {Y}", "")


@needs_numba
def test_processes_may_compile_at_once(tmp_path):
    dtypes = "float32", "float64"
    together = [normalized(NUMBA_CACHE_DIR=str(tmp_path), DTYPE=dtype) for dtype in dtypes * 2]
    again = [said(process) for process in together]
    again += [said(normalized(NUMBA_CACHE_DIR=str(tmp_path), DTYPE=dtype)) for dtype in dtypes]
    assert again == [(f"True {dtype} {Y}", "") for dtype in dtypes * 3]


@needs_numba
def test_without_a_folder_for_compiled_code_the_bodies_run(tmp_path):
    (tmp_path / "file").write_text("")
    nowhere = {
        "NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    out, errors = said(normalized(**nowhere))
    assert out == f"True float32 {Y}"
    assert errors.count("compiled loops cannot be kept on disk") == 1
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in errors
    assert "The NumPy bodies run instead" in errors


def test_a_numba_that_cannot_be_imported_is_named_and_the_bodies_run(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    out, errors = said(normalized(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"))
    assert out == f"False float32 {Y}"
    assert errors.count("Numba cannot be imported: Numba needs NumPy 2.4 or less") == 1
    assert "The NumPy bodies run instead" in errors


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "Numba is not installed; pip install --upgrade 'tinygrad_norm"),
        (types.SimpleNamespace(__version__="0.58.1"), "Numba 0.58.1 is too old, 0.61 is needed"),
    ],
)
def test_a_numba_that_cannot_be_used_is_named_and_the_bodies_run(module, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", module)
    load_numba.cache_clear()
    monkeypatch.setattr(
        layer_norm_forward.cpu_version, "loop", Loop(layer_norm_forward.cpu_version.loop.function)
    )
    x = np.arange(12.0).reshape(3, 4)
    with tn.use_loops("off"):
        expected = layer_norm_forward(x, None, None, 1e-5)[0]
        with pytest.raises(RuntimeError, match=words):
            tn.use_loops("compiled")
        modes.loop_mode.set("compiled")
        with pytest.warns(RuntimeWarning, match=words):
            np.testing.assert_array_equal(layer_norm_forward(x, None, None, 1e-5)[0], expected)
        assert not modes.loop_mode.on
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            layer_norm_forward(x, None, None, 1e-5)
    load_numba.cache_clear()


@needs_numba
def test_a_loop_that_numba_cannot_compile_is_named_and_the_others_run():
    def wrong(x, y):
        y[0] = x.no_such_attribute

    loop = Loop(wrong)
    with tn.use_loops("compiled"):
        named = pytest.warns(RuntimeWarning, match="Numba could not compile wrong")
        with named as caught, pytest.raises(NotCompiled):
            loop(np.ones(2), np.ones(2))
        assert caught[0].filename == __file__
        with pytest.raises(NotCompiled):  # without a second warning
            loop(np.ones(2), np.ones(2))
        y = np.empty(3)
        Loop(fill)(np.arange(3.0), y)
        np.testing.assert_array_equal(y, 4 * np.arange(3.0))


@needs_numba
def test_what_a_compiled_loop_raises_is_its_own_error():
    def raising(x, y):
        if x[0] > 0:
            raise ValueError("x is positive")

    loop = Loop(raising)
    with tn.use_loops("compiled"):
        loop(np.zeros(2), np.zeros(2))
        with pytest.raises(ValueError, match="x is positive"):
            loop(np.ones(2), np.zeros(2))
