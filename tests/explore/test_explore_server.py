"""The server of the explorer: who is answered, and what a wrong request gets."""

import http.client
import json
import re
import socket
import threading

import pytest

from tinygrad_norm.explore import Server, TrainingCurves
from tinygrad_norm.explore import server as served_by
from tinygrad_norm.explore.server import LONGEST
from tinygrad_norm.explore.webpage import MODULES, page, policy, script
from tinygrad_norm.training import Config


@pytest.fixture(scope="module")
def server():
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def send(server, method, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, named)
        reply = connection.getresponse()
        return reply, reply.read().decode()
    finally:
        connection.close()


def ask(server, path, question, **headers):
    usual = {"X_Token": server.token, "Content_Type": "application/json"}
    return send(server, "POST", path, json.dumps(question), **(usual | headers))


def test_the_page_needs_the_token(server):
    reply, text = send(server, "GET", server.address.partition(str(server.server_port))[2])
    assert reply.status == 200
    assert text == page()
    assert reply.headers["Content-Security-Policy"] == policy()
    assert "frame-ancestors 'none'" in policy()
    for path in ("/", "/?token=", "/?token=wrong", "/?token=%C3%A9"):
        reply, text = send(server, "GET", path)
        assert reply.status == 403
        assert "tinygrad-norm explore" in text


def test_a_question_is_answered(server):
    reply, text = ask(server, "/norms", {})
    assert reply.status == 200
    assert "batch_norm" in {norm["name"] for norm in json.loads(text)}
    reply, text = ask(server, "/answer", {"op": "rms_norm", "shape": [1, 1, 4]})
    assert reply.status == 200
    assert json.loads(text)["correct"]


def test_questions_at_the_same_time_do_not_mix(server):
    found = {}

    def run(name):
        found[name] = json.loads(ask(server, "/answer", {"op": name})[1])["op"]

    names = ["layer_norm", "rms_norm", "pixel_norm", "normalize"]
    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: name for name in names}


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        pytest.param("/answer", {"X_Token": None}, 403, "token", id="no_token"),
        pytest.param("/answer", {"X_Token": "wrong"}, 403, "token", id="wrong_token"),
        pytest.param("/answer", {"Host": "evil.example"}, 403, "answers only as", id="other_host"),
        pytest.param("/answer", {"Origin": "http://evil.example"}, 403, "another site", id="other_site"),
        pytest.param("/answer", {"Content_Type": "text/plain"}, 415, "application/json", id="plain_text"),
        pytest.param("/answer", {"Content_Length": str(LONGEST + 1)}, 413, "bytes", id="large"),
        pytest.param("/answer", {"Content_Length": "9" * 5000}, 413, "bytes", id="huge"),
        pytest.param("/answer", {"Content_Length": "-1"}, 411, "Content-Length", id="negative"),
        pytest.param("/../pyproject.toml", {}, 404, "questions are", id="file"),
        pytest.param("/unknown", {}, 404, "questions are", id="unknown"),
    ],
)
def test_a_wrong_request_is_turned_away(server, path, headers, status, words):
    reply, text = ask(server, path, {"op": "rms_norm"}, **headers)
    assert reply.status == status
    assert words in json.loads(text)["problem"]


@pytest.mark.parametrize("path", ["/etc/passwd", "/../../etc/passwd", "/style.css", "//x"])
def test_no_file_is_served(server, path):
    reply, text = send(server, "GET", f"{path}?token={server.token}")
    assert reply.status == 404
    assert "only one page" in text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_other_methods_are_not_supported(server, method):
    assert send(server, method, f"/?token={server.token}")[0].status == 501


@pytest.mark.parametrize("body", ["{", "[]", "3", "[" * 60000], ids=["half", "list", "number", "deep"])
def test_what_is_not_an_object_is_turned_away(server, body):
    reply, text = send(server, "POST", "/norms", body, X_Token=server.token, Content_Type="application/json")
    assert reply.status == 400
    assert "question" in json.loads(text)["problem"]


def test_a_question_without_an_answer_says_why(server):
    reply, text = ask(server, "/answer", {"op": "batchnorm"})
    assert reply.status == 422
    assert "batch_norm" in json.loads(text)["problem"]


