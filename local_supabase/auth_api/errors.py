"""How a request is refused: status, code and sentence, in either of the two shapes of Supabase Auth's errors."""

import json
from datetime import date
from typing import Any

from flask import Response

API_VERSION_HEADER = "X-Supabase-Api-Version"
API_VERSION = "2024-01-01"


class Refused(Exception):
    """A request that is answered with an error.

    Raised, it undoes what the request wrote; returned by a handler, it keeps it (a reused refresh token must
    be refused *and* have its family revoked).
    """

    def __init__(self, status: int, code: str, message: str, *, weak_password: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.weak_password = weak_password  # reasons: length, characters, pwned

    def answer(self, api_version: str | None) -> Response:
        """Return the response for a caller who sent `api_version` in X-Supabase-Api-Version (None: no header)."""
        weak = {} if self.weak_password is None else {"weak_password": {"reasons": self.weak_password}}
        if _is_current(api_version):
            body: dict[str, Any] = {"code": self.code, "message": self.message, **weak}
            headers = {API_VERSION_HEADER: API_VERSION}
        else:
            body = {"code": self.status, "error_code": self.code, "msg": self.message, **weak}
            headers = {}
        if not weak or not headers:
            headers["x-sb-error-code"] = self.code
        return Response(json.dumps(body), self.status, headers, mimetype="application/json")


def bad_request(message: str) -> Refused:
    """A request whose values do not make sense: 400 validation_failed."""
    return Refused(400, "validation_failed", message)


def unexpected(message: str = "Unexpected failure, please check server logs for more information") -> Refused:
    """Something broke on this side: 500, without telling what."""
    return Refused(500, "unexpected_failure", message)


def _is_current(api_version: str | None) -> bool:
    try:
        return date.fromisoformat(api_version or "") >= date.fromisoformat(API_VERSION)
    except ValueError:
        return False
