"""A headless Chromium, driven through its debugging pipe: keys pressed, errors and requests kept.

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:8000/", width=400, dark=True)
        page.evaluate("document.title")

Only Chromium's program is needed: `chromium`, `chromium-browser` or `google-chrome`.
"""

import base64
import json
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The path of the browser, or None: then tests that need one skip."""

_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
)
_ARROWS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
_KEYS = _ARROWS | {"Tab": 9, "Enter": 13, " ": 32, "+": 187}


class Browser:
    """The program, with a profile of its own that is deleted at the end."""

    def __init__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_commands, self._commands = os.pipe()
        self._replies, write_replies = os.pipe()
        command = (
            f"{shlex.quote(PROGRAM)} {_FLAGS} --user-data-dir={shlex.quote(self._profile.name)} about:blank"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command} 3<&{read_commands} 4>&{write_replies}"],
            pass_fds=(read_commands, write_replies),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_replies)
        self._buffer, self._count, self.events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._replies)
        self._profile.cleanup()

    def send(self, method, session=None, timeout=60, **params):
        """Send a command of the DevTools protocol and return its result; events meanwhile are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        os.write(
            self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        )
        end = time.monotonic() + timeout
        while True:
            found = self._receive(end)
            if found.get("id") == self._count:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]
            self.events.append(found)

    def _receive(self, end):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._replies, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError("the browser does not answer")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def open(self, url, width=1280, height=1000, dark=False):
        """Open a page of this size in pixels, in the light or the dark."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, url, width, height, dark)


class Page:
    """An opened page."""

    def __init__(self, browser, session, url, width, height, dark):
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height)
        self.send("Page.navigate", url=url)

    def send(self, method, **params):
        """Send a command for this page."""
        return self._browser.send(method, self._session, **params)

    def resize(self, width, height=1000):
        """Give the window another size, in pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, script):
        """Return the value of a JavaScript expression; of a promise, what it becomes."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", script))
        return found["result"].get("value")

    def wait(self, script, seconds=60):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {seconds} s: {script}")
            time.sleep(0.05)

    def press(self, key):
        """Press a key, as a person would."""
        text = {"Enter": "\r", " ": " ", "+": "+"}.get(key, "")
        named = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path):
        """Save what can be seen as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    @property
    def requests(self):
        """The addresses that were asked for."""
        return [event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")]

    @property
    def errors(self):
        """What the console has as errors and warnings, and exceptions that nobody caught."""
        entries = [event["params"]["entry"] for event in self._of("Log.entryAdded")]
        found = [entry["text"] for entry in entries if entry["level"] in ("error", "warning")]
        found += [str(event["params"]["exceptionDetails"]) for event in self._of("Runtime.exceptionThrown")]
        calls = [event["params"] for event in self._of("Runtime.consoleAPICalled")]
        return found + [str(call["args"]) for call in calls if call["type"] in ("error", "warning", "assert")]

    def _of(self, method):
        self.evaluate("0")
        events = self._browser.events
        return [e for e in events if e.get("method") == method and e.get("sessionId") == self._session]
