"""Write the page of a comparison."""

from pathlib import Path

from polyrank.comparing.comparison import Comparison
from polyrank.comparing.sheets import parts_of
from polyrank.report.comparison import Asked
from polyrank.report.page import write_comparison


def write_page(made: Comparison) -> Path:
    """Write ``compare.html``, whole or not at all."""
    parts = parts_of(made.tuned, list(made.failed.items()), made.arm_rows, made.notes)
    return write_comparison(made.report_arms, Asked(made.target, parts), made.page)
