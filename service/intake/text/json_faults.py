"""Reports texts that are not JSON: a mistake that is in every line of a file is listed for the first lines alone."""

from service.intake.text.encodings import NotUtf8
from service.intake.text.strict_json import BadJson, is_utf8
from service.jobs.checks.rows import FaultLog

_AS_OFTEN = 3  # mistakes of one kind listed; further ones are most likely those of the program that wrote the file


class JsonFaults:
    """Adds what is wrong with JSON texts to a log: the first few faults of a kind, and only one of the encoding."""

    def __init__(self, faults: FaultLog) -> None:
        self._faults, self._not_utf8 = faults, NotUtf8(faults)
        self._counts: dict[str, int] = {}

    def add(self, error: BadJson, content: bytes, *, line: int, where: str = "") -> None:
        """Report that the text which begins on this line cannot be read; `where` stands before the reason."""
        if not is_utf8(content):
            self._not_utf8.add(content, line=line)
            return
        if error.slip is None:
            self._faults.add(f"{where}{error}", line=line)
            return
        count = self._counts[error.slip] = self._counts.get(error.slip, 0) + 1
        last = "; further lines like this one are not listed" if count == _AS_OFTEN else ""
        if count <= _AS_OFTEN:
            self._faults.add(f"{where}{error}{last}", line=line)
