"""The sources of the site, without a build: every page can be reached, nothing comes from elsewhere."""

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS / "extensions"))

import needed_programs  # noqa: E402
from docstrings import as_rst, prose  # noqa: E402
from public_names import constant_docstring, sections  # noqa: E402

GENERATED = ("_build", "api", "copied", "systems")


def test_every_page_is_in_a_table_of_contents():
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in DOCS.rglob("*.md")
        if path.relative_to(DOCS).parts[0] not in GENERATED
    }
    listed = set()
    for page, text in pages.items():
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
            for line in tree.splitlines():
                entry = re.sub(r".*<(.*)>", r"\1", line.strip())
                listed.add((Path(page).parent / entry).as_posix())
    assert pages.keys() - listed == {"index"}


def test_scripts_and_styles_are_the_sites_own():
    for path in (DOCS / "conf.py", *DOCS.glob("_static/*"), *DOCS.glob("extensions/**/*.[cj]s*")):
        assert not re.search(r"https?://(?!www\.w3\.org)", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("program", ["node", "npm", "g++"])
def test_without_a_program_the_build_ends_with_one_line(monkeypatch, tmp_path, program):
    for other in {"node", "npm", "g++"} - {program}:
        (tmp_path / other).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=rf"^the site needs {re.escape(program)}, .* install \S.*$"):
        needed_programs.setup(None)
    (tmp_path / program).touch(mode=0o755)
    assert needed_programs.setup(None)["parallel_read_safe"]


def test_names_come_with_the_comment_above_them():
    found = {one.heading: [name.name for name in one.names] for one in sections("tinygrad_norm.nn")}
    assert found["Pools"][:3] == ["MaxPool1d", "MaxPool2d", "MaxPool3d"]
    assert "LayerNorm" in found["Normalizations whose statistics belong to one sample"]
    (only,) = sections("tinygrad_norm.nn.utils.parametrizations")
    assert {"weight_norm", "sigma_reparam"} <= {name.name for name in only.names}


def test_constants_bring_the_text_under_them():
    names = {name.name: name for section in sections("tinygrad_norm.data") for name in section.names}
    assert constant_docstring(names["PARTS"]).startswith("The names of the parts")


def test_formulas_keep_their_lines_and_prose_is_escaped():
    text = "Sum of x_i* over |i|.\n\n    y = Σ x_i\n    z = y²\n\nSee `tn.sum`, arXiv:1607.06450."
    lines = as_rst(text, {"tn.sum": "tinygrad_norm.sum"}.get)
    assert lines[0] == r"Sum of x\_i\* over \|i\|."
    assert lines[2:6] == [".. code-block:: text", "", "    y = Σ x_i", "    z = y²"]
    assert ":py:obj:`tn.sum <tinygrad_norm.sum>`" in lines[7]
    assert "<https://arxiv.org/abs/1607.06450>" in lines[7]


def test_arguments_become_fields_and_other_headings_stay():
    text = "Add.\n\nArgs:\n    x: one,\n        in two lines.\n    *more: any `n`.\n\nBackward:\n    dx = dy"
    lines = [line for line in as_rst(text) if line]
    assert lines[1:3] == [":param x: one, in two lines.", r":param \*more: any \ :code:`n`\ ."]
    assert lines[3:] == [".. rubric:: Backward", ".. code-block:: text", "    dx = dy"]


@pytest.mark.parametrize(
    ("block", "language"),
    [("tn.save(x, 'a')", "python"), ("y = (x - m)·r", "text"), ("a = b", "text"), (">>> f()", "pycon")],
    ids=["call", "formula", "ascii formula", "session"],
)
def test_indented_blocks_are_highlighted_if_they_are_code(block, language):
    assert f".. code-block:: {language}" in as_rst(f"One.\n\n    {block}")


def test_files_of_the_package_are_links_to_their_source():
    assert prose("Derived in tinygrad_norm/nn/linear.py.").count(":source:`tinygrad_norm/nn/linear.py`") == 1
