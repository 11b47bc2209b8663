"""The server of the explorer: one page and a few questions, on this machine, for whoever has the token.

It reads no file that a request names. A request must come to 127.0.0.1 under that name or as localhost, so
that no other site can reach it through a name of its own; must carry the token; and must be small.

Beside a training it has the curves, and nothing else is computed until the training has ended: a trace
watches the calls of the whole process, and random numbers come from one generator.
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import threading
import time
import warnings
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .answer import answer, graph, list_of_norms
from .livecurves import TrainingCurves
from .webpage import page, policy

LONGEST = 65536
"""Bytes in the body of a request."""

GRACE = 3.0
"""Seconds after which a page that was closed does not come back: one that is loaded again does."""

LOST = 180.0
"""Seconds after which a page that asks nothing is lost: in a hidden tab, it asks once a minute."""

_NO_TOKEN = (
    "This page needs the token: open the whole address that `tinygrad-norm explore` printed, with ?token=…"
)
_TRAINING = "A model is trained in this process: the explorer computes when the training has ended."


class Server(ThreadingHTTPServer):
    """Serve the explorer on 127.0.0.1; `address` is its URL, with the token.

    Args:
        port: 0 for a free one.
        curves: of the training that runs in this process.

    Raises:
        ValueError: if port is not in 0 … 65535.
        OSError: if the port is taken, or not allowed.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, port: int = 0, curves: TrainingCurves | None = None) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise ValueError(f"port must be an integer in 0 … 65535, got {port!r}")
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise OSError(error.errno, _why(error, port)) from None
        self.token = secrets.token_urlsafe(16)
        self.curves = curves
        self.computing = threading.Lock()  # a trace watches the calls of the whole process
        self._pages: dict[str, float] = {}  # when each page asked last
        self._last_closed: float | None = None

    @property
    def address(self) -> str:
        """The URL of the page, with the token."""
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"

    @property
    def replies(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What answers a question, by the path that it is sent to."""
        return {
            "/norms": lambda _: list_of_norms(),
            "/answer": answer,
            "/graph": graph,
            "/file": self._saved,
            "/training": self._training,
            "/closed": self._closed,
        }

    @property
    def is_training(self) -> bool:
        """Whether a model is trained in this process."""
        return self.curves is not None and self.curves.is_training

    def wait_until_closed(self) -> None:
        """Return when every page that was opened is closed, or lost; if none ever was, wait for one."""
        while self._open_pages() or self._last_closed is None or time.monotonic() - self._last_closed < GRACE:
            time.sleep(0.2)

    def _open_pages(self) -> bool:
        """Return whether a page is open; one that was lost with its browser counts as closed."""
        now = time.monotonic()
        for page_id, asked in list(self._pages.items()):
            if now - asked > LOST:
                self._closed({"page": page_id})
        return bool(self._pages)

    def compute(self, reply: Callable[[dict[str, Any]], Any], question: dict[str, Any]) -> Any:
        """Answer a question that makes the library compute: one at a time, and no warning is printed."""
        with self.computing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reply(question)

    def _training(self, question: dict[str, Any]) -> dict[str, Any] | None:
        page = question.get("page")
        if isinstance(page, str) and len(page) < 40 and (page in self._pages or len(self._pages) < 1000):
            self._pages[page] = time.monotonic()
        since = question.get("since", 0)
        if isinstance(since, bool) or not isinstance(since, int):
            raise ValueError(f"since must be the version of an earlier answer, got {since!r}")
        return None if self.curves is None else self.curves.since(since)

    def _closed(self, question: dict[str, Any]) -> None:
        self._pages.pop(str(question.get("page")), None)
        self._last_closed = time.monotonic()

    def _saved(self, question: dict[str, Any]) -> dict[str, str]:
        """Return the page with everything inside that it shows of one question, and the curves."""
        curves = None if self.curves is None else self.curves.since()
        drawn, found = (None, None) if self.is_training else (graph(question), answer(question))
        return {"html": page({"norms": list_of_norms(), "answer": found, "graph": drawn, "training": curves})}


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program: choose another, or leave out --port for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights: choose one above 1023, or leave out --port for a free one"
    return error.strerror or str(error)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "tinygrad-norm"
    sys_version = ""
    timeout = 60  # seconds for a request to arrive

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if not self._is_for_us():
            return
        if where.path != "/":
            self._send_problem(404, "there is only one page, /")
        elif not self._has_token(parse_qs(where.query).get("token", [""])[0]):
            self._send_problem(403, _NO_TOKEN)
        else:
            self._send(200, page(), "text/html", policy())

    def do_POST(self) -> None:
        self.close_connection = True  # an unread body must not be taken for a request
        if not self._is_for_us():
            return
        if not self._has_token(self.headers.get("X-Token", "")):
            self._send_problem(403, _NO_TOKEN)
            return
        reply = self.server.replies.get(self.path)
        if reply is None:
            self._send_problem(404, f"the questions are {', '.join(self.server.replies)}")
            return
        question = self._question()
        if question is None:
            return
        computes = self.path in ("/answer", "/graph", "/file") and not self.server.is_training
        if self.path in ("/answer", "/graph") and not computes:
            self._send_problem(409, _TRAINING)
            return
        try:
            data = self.server.compute(reply, question) if computes else reply(question)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            self._send_problem(422, str(error))
        except Exception as error:  # the page says what happened; the server goes on
            self._send_problem(500, f"{type(error).__name__}: {error}")
        else:
            self._send(200, json.dumps(data, allow_nan=False), "application/json")

    def _is_for_us(self) -> bool:
        hosts = [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]
        origin = self.headers.get("Origin")
        if self.headers.get("Host", "") not in hosts:
            self._send_problem(403, f"this server answers only as {hosts[0]}")
        elif origin is not None and origin not in [f"http://{host}" for host in hosts]:
            self._send_problem(403, "another site may not ask this server")
        else:
            return True
        return False

    def _has_token(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.server.token.encode())

    def _question(self) -> Any:
        """Return the body as data; None after an answer that says what is wrong with it."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            self._send_problem(415, "a question must have the content type application/json")
        elif not (length.isascii() and length.isdigit()):
            self._send_problem(411, "a question must have a Content-Length")
        elif len(length) > 9 or int(length) > LONGEST:
            self._send_problem(413, f"a question may have {LONGEST} bytes, got {length}")
        else:
            try:
                found = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                self._send_problem(400, "the question is not JSON")
                return None
            if isinstance(found, dict):
                return found
            self._send_problem(400, "a question must be a JSON object")
        return None

    def _send_problem(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"problem": message}, ensure_ascii=False), "application/json")

    def _send(self, status: int, text: str, kind: str, security: str = "default-src 'none'") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", security),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the page was closed, or asks something else by now
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal has the address."""
