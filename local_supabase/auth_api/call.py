"""What a handler is given: the platform, the request, and the connection whose transaction the request is."""

import contextlib
import ipaddress
import json
import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Request
from psycopg import Connection
from psycopg.rows import DictRow
from werkzeug.exceptions import RequestEntityTooLarge

from local_supabase import api_keys
from local_supabase.auth_api.errors import Refused
from local_supabase.auth_api.limits import Limit, Limiter
from local_supabase.platform import Platform

BODY_LIMIT_BYTES = 1024 * 1024
NO_INSTANCE = UUID(int=0)  # `instance_id` of every row


@dataclass(frozen=True)
class Call:
    """One request. Everything it writes goes through `connection`, and is committed together or not at all."""

    platform: Platform
    request: Request
    connection: Connection[DictRow]
    limiter: Limiter
    ip: str  # whom the request counts for: limits, challenges, sessions, audit

    def limit(self, limit: Limit) -> None:
        """Raise 429 over_request_rate_limit if this address has asked too often."""
        self.limiter.check(limit, self.ip)

    @property
    def user_agent(self) -> str:
        return self.request.headers.get("User-Agent", "")

    def body(self, **fields: type) -> dict[str, Any]:
        """Return the named members of the JSON body; None for one that is absent or null.

        Names are matched without regard to case, unknown members are ignored.

        Raises:
            Refused: 400 bad_json for no JSON object or a member of the wrong type, 413 above 1 MiB.
        """
        found = {name.lower(): value for name, value in self._json().items()}
        values = {name: found.get(name) for name in fields}
        for name, value in values.items():
            if value is not None and type(value) is not fields[name]:
                raise _bad_json(f"{name} has the wrong type")
        return values

    def _json(self) -> dict[str, Any]:
        self.request.max_content_length = BODY_LIMIT_BYTES
        try:
            parsed = json.loads(self.request.get_data().decode())
        except RequestEntityTooLarge as error:
            raise Refused(413, "request_entity_too_large", "Request body exceeds 1 MiB") from error
        except (ValueError, RecursionError) as error:  # deep nesting overflows the parser
            raise _bad_json("Could not parse request body as JSON") from error
        if not isinstance(parsed, dict):
            raise _bad_json("Request body must be a JSON object")
        if not _storable(parsed):
            raise _bad_json("Request body holds a value that cannot be stored")
        return parsed


def address_of(platform: Platform, request: Request) -> str:
    """Return the peer's address or, from a caller with the secret key, the one it was forwarded for.

    X-Forwarded-For is not believed, and Sb-Forwarded-For not from anybody else: who can choose an address
    escapes the limits and the binding of a challenge to its address (contract 10.2).
    """
    forwarded = request.headers.get("Sb-Forwarded-For", "").partition(",")[0].strip()
    if forwarded and platform.config.sb_forwarded_for and api_keys.has_secret_key(platform, request):
        with contextlib.suppress(ValueError):
            if "%" not in forwarded:  # a zone, which Postgres does not know
                return str(ipaddress.ip_address(forwarded))
    return request.remote_addr or "0.0.0.0"


def as_uuid(text: Any) -> UUID | None:
    """Return `text` as a UUID, or None if it is not one."""
    try:
        return UUID(text)
    except (ValueError, AttributeError, TypeError):
        return None


def _bad_json(message: str) -> Refused:
    return Refused(400, "bad_json", message)


def _storable(value: Any) -> bool:
    """Tell whether Postgres takes `value`: no NUL, no lone surrogate, no number beyond a float."""
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return all(_storable(name) and _storable(member) for name, member in value.items())
    if isinstance(value, list):
        return all(map(_storable, value))
    return not isinstance(value, float) or math.isfinite(value)
