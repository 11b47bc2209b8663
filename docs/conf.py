"""Configuration of the documentation site: `python -m sphinx -W --keep-going docs docs/_build/html`."""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "extensions"), str(DOCS.parent)]
os.environ.setdefault("TINYGRAD_NORM_LOOPS", "0")  # pages compute the same digits with and without Numba

_about = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project, version = _about["name"], _about["version"]
release = version

extensions = [
    "needed_programs",
    "myst_nb",
    "sphinxcontrib.katex",
    "api_pages",
    "breakable_names",
    "copied_pages",
    "executed_cells",
    "experiment_plots",
    "katex_files",
    "kernel_settings",
    "plain_types",
    "source_pages",
    "system_pages",
]
exclude_patterns = ["_build", "extensions"]
nitpicky = True
maximum_signature_line_length = 90
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
katex_prerender = True

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_sidebars = {page: [] for page in ("index", "start", "which", "experiments/README")}
html_scaled_image_link = False
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
