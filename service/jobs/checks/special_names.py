"""Warns about rows with the names of special tokens, for servers that cannot encode these as plain text."""

import re
from collections.abc import Iterator

from service.ports.scoring import Scorer
from service.values import by_number, counted

# Names of special tokens in published tokenizers; a server with such a token encodes the name as a single token.
_NAMES = re.compile(
    r"<\|[^<>|\s]{1,60}\|>|</?s>|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[/?INST\]|"
    r"\[(?:CLS|SEP|MASK|PAD|UNK)\]"
)
_READS_TEXT_ALONE = "tgi"  # takes neither token ids nor an option to ignore special tokens
_TOLD_LINES = 5
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

    async def misread_by(self, scorer: Scorer, kind: str) -> tuple[str, ...]:
        """A warning for each name that the backend encodes as a special token. Raises BackendError."""
        names = sorted(self._rows)
        if kind != _READS_TEXT_ALONE or not names:
            return ()
        counts = await scorer.count_tokens(names)
        return tuple(self._warnings(name for name, count in zip(names, counts, strict=True) if count == 1))

    def _warnings(self, names: Iterator[str]) -> Iterator[str]:
        for name in names:
            rows, lines = self._rows[name], ", ".join(map(str, self._lines[name]))
            more = " and more" if rows > _TOLD_LINES else ""
            yield (
                f"{counted(rows, 'row')} {by_number(rows, 'holds', 'hold')} {name!r} "
                f"({by_number(rows, 'line', 'lines')} "
                f"{lines}{more}), which text-generation-inference reads as a special token and not as text, so that "
                f"{by_number(rows, 'its label means', 'their labels mean')} little: take it out, or use another kind "
                "of "
                "server"
            )
