"""Pages of systems: every system has one, with its parts; links lead somewhere; files are written once."""

import re
import sys
from pathlib import Path

import pytest
from system_pages import index, writing
from system_pages.advice import advice
from system_pages.derivation import Derivation
from system_pages.evidence import speed_table
from system_pages.page import FAMILIES, derivation_of, page, pages_of_files, systems, title

from tinygrad_norm.experiments.experiment import EXPERIMENTS
from tinygrad_norm.learn.systems import OTHERS
from tinygrad_norm.registry import REGISTRY

DOCS = Path(__file__).parents[1] / "docs"
NORMALIZATIONS = [op for op in REGISTRY.values() if op.kind == "normalization"]


@pytest.fixture(scope="module")
def files():
    """All pages, without pictures, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("page", "index"):
            patch.setattr(sys.modules[f"system_pages.{module}"], "pool_svg", lambda op: "<svg></svg>")
        patch.setattr(sys.modules["system_pages.pictures"], "graph_svg", lambda op: None)
        patch.setattr(writing, "graph_svg", lambda op: None)
        return writing.files(DOCS)


def test_every_normalization_and_block_has_a_page(files):
    names = {op.name for op in REGISTRY.values() if op.kind in ("normalization", "block")}
    made = {name.removesuffix(".md") for name in files}
    assert made == names | {index.family_page(family) for family in FAMILIES} | {"index", "others"}


@pytest.mark.parametrize("op", NORMALIZATIONS, ids=lambda op: op.name)
def test_a_normalization_has_all_parts(files, op):
    text = files[f"{op.name}.md"]
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    expected = [
        "Formula",
        "What shares a statistic",
        "When to use it",
        "What catches people out",
        "Gradient",
        "Derivation",
        "Code",
        "Graph",
    ]
    assert [heading for heading in headings if heading in expected] == expected
    assert "{math}`" in text.partition("## Formula")[2].partition("## ")[0]
    assert "**Insight:**" in text
    assert "def " in text.partition("## Code")[2]


def test_no_page_has_a_part_that_is_missing(files):
    for name, text in files.items():
        assert text.startswith("# "), name
        assert not re.search(r": None$|TODO|to be written|object at 0x", _prose(text), re.MULTILINE), name
        assert "\n\n\n\n" not in text, name


def _prose(text):
    """A page without code."""
    return re.sub(r"^```.*?^```$|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def test_links_lead_somewhere(files):
    for name, text in files.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert target in files or (DOCS / "systems" / target).resolve().exists(), f"{name}: {target}"


def test_the_index_shows_all_systems_by_family(files):
    for op in systems().values():
        assert f"{op.name}.html" in files["index.md"] or f"{op.name}.md" in files["index.md"]
        assert re.search(rf"^{op.name}$", files[f"{index.family_page(op.family)}.md"], re.MULTILINE)
    for system in OTHERS:
        assert f"## {system.partition(' (')[0]}" in files["others.md"]


def test_titles_are_unique():
    titles = [title(op) for op in systems().values()]
    assert len(titles) == len(set(titles))


def test_paths_have_three_columns():
    paths = derivation_of(REGISTRY["layer_norm"]).paths
    assert [path[0] for path in paths] == ["straight", "through m", "through r"]
    assert paths[0] == ("straight", "∂x_j/∂x_i = 1 if i = j", "r·g_i")
    assert derivation_of(REGISTRY["dynamic_tanh"]).paths[0][:2] == ("to x", "")


def test_a_derivation_shows_as_it_stands():
    found = Derivation.of(
        "Name: what it does.\n\n    y = 2·x_i*3\n\nWith x_i and y*2, as in a.py.\n\nInsight: none."
    )
    assert found.summary == "Name: what it does."
    assert found.insight == "none."
    assert found.markdown({"a.py": "a.md"}).split("\n\n") == [
        "```text\ny = 2·x_i*3\n```",
        r"With x\_i and y\*2, as in [a.py](a.md).",
        "**Insight:** none.",
    ]


def test_files_that_derive_lead_to_their_page():
    assert pages_of_files()["batchnorm.py"] == "batch_norm.md"


def test_speed_is_that_of_the_page_of_performance():
    table = speed_table(REGISTRY["batch_norm"], DOCS)
    assert "| 64×64×32×32 – – 64 64 training=True |" in table
    assert len(table.splitlines()) == 6
    assert not speed_table(REGISTRY["pcen"], DOCS)


def test_experiments_name_registered_systems():
    for experiment in EXPERIMENTS.values():
        assert set(experiment.systems) <= set(systems()), experiment.name


def test_a_claim_has_its_verdict_and_a_link(files):
    claims = files["spectral_norm.md"].partition("## What papers claim of it")[2]
    assert "does not hold at this scale" in claims.lower()
    assert "../experiments/README.md#spectral-normalization-one-step" in claims


def test_every_normalization_has_advice():
    assert {op.name for op in NORMALIZATIONS} <= set(advice())
    assert set(advice()) <= set(systems())
    for name, words in advice().items():
        for text in words:
            assert re.fullmatch(r"\S[^\n]{10,600}[.]", text), name
    traps = [words.traps for words in advice().values()]
    assert len(set(traps)) == len(traps)


def test_pictures_are_drawn():
    text = page(REGISTRY["rms_norm"], DOCS)
    assert 'class="pool-picture"' in text
    assert "The orange block" in text
    assert "{image} graph-rms_norm.svg" in text or "was built without Graphviz" in text


def test_only_what_has_changed_is_written(tmp_path, monkeypatch):
    made = {"a.md": "a", "b.md": "b"}
    monkeypatch.setattr(writing, "files", lambda docs: made)
    writing.write_all(tmp_path)
    before = (tmp_path / "systems/a.md").stat().st_mtime_ns
    made["b.md"] = "new"
    (tmp_path / "systems/old.md").write_text("left", encoding="utf-8")
    writing.write_all(tmp_path)
    assert (tmp_path / "systems/a.md").stat().st_mtime_ns == before
    assert (tmp_path / "systems/b.md").read_text(encoding="utf-8") == "new"
    assert not (tmp_path / "systems/old.md").exists()


def test_the_experiments_that_pages_link_are_on_their_page(files):
    page = (DOCS / "experiments/README.md").read_text(encoding="utf-8")
    texts = [*files.values(), (DOCS / "which.md").read_text(encoding="utf-8")]
    linked = {name for text in texts for name in re.findall(r"experiments/README\.md#([^)]+)\)", text)}
    assert len(linked) > 10
    assert all(f"(#{name})" in page for name in linked)
