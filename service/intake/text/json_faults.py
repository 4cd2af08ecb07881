"""Reports texts that are not JSON, by the mistake that a program may have made in every line of a file."""

from service.intake.text.encodings import NotUtf8
from service.intake.text.strict_json import BadJson, is_utf8
from service.jobs.checks.rows import FaultLog


class JsonFaults:
    """Adds the faults of JSON texts to a log by their cause; reports a wrong encoding only once."""

    def __init__(self, faults: FaultLog) -> None:
        self._faults, self._not_utf8 = faults, NotUtf8(faults)

    def add(self, error: BadJson, content: bytes, *, line: int, where: str = "") -> None:
        """Report that the text which begins on this line cannot be read; `where` stands before the reason."""
        if is_utf8(content):
            self._faults.add(f"{where}{error}", line=line, cause=error.slip)
        elif _ends_within_a_character(content):
            self._faults.add(f"{where}the text ends in the middle of a character; is the file cut off?", line=line)
        else:
            self._not_utf8.add(content, line=line)


def _ends_within_a_character(content: bytes) -> bool:
    """Whether all is UTF-8 up to a character without its end; other encodings have a bracket behind the last text."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.end == len(content) and "unexpected end" in error.reason
    return False
