"""/admin/users: what only the holder of the secret key may do."""

import json
import math
import re
import secrets
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from flask import Response
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from local_supabase.auth_api import emails, passwords, users_json
from local_supabase.auth_api.call import NO_INSTANCE, Call, as_uuid
from local_supabase.auth_api.callers import require_admin
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import user_by_id
from local_supabase.auth_api.users import claim_address, insert_identity

_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def create(call: Call) -> dict[str, Any]:
    """POST /admin/users: a person without a mail; no strength check, a random password if none is given."""
    require_admin(call)
    body = call.body(
        id=str,
        aud=str,
        role=str,
        email=str,
        phone=str,
        password=str,
        password_hash=str,
        email_confirm=bool,
        user_metadata=dict,
        app_metadata=dict,
        ban_duration=str,
    )
    if body["phone"]:
        raise bad_request("Phone numbers are not supported by the embedded Supabase")
    email = (body["email"] or "").lower()
    if not emails.is_valid(email):
        raise bad_request("Cannot create a user without a valid email address")
    user_id = _chosen_id(body["id"])
    password_hash = _chosen_password(body["password"], body["password_hash"])
    ban_seconds = _ban_seconds(body["ban_duration"])
    claim_address(call.connection, email)
    confirmed = body["email_confirm"] is True
    metadata = (body["user_metadata"] or {}) | ({"email_verified": True} if confirmed else {})
    call.connection.execute(
        "insert into auth.users (id, instance_id, aud, role, email, encrypted_password, email_confirmed_at,"
        " banned_until, raw_app_meta_data, raw_user_meta_data, created_at, updated_at) values (%s, %s, %s, %s,"
        " %s, %s, case when %s then now() end, now() + make_interval(secs => %s), %s, %s, now(), now())",
        (
            user_id,
            NO_INSTANCE,
            body["aud"] or "authenticated",
            body["role"] or "authenticated",
            email,
            password_hash,
            confirmed,
            ban_seconds,
            Jsonb({"provider": "email", "providers": ["email"], **(body["app_metadata"] or {})}),
            Jsonb(metadata),
        ),
    )
    identity = {"sub": str(user_id), "email": email, "email_verified": False, "phone_verified": False}
    insert_identity(call.connection, user_id, identity)
    return users_json.of(call.connection, _user(call, str(user_id)))


def list_all(call: Call) -> Response:
    """GET /admin/users?page=&per_page=: newest first, X-Total-Count and Link in the headers."""
    require_admin(call)
    page, per_page = _positive(call, "page", 1), _positive(call, "per_page", 50)
    for unsupported in ("filter", "sort"):
        if call.request.args.get(unsupported):
            raise bad_request(f"{unsupported} is not supported by the embedded Supabase")
    counted = call.connection.execute("select count(*) as total from auth.users").fetchone()
    assert counted is not None
    rows = call.connection.execute(
        "select * from auth.users order by created_at desc, id limit %s offset %s", (per_page, (page - 1) * per_page)
    ).fetchall()
    last = max(1, math.ceil(counted["total"] / per_page))
    links = [_link(call, page + 1, per_page, "next")] if page < last else []
    return Response(
        json.dumps({"users": [users_json.without_relations(row) for row in rows], "aud": "authenticated"}),
        mimetype="application/json",
        headers={
            "X-Total-Count": str(counted["total"]),
            "Link": ", ".join([*links, _link(call, last, per_page, "last")]),
        },
    )


def show(call: Call, user_id: str) -> dict[str, Any]:
    """GET /admin/users/{id}: the user with factors and identities."""
    require_admin(call)
    return users_json.of(call.connection, _user(call, user_id))


def delete(call: Call, user_id: str) -> dict[str, Any]:
    """DELETE /admin/users/{id}: the row and, by cascade, sessions, factors and identities."""
    require_admin(call)
    user = _user(call, user_id)
    # Unlike other bodies this one may be missing.
    if call.request.content_length and call.body(should_soft_delete=bool)["should_soft_delete"]:
        raise bad_request("Soft deletion is not supported by the embedded Supabase")
    call.connection.execute("delete from auth.users where id = %s", (user["id"],))
    return {}


def list_factors(call: Call, user_id: str) -> list[dict[str, Any]]:
    """GET /admin/users/{id}/factors: verified or not."""
    require_admin(call)
    return users_json.factors_of(call.connection, _user(call, user_id))


def _user(call: Call, user_id: str) -> DictRow:
    parsed = as_uuid(user_id)
    if parsed is None:
        raise Refused(404, "validation_failed", "user_id must be an UUID")
    user = user_by_id(call.connection, parsed)
    if user is None:
        raise Refused(404, "user_not_found", "User not found")
    return user


def _chosen_id(text: str | None) -> UUID:
    if text is None:
        return uuid4()
    chosen = as_uuid(text)
    if chosen is None or chosen.int == 0:
        raise bad_request("ID must be a UUID and not nil")
    return chosen


def _chosen_password(password: str | None, password_hash: str | None) -> str:
    if password and password_hash:
        raise bad_request("Only a password or a password hash should be provided")
    if password_hash:
        if not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", password_hash):
            raise bad_request("Only bcrypt hashes are supported by the embedded Supabase")
        return password_hash
    password = password or secrets.token_urlsafe(32)
    passwords.check_length(password)  # upstream: 500
    return passwords.hashed(password)


def _ban_seconds(duration: str | None) -> float | None:
    if duration in (None, "", "none"):
        return None
    if not _GO_DURATION.fullmatch(str(duration)):
        raise bad_request(f"Invalid format for ban duration {duration!r}")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", str(duration))
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _positive(call: Call, name: str, default: int) -> int:
    text = call.request.args.get(name) or str(default)  # the client sends `page=` for "no page"
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise bad_request(f"Bad pagination parameter {name}: {text!r}")
    return int(text)


def _link(call: Call, page: int, per_page: int, relation: str) -> str:
    query = urlencode({"page": page, "per_page": per_page})
    return f'<{call.platform.issuer}/admin/users?{query}>; rel="{relation}"'