def test_the_saved_file_has_all_answers_inside(server):
    reply, text = ask(server, "/file", {"op": "rms_norm"})
    html = json.loads(text)["html"]
    assert reply.status == 200
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', html, re.DOTALL)[1])
    assert saved["answer"]["op"] == "rms_norm"
    assert set(saved) == {"norms", "answer", "graph", "training"}
    assert server.token not in html


@pytest.fixture
def beside_training():
    curves = TrainingCurves("mlp on digits", "runs/digits")
    curves.expect("batch-0", Config())
    with Server(curves=curves) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def test_while_a_model_is_trained_nothing_else_is_computed(beside_training):
    for path in ("/answer", "/graph"):
        reply, text = ask(beside_training, path, {"op": "rms_norm"})
        assert reply.status == 409
        assert "when the training has ended" in json.loads(text)["problem"]
    reply, text = ask(beside_training, "/training", {})
    assert [run["name"] for run in json.loads(text)["runs"]] == ["batch-0"]
    reply, text = ask(beside_training, "/file", {"op": "rms_norm"})
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', json.loads(text)["html"], re.DOTALL)[1])
    assert saved["answer"] is None
    assert saved["training"]["runs"][0]["norm"] == "batch"
    beside_training.curves.end()
    assert ask(beside_training, "/answer", {"op": "rms_norm"})[0].status == 200


def test_without_a_training_there_are_no_curves(server):
    assert json.loads(ask(server, "/training", {})[1]) is None


@pytest.mark.parametrize("since", ["1", True, 1.5], ids=["text", "bool", "fraction"])
def test_a_version_that_is_none_is_turned_away(beside_training, since):
    reply, text = ask(beside_training, "/training", {"since": since})
    assert reply.status == 422
    assert "since must be" in json.loads(text)["problem"]


def test_the_curves_need_the_token(beside_training):
    for path in ("/training", "/closed"):
        assert ask(beside_training, path, {}, X_Token="wrong")[0].status == 403


def test_it_waits_until_the_last_page_is_closed(beside_training, monkeypatch):
    monkeypatch.setattr(served_by, "GRACE", 0.3)
    waiting = threading.Thread(target=beside_training.wait_until_closed, daemon=True)
    waiting.start()
    for page_id in ("a", "b"):
        ask(beside_training, "/training", {"page": page_id})
    ask(beside_training, "/closed", {"page": "a"})
    waiting.join(0.8)
    assert waiting.is_alive()
    ask(beside_training, "/closed", {"page": "b"})
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_page_that_is_lost_with_its_browser_counts_as_closed(beside_training, monkeypatch):
    monkeypatch.setattr(served_by, "GRACE", 0.1)
    monkeypatch.setattr(served_by, "LOST", 1.0)
    waiting = threading.Thread(target=beside_training.wait_until_closed, daemon=True)
    waiting.start()
    for _ in range(5):  # one that goes on asking is open, for longer than LOST
        ask(beside_training, "/training", {"page": "a"})
        waiting.join(0.3)
    assert waiting.is_alive()
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_taken_port_says_what_to_do(server):
    with pytest.raises(OSError, match=f"port {server.server_port} is taken .* choose another"):
        Server(server.server_port)


@pytest.mark.parametrize("port", [-1, 65536, "80", True, 1.5])
def test_a_port_that_is_none_raises(port):
    with pytest.raises(ValueError, match="0 … 65535"):
        Server(port)


def test_the_page_asks_nobody_else():
    assert not re.findall(r"https?://(?!www\.w3\.org/(?:1998/Math/MathML|2000/svg))[^\s\"']+", page())
    assert not re.search(r"(?:src|href)=\"(?!data:)", page())


def test_the_modules_have_one_name_each_and_no_import_is_left():
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script(), re.MULTILINE)
    assert len(names) == len(set(names))
    assert not re.search(r"^(import|export)\b", script(), re.MULTILINE)
    assert len(MODULES) == len(set(MODULES))


def test_only_this_machine_can_connect(server):
    assert server.server_address[0] == "127.0.0.1"
    with socket.create_connection(server.server_address, timeout=10):
        pass
