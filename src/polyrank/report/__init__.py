"""One self-contained HTML page from the folders of one or several runs.

The page needs no network: style, script, plotly.js and data are inside it, and its
content security policy forbids it to load anything else. Nothing here imports torch.
"""

from polyrank.report.page import build, build_live, build_notice, write_report
from polyrank.report.reading import Run, read_run

__all__ = ["Run", "build", "build_live", "build_notice", "read_run", "write_report"]
