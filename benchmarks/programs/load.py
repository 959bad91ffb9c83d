"""A fresh IPython that loads the extension first; prints the seconds that loading takes."""

from __future__ import annotations

from IPython import start_ipython

_CODE = """
from time import perf_counter
began = perf_counter()
get_ipython().run_line_magic("load_ext", "twisted_ipython")
print(perf_counter() - began)
"""

if __name__ == "__main__":
    start_ipython(argv=["--no-banner", "-c", _CODE])
