"""
The page for eyes: files that are served as they are.

They are a document, a style sheet, a script and an icon; nothing is built, nothing comes from
elsewhere, and all that changes the page asks for by the same paths as everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from .requests import Answer

_TYPES = {
    "html": "text/html; charset=UTF-8",
    "css": "text/css; charset=UTF-8",
    "js": "text/javascript; charset=UTF-8",
    "svg": "image/svg+xml",
}


def _static(name: str) -> Answer:
    body = files("mxproxy.admin").joinpath(f"static/{name}").read_bytes()
    return Answer(body, _TYPES[name.rpartition(".")[2]])


#: By path.
PAGE: Mapping[str, Answer] = {
    "/": _static("index.html"),
    **{
        f"/static/{name}": _static(name)
        for name in ("page.css", "page.js", "table.js", "graph.js", "icon.svg")
    },
}
