"""Names come from strangers: how text is shown so that it is read as text, whatever is in it."""

import re

# what ends a line, moves the cursor, or turns the direction of writing, in whatever reads it
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def plain(text: str, most: int = 0) -> str:
    """One line; what cannot be seen is written as its code, \\x1b.

    Args:
        most: letters that are kept; 0 = all.
    """
    said = UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
    return said if not most or len(said) <= most else f"{said[: most - 3]}..."


def markdown(text: str) -> str:
    """As a cell of a Markdown table: no markup of HTML, no link, no image, no further cell."""
    for letter, said in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("](", "]\\(")):
        text = text.replace(letter, said)
    return plain(text)
