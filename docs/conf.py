"""How Sphinx builds the documentation: `nox -s docs`."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "twisted_ipython"
author = "the authors of twisted_ipython"
release = version = version_of("twisted_ipython")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "twisted_ipython"
exclude_patterns = ["_build"]

# The notebooks hold their outputs, which the tests compare: nothing is run here.
nb_execution_mode = "off"
# Sessions of IPython are shown as they stand: their language is no lexer's of Sphinx.
highlight_language = "none"
# A link to a heading is checked, in one page and between pages.
myst_heading_anchors = 3
nitpicky = True
# Types of others, which are documented elsewhere; nothing is looked up on the network.
nitpick_ignore_regex = [("py:.*", r"(?!twisted_ipython).*")]
autodoc_typehints = "none"
