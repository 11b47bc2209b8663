"""`tinygrad-norm explore`."""

import socket
import webbrowser

import pytest
from typer.testing import CliRunner

from tinygrad_norm.cli import app
from tinygrad_norm.explore import Server


@pytest.fixture
def ended(monkeypatch):
    """The server ends at once, as by Ctrl-C; the addresses that were opened."""
    opened = []

    def end(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", end)
    monkeypatch.setattr(webbrowser, "get", lambda: None)
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    return opened


def test_it_prints_its_address_and_opens_it(ended):
    result = CliRunner().invoke(app, ["explore", "group_norm"])
    assert result.exit_code == 0
    assert "http://127.0.0.1:" in result.output
    assert "has ended" in result.output
    assert len(ended) == 1
    assert ended[0].endswith("#op=group_norm")


def test_no_browser_opens_none(ended):
    result = CliRunner().invoke(app, ["explore", "--no-browser"])
    assert result.exit_code == 0
    assert ended == []


def test_without_a_browser_it_says_so(ended, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert "No browser could be started" in CliRunner().invoke(app, ["explore"]).output


def test_a_taken_port_is_said_in_a_line(ended):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["explore", "--port", str(port)])
    assert result.exit_code == 2
    assert f"port {port} is taken" in result.output


def test_an_op_that_is_no_normalization_is_named(ended):
    result = CliRunner().invoke(app, ["explore", "softmax"])
    assert result.exit_code == 2
    assert "is not a normalization" in result.output
