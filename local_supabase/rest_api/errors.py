"""Every way the data API says no: PostgREST's error bodies, and the HTTP status of each SQLSTATE."""

import re
from http.client import responses

import psycopg

from local_supabase.api_keys import BadToken, RejectedClaims


class RestError(Exception):
    """An answer other than success. `code` is a `PGRSTnnn` of PostgREST or a SQLSTATE."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        challenge: str | None = None,
        reason: str | None = None,
    ) -> None:
        """`challenge` becomes `WWW-Authenticate`, `reason` the reason phrase of the status line."""
        super().__init__(message)
        self.status = status
        self.status_line = f"{status} {_header_safe(reason or _phrase(status))}"
        self.body = {"code": code, "message": message, "details": details, "hint": hint}
        self.headers = {"Proxy-Status": f"PostgREST; error={_header_safe(code)}"}
        if challenge:
            self.headers["WWW-Authenticate"] = _header_safe(challenge)


def unparsable(parameter: str, text: str, details: str, *, column: int = 1) -> RestError:
    """A query parameter that is wrong, or that PostgREST knows and this stack was not built to answer."""
    return RestError(
        400, "PGRST100", f'"failed to parse {parameter} ({text})" (line 1, column {column})', details=details
    )


def not_built(what: str) -> RestError:
    """Something PostgREST does and this stack does not: said loudly, so that nobody relies on silence."""
    return RestError(400, "PGRST100", f"{what} is not built into the embedded stack")


def bad_body(message: str) -> RestError:
    return RestError(400, "PGRST102", message)


def not_singular(rows: int) -> RestError:
    return RestError(
        406,
        "PGRST116",
        "Cannot coerce the result to a single JSON object",
        details=f"The result contains {rows} rows",
    )


def range_not_satisfiable(details: str) -> RestError:
    return RestError(416, "PGRST103", "Requested range not satisfiable", details=details)


def from_token(error: BadToken) -> RestError:
    code = "PGRST303" if isinstance(error, RejectedClaims) else "PGRST301"
    challenge = f'Bearer error="invalid_token", error_description="{error}"'
    return RestError(401, code, str(error), challenge=challenge)


def no_connection(error: psycopg.Error) -> RestError:
    message = "Database connection error. Retrying the connection."
    return RestError(503, "PGRST000", message, details=str(error).strip() or None)


def pool_exhausted() -> RestError:
    return RestError(504, "PGRST003", "Timed out acquiring connection from connection pool.")


def from_postgres(error: psycopg.Error, *, role: str) -> RestError:
    """Translate what Postgres said to `role` while it worked on the request."""
    code = error.diag.sqlstate
    if code is None:
        return _from_driver(error)
    message = error.diag.message_primary or ""
    status = _status(code, message, role)
    return RestError(
        status,
        code,
        message,
        details=error.diag.message_detail,
        hint=error.diag.message_hint,
        challenge="Bearer" if status == 401 else None,
        reason=message if code.startswith("PT") and status != 500 else None,
    )


def _from_driver(error: psycopg.Error) -> RestError:
    if isinstance(error, psycopg.DataError):  # psycopg refuses NUL in a parameter, as Postgres would
        return RestError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    message = "Database client error. Retrying the connection."
    return RestError(503, "PGRST001", message, details=str(error).strip() or None)


# The table of PostgREST v14.5 (contract C3). Whole codes first, then classes: the first match counts.
_STATUS_BY_SQLSTATE = {
    "23503": 409, "23505": 409, "25006": 405, "42883": 404, "42P01": 404, "42P17": 500, "53400": 500,
    "57P01": 503, "P0001": 400,
    "08": 503, "09": 500, "0L": 403, "0P": 403, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500,
    "3B": 500, "40": 500, "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500,
    "P0": 500, "XX": 500,
}  # fmt: skip


def _status(code: str, message: str, role: str) -> int:
    if code == "42501":
        return 401 if role == "anon" else 403
    if code == "21000":
        return 400 if message.endswith("requires a WHERE clause") else 500
    if code == "22023":
        return 401 if message.startswith("role") and message.endswith("does not exist") else 400
    if code.startswith("PT"):
        # `raise sqlstate 'PT403'` chooses the status. Below 200 is no answer to a request.
        return int(code[2:]) if re.fullmatch("[2-9][0-9][0-9]", code[2:]) else 500
    return _STATUS_BY_SQLSTATE.get(code) or _STATUS_BY_SQLSTATE.get(code[:2], 400)


def _phrase(status: int) -> str:
    return responses.get(status, "Unknown")


def _header_safe(text: str) -> str:
    """A line break in a message raised from SQL would otherwise let it write headers of its own."""
    return re.sub(r"[^ -~]", "?", text)[:200]
