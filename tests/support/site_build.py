"""The documentation site for tests: built once, and served on 127.0.0.1.

The folder in the environment variable TINYGRAD_NORM_SITE is taken as it is, as `.ci/run` has built it before.
"""

import contextlib
import fcntl
import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "extensions"))

import needed_programs  # noqa: E402

BUILT = os.environ.get("TINYGRAD_NORM_SITE")
PACKAGES = ("sphinx", "pydata_sphinx_theme", "myst_nb", "sphinxcontrib.katex", "ipykernel", "matplotlib")


def missing():
    """What the build needs and this machine lacks, as text; "" if nothing."""
    if BUILT:
        return ""
    found = needed_programs.missing()
    for name in PACKAGES:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name):
                continue
        found.append(name)
    return ", ".join(found)


def built(temporary):
    """Return the folder of the site; if another process builds it, wait for that."""
    if BUILT:
        return Path(BUILT)
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    target = shared / "site"
    with open(shared / "site.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(target)]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if run.returncode:
                shutil.rmtree(target, ignore_errors=True)
                raise RuntimeError(f"the site cannot be built:\n{run.stderr}")
    return target


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@contextlib.contextmanager
def served(folder):
    """Serve a folder; yields its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
