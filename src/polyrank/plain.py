"""Escape control characters of untrusted text before a terminal shows it."""

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# control characters but tab and line end, those that turn the direction of writing, and
# halves of characters, which cannot be printed
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BREAKS = str.maketrans({"\n": "\\n", "\t": "\\t"})


def plain(text: str) -> str:
    r"""Return a text with each control character as JSON writes it; lines and tabs stay.

    >>> print(plain("\\x1b[2Jclient"))
    \\u001b[2Jclient
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    r"""Return a name as one line of a table.

    >>> print(one_line("a\\nb"))
    a\\nb
    """
    return plain(text.translate(_BREAKS))


class Screen(Console):
    """A console that shows the control characters of any text, and never sends them."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed, control characters of its texts shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))
