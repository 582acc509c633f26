"""Configuration of Sphinx; `make docs` runs `sphinx-build -W --keep-going -b html docs build/docs`."""

import importlib.util
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
NOTEBOOKS = [DOCS.parent / "notebooks", DOCS.parent / "build" / "notebooks"]  # those that were run replace the others
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import docstrings  # noqa: E402
import figures  # noqa: E402
import tables  # noqa: E402

import lattice_diffusion  # noqa: E402

project = "lattice_diffusion"
author = "The lattice_diffusion developers"
copyright = author
version = release = lattice_diffusion.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
exclude_patterns = ["generated/*.md"]
nb_merge_streams = True
nb_execution_mode = "off"  # `make notebooks` runs them
mathjax_path = "tex-svg.js"  # one file, put into generated/static below: formulas render without a network
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
html_static_path = ["static", "generated/static"]
html_css_files = ["custom.css"]
html_theme_options = {"source_repository": "", "navigation_with_keys": True}


def setup(app):
    generated = DOCS / "generated"
    mathjax = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    notebooks = [path for folder in NOTEBOOKS for path in folder.glob("*.ipynb")]
    for folder, files in (("static", [mathjax / mathjax_path]), ("notebooks", notebooks)):
        (generated / folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, generated / folder)
    tables.write(generated)
    figures.draw(generated)
    docstrings.setup(app)
