"""`tinygrad-norm train --explore`: the address is printed, and the training is the same."""

import http.client
import json
import re

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app, browser, train
from tinygrad_norm.explore import Server
from tinygrad_norm.files import locked


@pytest.fixture
def waiting(monkeypatch):
    """The server ends when the training has ended; the states of the curves at that time."""
    states = []
    monkeypatch.setattr(Server, "wait_until_closed", lambda self: states.append(asked(self)))
    monkeypatch.setattr(browser.webbrowser, "get", lambda: None)
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: False)
    return states


def asked(server):
    """What the page gets."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {"X-Token": server.token, "Content-Type": "application/json"}
    connection.request("POST", "/training", "{}", headers)
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found


def invoke(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_the_address_is_printed_and_the_metrics_stay(tmp_path, waiting):
    with_page = invoke("digits", "--epochs", 1, "-o", tmp_path / "with", "--explore")
    without = invoke("digits", "--epochs", 1, "-o", tmp_path / "without")
    assert (with_page.exit_code, without.exit_code) == (0, 0)
    assert re.search(r"^curves at http://127\.0\.0\.1:\d+/\?token=", with_page.output, re.M)
    assert "No browser could be started" in with_page.output
    assert "The page was closed" in with_page.output
    assert "http" not in without.output
    files = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("with", "without")]
    assert files[0] == files[1]
    (state,) = waiting
    assert (state["state"], state["folder"]) == ("finished", str(tmp_path / "with"))
    assert state["runs"][0]["done"] == 1


def test_norms_and_seeds_are_one_picture_and_a_grid_continues(tmp_path, waiting):
    arguments = ("digits", "--epochs", 1, "--norm", "batch", "--norm", "rms", "-o", tmp_path, "--explore")
    assert invoke(*arguments).exit_code == 0
    assert invoke("--resume", tmp_path, "--explore").exit_code == 0
    for state in waiting:
        assert [(run["name"], run["state"]) for run in state["runs"]] == [
            ("batch-0", "finished"),
            ("rms-0", "finished"),
        ]
        assert all(len(run["validation"]) == 1 for run in state["runs"])
        assert list(state["labels"]) == ["loss", "accuracy"]


def test_after_a_loss_that_is_not_finite_the_curves_stay(tmp_path, waiting):
    settings = ("--norm", "none", "--optimizer", "sgd", "--lr", "1e30", "--explore")
    result = invoke("sine", *settings, "-o", tmp_path)
    assert result.exit_code == 2
    (state,) = waiting
    assert state["state"] == "stopped"
    assert state["runs"][0]["state"] == "diverged"


def test_a_second_training_in_the_folder_ends_at_once(tmp_path, waiting):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        result = invoke("digits", "--epochs", 1, "-o", tmp_path / "run", "--explore")
    assert result.exit_code == 2
    assert "is in use" in result.output
    assert waiting == []


def test_an_error_of_the_training_ends_it_at_once(tmp_path, waiting, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "train_with_progress", fail)
    result = invoke("digits", "-o", tmp_path, "--explore")
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    assert waiting == []


def test_two_trainings_at_once_have_an_address_each(tmp_path, waiting, monkeypatch):
    outputs = []

    def other(self):
        if not outputs:
            outputs.append("")
            outputs.append(invoke("digits", "--epochs", 1, "-o", tmp_path / "b", "--explore").output)

    monkeypatch.setattr(Server, "wait_until_closed", other)
    outputs.append(invoke("digits", "--epochs", 1, "-o", tmp_path / "a", "--explore").output)
    addresses = {re.search(r"curves at (\S+)", output)[1] for output in outputs[1:]}
    assert len(addresses) == 2


def test_ctrl_c_ends_the_server_too(tmp_path, waiting, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_with_progress", stop)
    assert invoke("digits", "-o", tmp_path, "--explore").exit_code == 130
    assert waiting == []


def test_ctrl_c_while_it_waits_ends_it(tmp_path, waiting, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "wait_until_closed", stop)
    result = invoke("digits", "--epochs", 1, "-o", tmp_path, "--explore")
    assert result.exit_code == 0
    assert result.output.endswith("The explorer has ended.\n")


def test_damaged_metrics_of_a_grid_are_said_in_a_line(tmp_path, waiting):
    arguments = ("digits", "--epochs", 1, "--norm", "batch", "--norm", "rms", "-o", tmp_path)
    assert invoke(*arguments).exit_code == 0
    (tmp_path / "rms-0/metrics.csv").write_text("nonsense\n1", encoding="utf-8")
    result = invoke("--resume", tmp_path, "--explore")
    assert result.exit_code == 2
    assert "metrics.csv" in result.output


def test_a_browser_in_the_terminal_is_not_started(monkeypatch):
    started = []
    monkeypatch.setattr(browser.webbrowser, "get", lambda: browser.webbrowser.GenericBrowser("lynx"))
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: started.append(address) or True)
    assert not browser.opened("http://127.0.0.1/")
    monkeypatch.setattr(browser.webbrowser, "get", lambda: browser.webbrowser.BackgroundBrowser("firefox"))
    assert browser.opened("http://127.0.0.1/")
    assert started == ["http://127.0.0.1/"]

    def none():
        raise browser.webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(browser.webbrowser, "get", none)
    assert not browser.opened("http://127.0.0.1/")
