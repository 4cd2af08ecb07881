"""Refuses rows with the names of special tokens, for servers that cannot encode these as plain text."""

import re

from service.errors import Fault
from service.jobs.checks.rows import Alike, FaultLog
from service.ports.scoring import Scorer

# Names of special tokens in published tokenizers; a server with such a token encodes the name as a single token.
_NAMES = re.compile(
    r"<\|[^<>|\s]{1,60}\|>|</?s>|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[/?INST\]|"
    r"\[(?:CLS|SEP|MASK|PAD|UNK)\]"
)
_READS_TEXT_ALONE = "tgi"  # takes neither token ids nor an option to ignore special tokens
_MISREAD = "which text-generation-inference reads as a special token and not as text"
_MAX_NAMES = 20


class SpecialNames:
    """Collects names of special tokens in the rows' texts, with the first lines of each."""

    def __init__(self) -> None:
        self._by_name: dict[str, Alike] = {}

    def add(self, text: str, line: int) -> None:
        """Collect the names in a row's text."""
        if "<" not in text and "[" not in text:
            return
        for name in set(_NAMES.findall(text)):
            if name in self._by_name or len(self._by_name) < _MAX_NAMES:
                message = _fault(name)
                self._by_name.setdefault(name, Alike(message, [])).add(Fault(message, line))

    async def check(self, scorer: Scorer, kind: str, template: str, faults: FaultLog) -> tuple[str, ...]:
        """Report the rows with a name that the backend encodes as a special token. Raises BackendError.

        A name that the template itself writes may be meant so: it gets a warning, which this returns.
        """
        names = sorted(self._by_name)
        if kind != _READS_TEXT_ALONE or not names:
            return ()
        counts = await scorer.count_tokens(names)
        misread = [name for name, count in zip(names, counts, strict=True) if count == 1]
        rows = [self._by_name[name] for name in misread if name not in template]
        faults.add_all(rows, {None: sum(alike.count for alike in rows)})
        return tuple(_warning(name) for name in misread if name in template)


def _fault(name: str) -> str:
    return (
        f"holds {name!r}, {_MISREAD}, so that its label would mean little: take it out of the row, or use another "
        "kind of server, which reads it as text"
    )


def _warning(name: str) -> str:
    return f"the template writes {name!r}, {_MISREAD}; other kinds of servers read it as text"
