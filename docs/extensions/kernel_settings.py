"""The cells of the pages run with IPython's own settings, not those of whoever builds the site.

Only errors of the kernel are printed: it would warn, for each page, that it listens on this machine.
"""

import os
from pathlib import Path

from sphinx.application import Sphinx


def use_own_folder(app: Sphinx) -> None:
    """Give IPython an own folder of settings."""
    profile = Path(app.doctreedir, "ipython", "profile_default")
    profile.mkdir(parents=True, exist_ok=True)
    settings = "c = get_config()\nc.IPKernelApp.log_level = 'ERROR'\n"
    (profile / "ipython_kernel_config.py").write_text(settings, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(profile.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", use_own_folder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
