"""JSON replies."""

from typing import Any

import orjson
from fastapi import Response


def json_reply(content: Any, status_code: int = 200) -> Response:
    """A reply with this content; infinities become null, as in TGI."""
    return Response(orjson.dumps(content), status_code=status_code, media_type="application/json")
