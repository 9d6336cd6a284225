"""The pages of the gallery, from the records in ``results/gallery``, while the site is built."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from polyrank.report import build, read_run

RECORDS = Path(__file__).parent.parent / "results" / "gallery"


def gallery() -> Iterator[tuple[str, str]]:
    """Yield the place of each page in the site, and the page."""
    yield "gallery/digits.html", _page([RECORDS / "digits"])
    first = ("digits-seed", "digits-uniform")  # what is compared, before what it is compared with
    found = sorted((RECORDS / "comparison").iterdir(), key=lambda p: not p.name.startswith(first))
    yield "gallery/comparison.html", _page(found)


def _page(folders: list[Path]) -> str:
    """Return a report without a date: a file's is that of the copy of the project."""
    return build([replace(read_run(folder), date="") for folder in folders])
