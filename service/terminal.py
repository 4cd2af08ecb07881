"""Makes text safe for a terminal: control characters and changes of the writing direction become escapes.

Rows, labels, names and answers of servers are other people's text. An escape sequence in one can clear the screen,
set the window's title or hide a line; an override of the writing direction makes a text look like another one.
"""

import re

# C0 but tab and line feed, DEL, C1; line and paragraph separators; bidirectional embeddings, overrides and isolates
# (Unicode Standard Annex 9); halves of characters, which no output can carry.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_ENDS = re.compile(r"[\t\n]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    """The text with whatever steers a terminal written out, such as `\\x1b`; tabs and line feeds stay."""
    return _UNSAFE.sub(_escape, text)


def visible_line(text: str) -> str:
    """The same on one line, so that a text cannot pass for lines of ours: tabs and line feeds are written out, too."""
    return _LINE_ENDS.sub(_escape, visible(text))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
