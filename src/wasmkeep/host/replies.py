"""What the daemon answers: JSON, and one shape for everything it refuses."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

__all__ = ["Refused", "json_bytes", "json_response"]


class Refused(Exception):
    """A request that is answered with ``{"error": {"code", "message", "found", "required"}}``.

    ``code`` is stable; the other three are for people and quote nothing of the request but what was checked.
    """

    def __init__(self, status: int, code: str, message: str, *, found: str = "", required: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.found = found
        self.required = required

    def response(self) -> Response:
        error = {"code": self.code, "message": self.message, "found": self.found, "required": self.required}
        response = json_response({"error": error}, self.status)
        if self.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def json_bytes(content: Any) -> bytes:  # Any: whatever JSON can hold
    return json.dumps(content, separators=(",", ":")).encode()


def json_response(content: Any, status: int = 200) -> Response:  # Any: as above
    return Response(
        json_bytes(content),
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        "application/json",
    )
