"""draw: files, notebooks, and drawing without Graphviz."""

import re
import shutil
import subprocess
import sys

import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")

# -- files and notebooks


@needs_dot
@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".dot", b"digraph"), (".SVG", b"<?xml")],
)
def test_the_suffix_chooses_the_format(example, tmp_path, suffix, start):
    path = tn.draw(example[-1]).save(tmp_path / "deep" / f"y{suffix}")
    assert path == tmp_path / "deep" / f"y{suffix}"
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@needs_dot
def test_graphviz_reads_the_text(example, tmp_path):
    path = tn.draw(example[-1], {"x": example[0]}).save(tmp_path / "y.dot")
    done = subprocess.run(["dot", "-Tplain", path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(re.findall("^node", done.stdout, re.MULTILINE)) == 8


@pytest.mark.parametrize("name", ["y.jpg", "y", "y.svg.gz"])
def test_another_suffix_raises(example, tmp_path, name):
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf, \.dot"):
        tn.draw(example[-1]).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_dot_the_text_is_saved(example, tmp_path, without_dot):
    drawing = tn.draw(example[-1])
    with pytest.warns(
        UserWarning,
        match=r"tinygrad_norm\[graph\].*apt install graphviz.*brew install graphviz.*conda.*y\.dot",
    ):
        path = drawing.save(tmp_path / "y.svg")
    assert path == tmp_path / "y.dot"
    assert path.read_text() == drawing.dot
    assert drawing.save(tmp_path / "z.dot").read_text() == drawing.dot


def test_without_dot_the_library_in_pygraphviz_draws(example, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delitem(sys.modules, "pygraphviz", raising=False)
    (tmp_path / "pygraphviz.py").write_text(
        "import os\n"
        "class AGraph:\n"
        "    def __init__(self, string):\n"
        "        self.string = string\n"
        "    def draw(self, format, prog):\n"
        "        os.write(2, b'a font is unknown')\n"
        "        if format == 'pdf':\n"
        "            raise ValueError('no such format')\n"
        "        return f'{prog} {format} {self.string}'.encode()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    drawing = tn.draw(example[-1])
    path = drawing.save(tmp_path / "y.svg")
    assert path.read_text() == f"dot svg {drawing.dot}"
    with pytest.warns(UserWarning, match="pygraphviz failed: ValueError: no such format; a font is unknown"):
        assert drawing.save(tmp_path / "y.pdf") == tmp_path / "y.dot"
    assert capfd.readouterr().err == ""
    del sys.modules["pygraphviz"]  # monkeypatch would put it back


def test_where_dot_fails_the_text_is_saved(example, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no such font' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.warns(UserWarning, match="dot failed: no such font"):
        assert tn.draw(example[-1]).save(tmp_path / "y.png") == tmp_path / "y.dot"


@needs_dot
def test_a_notebook_shows_the_picture(example):
    drawing = tn.draw(example[-1])
    assert "<svg" in drawing._repr_svg_()
    bundle = drawing._repr_mimebundle_()
    assert bundle["image/svg+xml"] == drawing._repr_svg_()
    assert "5 tensors" in bundle["text/plain"]
    assert "3 functions" in bundle["text/plain"]


def test_a_notebook_shows_the_text_without_dot(example, without_dot):
    drawing = tn.draw(example[-1])
    assert drawing._repr_svg_() is None
    bundle = drawing._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "apt install graphviz" in bundle["text/plain"]
    assert drawing.dot in bundle["text/plain"]


def test_a_function_without_a_formula_leaves_no_empty_font():
    """Graphviz would call that a syntax error."""

    class Square(Function):
        def forward(self, x):
            self.saved = (x,)
            return x * x

        def backward(self, dy):
            (x,) = self.saved
            return 2 * dy * x

    dot = tn.draw(Square.apply(tn.ones(2, requires_grad=True))).dot
    assert "<B>Square</B>" in dot
    assert not re.search(r"<FONT[^>]*></FONT>", dot)
