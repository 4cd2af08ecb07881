"""Recognises texts in formats that the service does not read, by their beginning, and says what to do about them."""

import re
from collections.abc import Mapping

_ROWS_AS_JSON = "write each row as a JSON object, one a line, or as CSV"
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html|<\?xml[^>]*>\s*(?:<!doctype html|<html))", re.IGNORECASE)
_OFFICE = re.compile(rb"urn:schemas-microsoft-com:office:(?:excel|spreadsheet)")
_MARKUP = re.compile(rb"\s*<(?:\?xml\b|!--|!doctype\b|[A-Za-z][\w:.-]*(?:\s[^<>]*)?>[ \r\n]*<)", re.IGNORECASE)
_NAME = rb"[^\s(,;]+"
_SQL = re.compile(  # groups are atomic where one text has many readings, since the text comes from strangers
    rb"(?>\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/;?)*+"
    rb"(?:create\s+(?:table|database|schema|type|sequence|(?:unique\s+)?index|view)\s+(?:if\s+not\s+exists\s+)?"
    + _NAME
    + rb"\s*[(;]|insert\s+(?:or\s+\w+\s+)?into\s+"
    + _NAME
    + rb"\s*(?:\(|values\b|select\b)|drop\s+table\s+|begin(?:\s+transaction)?\s*;\s*(?:\n|\Z)|start\s+transaction\s*;|"
    rb"pragma\s+\w+\s*[=;]|set\s+(?:session\s+)?@?@?[\w.]+\s*=|set\s+names\s+|lock\s+tables\s+|"
    rb"copy\s+" + _NAME + rb"\s*\([^)]*\)\s+from\s+stdin)",
    re.IGNORECASE | re.DOTALL,
)
_DUMP = re.compile(rb"(?:--\s*\r?\n)?--\s*(?:mysql|mariadb|postgresql|phpmyadmin|sqlite)\b[^\n,;\t]*\n", re.IGNORECASE)
_KEY = rb"[\w\"'][\w \"'.-]{0,60}:(?:[ \t][^\n]*)?\r?\n"
_YAML = re.compile(
    rb"%YAML\b|---[ \t]*\r?\n|-[ \t]++" + _KEY + rb"[ \t]*(?:-|[\w\"'])|[\w-]{1,60}:[ \t]*\r?\n[ \t]*-[ \t]"
)
_HEADINGS = rb"(?>[ \t]*(?:\#[^\n]*)?\r?\n)*+"  # and blank lines
_WITH_BARS = rb"(?=[^\n]*\|)[^\n]*+\n"
_DASHES = rb"[ \t]*:?-{2,}:?[ \t]*"
_MARKDOWN = re.compile(
    _HEADINGS + _WITH_BARS + rb"[ \t]*\|?" + _DASHES + rb"(?:\|" + _DASHES + rb")*\|?[ \t]*(?:\r?\n|\Z)"
)
_PRINTED = re.compile(rb"\s*+(?:\+[-=]{2,}(?:\+[-=]{2,})*\+\r?\n|" + _WITH_BARS + rb"-{2,}(?:\+-{2,})+\r?\n)")
_ARFF = re.compile(rb"(?:\s|%[^\n]*\n)*@relation\s+(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s,]+)[ \t]*\r?\n", re.IGNORECASE)
_CODE = re.compile(
    rb"\s*(?:(?:(?:export\s+)?(?:var|let|const)\s+)?\w+(?:\.\w+)*\s*=\s*|export\s+default\s+|\w+\(\s*)"
    rb"(?:\[\s*[\[{\"']|\[\s*\n|\{\s*[\"'\n])"
)
_TOML = re.compile(rb"\s*\[\[?[\w.-]+\]\]?[ \t]*\r?\n\s*[\w-]+\s*=")
_LOOKS: Mapping[re.Pattern[bytes], tuple[str, str]] = {
    _SQL: ("SQL, as databases dump it", "export the table as CSV"),
    _DUMP: ("SQL, as databases dump it", "export the table as CSV"),
    _TOML: ("TOML or an INI file", _ROWS_AS_JSON),
    _YAML: ("YAML", _ROWS_AS_JSON),
    _PRINTED: ("a table as a database prints it", "export it as CSV instead"),
    _MARKDOWN: ("a Markdown table", "write it as CSV, without the line of dashes"),
    _ARFF: ("an ARFF file", "write it as CSV"),
    _CODE: ("code around the data, such as JavaScript or Python", "send the list alone, as JSON"),
}
_ALIGNED = re.compile(rb"\S {2,}\S")


def foreign_text(head: bytes) -> tuple[str, str] | None:
    """What a file with this beginning looks like, and the remedy; None for the formats that the service reads.

    The beginning is UTF-8, without a byte order mark.
    """
    if _OFFICE.search(head) and _MARKUP.match(head):
        return "a spreadsheet in XML or HTML, as some programs write under the name .xls", "save it as .xlsx or CSV"
    if _PAGE.match(head):
        return (
            "a web page, not a data set",
            "if you downloaded it, the address may ask for a login; a table in it can be saved as CSV",
        )
    if _MARKUP.match(head) and (head.lstrip()[:2] in (b"<?", b"<!") or b"</" in head or b"/>" in head):
        return "XML or HTML", _ROWS_AS_JSON
    return next((found for pattern, found in _LOOKS.items() if pattern.match(head)), None)


def looks_aligned(line: bytes) -> bool:
    """Whether a line reads like columns of fixed width, which blanks keep apart."""
    return _ALIGNED.search(line.strip()) is not None
