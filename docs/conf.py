"""Configuration of Sphinx: Markdown pages, API from the docstrings, tutorials from their scripts; every warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

from api_pages import write_api_pages
from tutorial_pages import write_tutorial_pages

import deeppot_galactic

project = "deeppot-galactic"
author = "the deeppot-galactic authors"
version = release = deeppot_galactic.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
nitpicky = False
suppress_warnings = ["ref.python"]  # attributes of one name in several classes ("radius") are never meant as references

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "code"

html_theme = "furo"
html_title = f"deeppot-galactic {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}

write_api_pages(HERE / "api")
write_tutorial_pages(HERE.parent / "tutorials", HERE / "tutorials")


def setup(app: Any) -> None:
    """Let |x| in a docstring be an absolute value, and not a substitution."""

    def escape(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        for k, line in enumerate(lines):
            parts = re.split(r"(``.*?``)", line)
            lines[k] = "".join(part if part.startswith("``") else part.replace("|", "\\|") for part in parts)

    app.connect("autodoc-process-docstring", escape)
