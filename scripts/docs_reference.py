"""Write the parts of the documentation that come from the code, while the site is built.

A page holds ``<!-- reference: NAME -->``; as a hook of MkDocs this file puts the text of
the function of that name in its place. Nothing generated is stored, so nothing can drift.
"""

import re
from pathlib import Path
from typing import Any

from docs_commands import commands
from docs_gallery import gallery
from docs_methods import aggregators, error_classes, methods, papers
from docs_settings import settings

MARK = re.compile(r"<!-- reference: (\w+) -->")

CHANGES = Path(__file__).parent.parent / "CHANGELOG.md"
PARTS = {
    "changes": lambda: CHANGES.read_text(encoding="utf-8"),
    "commands": commands,
    "settings": settings,
    "methods": methods,
    "aggregators": aggregators,
    "errors": error_classes,
    "papers": papers,
}


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - what MkDocs gives
    """Fill in the marks of a page; MkDocs calls this."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), markdown)


def on_files(files: Any, config: Any, **_: Any) -> Any:  # noqa: ANN401 - what MkDocs gives
    """Add the reports of the gallery; MkDocs calls this."""
    from mkdocs.structure.files import File

    for place, page in gallery():
        files.append(File.generated(config, place, content=page))
    return files
