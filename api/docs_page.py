"""`/docs`: the API's document as a page, from files of this installation alone (docs/decisions/0027)."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from starlette.responses import FileResponse, Response

DOCS_PATH = "/docs"
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
_FOLDER = Path(fastapi_offline.__file__).parent / "static"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY}

# Addresses are relative, so that a proxy may put the service below a path.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ICM labelling service</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs scripts; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""

router = APIRouter(include_in_schema=False)


@router.get(DOCS_PATH)
async def page() -> Response:
    """The page; it contains no user input."""
    return Response(_PAGE, headers=_HEADERS, media_type="text/html")


@router.get(f"{DOCS_PATH}/start.js")
async def start() -> Response:
    """The script that starts the page, in a file because the page's policy forbids inline scripts."""
    return Response(_START, headers=_HEADERS, media_type="text/javascript")


def _add_asset(name: str, media_type: str) -> None:
    async def asset() -> Response:
        return FileResponse(_FOLDER / name, headers=_HEADERS, media_type=media_type)

    router.add_api_route(f"{DOCS_PATH}/{name}", asset)


for _name, _media_type in _ASSETS.items():
    _add_asset(_name, _media_type)

PUBLIC_PATHS = frozenset(
    {DOCS_PATH, f"{DOCS_PATH}/start.js", "/openapi.json"} | {f"{DOCS_PATH}/{name}" for name in _ASSETS}
)
