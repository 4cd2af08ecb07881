"""Refuses rows with the names of special tokens, for servers that cannot encode these as plain text."""

import re

from service.jobs.checks.rows import MAX_REPORTED, FaultLog
from service.ports.scoring import Scorer

# Names of special tokens in published tokenizers; a server with such a token encodes the name as a single token.
_NAMES = re.compile(
    r"<\|[^<>|\s]{1,60}\|>|</?s>|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[/?INST\]|"
    r"\[(?:CLS|SEP|MASK|PAD|UNK)\]"
)
_READS_TEXT_ALONE = "tgi"  # takes neither token ids nor an option to ignore special tokens
_MISREAD = "which text-generation-inference reads as a special token and not as text"
_TOLD_LINES = MAX_REPORTED
_MAX_NAMES = 20


class SpecialNames:
    """Counts names of special tokens in the rows' texts, with the first lines of each."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._lines: dict[str, list[int]] = {}

    def add(self, text: str, line: int) -> None:
        """Count the names in a row's text."""
        if "<" not in text and "[" not in text:
            return
        for name in set(_NAMES.findall(text)):
            if name not in self._rows and len(self._rows) >= _MAX_NAMES:
                continue
            self._rows[name] = self._rows.get(name, 0) + 1
            lines = self._lines.setdefault(name, [])
            if len(lines) < _TOLD_LINES:
                lines.append(line)

    async def check(self, scorer: Scorer, kind: str, template: str, faults: FaultLog) -> tuple[str, ...]:
        """Report each row with a name that the backend encodes as a special token. Raises BackendError.

        A name that the template itself writes may be meant so: it gets a warning, which this returns.
        """
        names = sorted(self._rows)
        if kind != _READS_TEXT_ALONE or not names:
            return ()
        counts = await scorer.count_tokens(names)
        misread = [name for name, count in zip(names, counts, strict=True) if count == 1]
        for name in misread:
            if name not in template:
                self._report(name, faults)
        return tuple(_warning(name) for name in misread if name in template)

    def _report(self, name: str, faults: FaultLog) -> None:
        message = (
            f"holds {name!r}, {_MISREAD}, so that its label would mean little: take it out of the row, or use another "
            "kind of server, which reads it as text"
        )
        for line in self._lines[name]:
            faults.add(message, line=line)
        faults.add_all((), {None: self._rows[name] - len(self._lines[name])})


def _warning(name: str) -> str:
    return f"the template writes {name!r}, {_MISREAD}; other kinds of servers read it as text"
