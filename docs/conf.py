"""Configuration of Sphinx; `make docs` runs `sphinx-build -W --keep-going -b html docs build/docs`."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import docstrings  # noqa: E402
import figures  # noqa: E402
import tables  # noqa: E402

import lattice_diffusion  # noqa: E402

project = "lattice_diffusion"
author = "The lattice_diffusion developers"
copyright = author
version = release = lattice_diffusion.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
exclude_patterns = ["generated/*.md"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
default_role = "code"
smartquotes = False

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = "lattice_diffusion"
html_show_copyright = False
html_theme_options = {"source_repository": "", "navigation_with_keys": True}


def setup(app):
    generated = DOCS / "generated"
    generated.mkdir(exist_ok=True)
    tables.write(generated)
    figures.draw(generated)
    docstrings.setup(app)
