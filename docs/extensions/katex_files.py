"""KaTeX's style sheet and fonts, fetched once by npm into `_build/katex` and served by the site itself.

The formulas are rendered in the build, by the script that sphinxcontrib-katex brings. Its version decides
which files are fetched, so that both fit together.
"""

import shutil
import subprocess
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinxcontrib import katex


def fetched(folder: Path) -> Path:
    """Return the folder with katex.min.css and its fonts; npm fetches them into `folder` if they are missing.

    Raises:
        ExtensionError: if npm cannot fetch them; says what to do.
    """
    found = folder / katex.katex_version / "node_modules" / "katex" / "dist"
    if (found / "katex.min.css").exists():
        return found
    prefix = found.parents[2]
    prefix.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-package-lock", "--no-save", "--no-audit", "--no-fund", "--prefix"]
    package = f"katex@{katex.katex_version}"
    run = subprocess.run([*command, str(prefix), package], capture_output=True, text=True, check=False)
    if run.returncode or not (found / "katex.min.css").exists():
        raise ExtensionError(
            f"npm could not fetch {package}, which the formulas need: check that npm reaches its registry, "
            f"or copy the package to {found.parent}. npm said:\n{run.stderr.strip() or run.stdout.strip()}"
        )
    return found


def copy_files(app: Sphinx) -> None:
    """Make the style sheet and the fonts static files of the site."""
    found = fetched(Path(app.srcdir, "_build", "katex"))
    static = Path(app.doctreedir, "katex")
    shutil.rmtree(static, ignore_errors=True)
    (static / "fonts").mkdir(parents=True)
    shutil.copy(found / "katex.min.css", static)
    for font in (found / "fonts").glob("*.woff2"):
        shutil.copy(font, static / "fonts")
    app.config.html_static_path.append(str(static))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; its style sheet takes the place of the one from elsewhere.

    A formula with a mistake ends the build. Of the two ways to reach the program that renders, only the
    one by the network waits until it listens.
    """
    katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
    katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60
    app.config.katex_css_path = "katex.min.css"
    app.connect("builder-inited", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
