"""`tinygrad-norm experiment`: list, run and report."""

import re

import pytest
from typer.testing import CliRunner

from tinygrad_norm import experiments
from tinygrad_norm.cli import app

NAME = "bias-before-batchnorm"


def call(*arguments):
    return CliRunner().invoke(app, ["experiment", *map(str, arguments)])


@pytest.fixture
def small(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(experiments.EXPERIMENTS, NAME, experiments.find(NAME).with_sizes(steps=2))


def test_the_list_has_every_claim_with_its_source():
    result = call("list")
    assert result.exit_code == 0
    for one in experiments.EXPERIMENTS.values():
        assert one.name in result.output
        assert one.claim in result.output
        assert one.source in result.output


def test_a_run_prints_table_rule_and_verdict_and_a_report_repeats_them(small, tmp_path):
    result = call("run", NAME, "--out", tmp_path, "--jobs", 1)
    assert result.exit_code == 0, result.output
    for words in (" ours |", " paper |", "Rule: Holds if", "Verdict: holds: dL/db is at most", f"{NAME}.png"):
        assert words in result.output
    result = call("report", tmp_path)
    assert result.exit_code == 0, result.output
    assert "holds" in result.output
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"![A bias before BatchNorm learns nothing]({NAME}.png)" in page
    assert "| quantity | ours | paper |" in page


def test_a_page_elsewhere_finds_the_pictures(small, tmp_path):
    call("run", NAME, "--out", tmp_path / "results", "--jobs", 1)
    assert call("report", tmp_path / "results", "--page", tmp_path / "page.md").exit_code == 0
    assert f"(results/{NAME}.png)" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_report_says_what_is_missing_and_what_has_changed(small, tmp_path):
    call("run", NAME, "--out", tmp_path, "--jobs", 1)
    path = tmp_path / f"{NAME}.json"
    text = path.read_text(encoding="utf-8")
    changed = text.replace('"rule": "Holds', '"rule": "Never holds').replace(
        '"verdict": "holds"', '"verdict": "cannot be told"'
    )
    path.write_text(changed, encoding="utf-8")
    (tmp_path / "of-another-program.json").write_text(text, encoding="utf-8")
    output = call("report", tmp_path).output
    assert f"{NAME}: its rule was changed after the run" in output
    assert f"{NAME}: the verdict was 'cannot be told' when it was run" in output
    assert "left out: of-another-program is no experiment here" in output
    path.write_text(text.replace('"verdict": "holds"', '"verdict": null'), encoding="utf-8")
    assert f"not finished: {NAME}" in call("report", tmp_path).output


def test_in_a_terminal_the_tables_are_narrow(monkeypatch, small, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    call("run", NAME, "--out", tmp_path, "--jobs", 1)
    for command in (("list",), ("report", tmp_path)):
        output = re.sub(r"\x1b\[[0-9;]*m", "", call(*command).output)
        assert max(map(len, output.splitlines())) <= 80
    assert "verdict, reason" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "bias-befor"], "Did you mean bias-before-batchnorm"),
        (["run"], "pass --all"),
        (["run", NAME, "--all"], "pass --all"),
        (["report", "nowhere"], "there is no folder nowhere"),
        (["report", "."], "holds no results"),
    ],
    ids=["misspelled", "no name", "names and all", "no folder", "no results"],
)
def test_what_cannot_be_done_is_said(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.output
