"""The frame of the page: head, navigation, style and scripts.

The content security policy names the two scripts by their hashes and allows no source
that needs a network, so a browser runs nothing else and loads nothing. A page that a
server keeps up to date may ask that server, and nobody else.

Charts are drawn by plotly.js, of which the page holds the bundle for plain charts, packed; the
script of the page unpacks it. https://plotly.com/javascript/, MIT licence (plotly-LICENSE.txt).
"""

import base64
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from polyrank.report.markup import escape, json_in_script

Link = tuple[str, str]  # the id it leads to, its text


@dataclass(frozen=True)
class Variant:
    """How a page reaches its reader.

    Attributes:
        brand: HTML above the title.
        footer: the last sentence.
        head: more HTML for the head.
        allowed: more directives of the content security policy.
        script: the file that goes on inside the function of page.js; may be empty.
    """

    brand: str
    footer: str
    head: str = ""
    allowed: str = ""
    script: str = ""


FILE = Variant(
    "PolyRank report", "Made by PolyRank. This file is complete in itself: it loads nothing."
)
SERVED = Variant(
    'PolyRank report · <span id="live" role="status">live</span>',
    "Made by PolyRank. This page follows its run; a finished run has the same as report.html.",
    '<link rel="icon" href="data:,">\n',  # or a browser would ask the server for one
    "; connect-src 'self'",
    "live.js",
)


def document(
    title: str,
    facts: str,
    links: Sequence[Link],
    main: str,
    content: object,
    variant: Variant = FILE,
) -> str:
    """Return the whole page; ``main`` is HTML, the other texts are not.

    Args:
        title: of the page.
        facts: one line below the title; may be empty.
        links: the navigation.
        main: the sections.
        content: what page.js draws and offers for download, as JSON would hold it.
        variant: a file, or served and kept up to date.
    """
    packed, plotly = charting()
    script = _script(_page_script(variant))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, script)}{variant.allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{variant.head}<title>{escape(title)} · PolyRank report</title>
<style>
{_file("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="brand">{variant.brand}</p>
<h1>{escape(title)}</h1>
<p class="facts">{escape(facts)}</p>
<nav aria-label="Sections">{"".join(_link(*link) for link in links)}</nav>
</header>
<main id="main" tabindex="-1">
<noscript><p class="warning">Charts, sorting and downloads need JavaScript.</p></noscript>
{main}</main>
<footer><p>{variant.footer}</p></footer>
<script type="application/json" id="content">{json_in_script(content)}</script>
<script type="application/octet-stream" id="plotly">{packed}</script>
<script>{script}</script>
</body>
</html>
"""


@cache
def charting() -> tuple[str, str]:
    """Return plotly.js twice: packed by gzip and written in base 64, and as a browser runs it."""
    packed = files("polyrank.report").joinpath("plotly-cartesian.min.js.gz").read_bytes()
    return base64.b64encode(packed).decode(), gzip.decompress(packed).decode()


def _link(key: str, text: str) -> str:
    return f'<a href="#{key}">{escape(text)}</a>'


def _file(name: str) -> str:
    return files("polyrank.report").joinpath(name).read_text(encoding="utf-8")


def _page_script(variant: Variant) -> str:
    own = _file("page.js")
    if not variant.script:
        return own
    inside, end, after = own.rpartition("})();")
    return f"{inside}{_file(variant.script)}{end}{after}"


def _script(source: str) -> str:
    # A browser reads every line end as \n before it compares the hash.
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _policy(*scripts: str) -> str:
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {hashes}"
    )
