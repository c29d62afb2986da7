"""What a browser may ask the server for: the page, its parts, and its own uploads. Everything else does not exist.

Gradio has its own checks; this one stands before them, and holds whatever a version of Gradio adds.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from starlette.responses import PlainTextResponse

# Routes of the page, by their beginning; Gradio's own live under /gradio_api.
_PAGE = re.compile(
    r"/(config/?|theme\.css|manifest\.json|favicon\.ico|assets/.*|static/.*"
    r"|gradio_api/(info/?|theme\.css|startup-events|heartbeat/\w+|queue/join|queue/data|upload|upload_progress"
    r"|app_id/?|login_check/?|cancel|reset/?|file=.*))?"
)
_UPLOAD = "/gradio_api/file="

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""Content-Security-Policy: a browser loads nothing from anywhere else, and no other page frames this one."""


class Guard:
    """ASGI middleware.

    Args:
        app: the next one. uploads: folder outside of which no file is read.
    """

    def __init__(self, app, uploads: Path) -> None:
        self.app, self.uploads = app, Path(uploads).resolve()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not self._known(scope["path"]):
            await PlainTextResponse("not found", status_code=404)(scope, receive, send)
            return

        async def send_with_policy(message) -> None:
            if message["type"] == "http.response.start":
                headers = [h for h in message["headers"] if h[0].lower() != b"content-security-policy"]
                more = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                message = message | {"headers": [*headers, *((k.encode(), v.encode()) for k, v in more.items())]}
            await send(message)

        await self.app(scope, receive, send_with_policy)

    def _known(self, path: str) -> bool:
        # Once more than the server has: a path that still hides a ".." is none of ours.
        plain = unquote(path)
        if ".." in plain.split("/") or "\\" in plain or "\0" in plain or not _PAGE.fullmatch(path):
            return False
        if path.startswith(_UPLOAD):
            asked = os.path.realpath(plain[len(_UPLOAD) :])
            return Path(asked).is_relative_to(self.uploads)
        return True
