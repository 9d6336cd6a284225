"""The notebooks in docs/ run from top to bottom, and their outputs are what is shown.

``DOCS_WRITE=1`` writes the outputs into them. Numbers of training differ a little between
machines, see ``tests/printed.py``; a figure has only to be one.
"""

import ast
import base64
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.printed import shown_is_printed

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_the_notebook_shows_is_what_happens(path, tmp_path, monkeypatch):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(c for c in notebook["cells"] if c["cell_type"] == "code"):
        came = outputs("".join(cell["source"]), names)
        if "DOCS_WRITE" in os.environ:
            cell["outputs"] = came
        where = f"{path.name}, code cell {number}"
        assert [kinds(output) for output in cell["outputs"]] == [kinds(o) for o in came], where
        for shown, printed in zip(cell["outputs"], came, strict=True):
            shown_is_printed(text_of(shown), text_of(printed), where, vary=True)
    if "DOCS_WRITE" in os.environ:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


def outputs(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell as a notebook does: what it prints, then the value of its last expression."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    said, value = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    found: list[dict[str, Any]] = []
    if said.getvalue():
        found.append({"name": "stdout", "output_type": "stream", "text": lines(said.getvalue())})
    if value is not None:
        found.append(
            {
                "data": displayed(value),
                "execution_count": None,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return found


def displayed(value: Any) -> dict[str, Any]:
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=72)
        return {"image/png": base64.b64encode(picture.getvalue()).decode()}
    if hasattr(value, "_repr_html_"):
        return {"text/html": lines(value._repr_html_())}
    return {"text/plain": lines(repr(value))}


def kinds(output: dict[str, Any]) -> list[str]:
    return sorted(output.get("data", {"stdout": ""}))


def text_of(output: dict[str, Any]) -> str:
    texts = output.get("data", {"stdout": output.get("text")})
    return "\n".join("".join(text) for kind, text in texts.items() if kind != "image/png")


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
