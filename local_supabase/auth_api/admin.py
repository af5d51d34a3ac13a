"""/admin/users: what only the holder of the secret key may do."""

import base64
import hashlib
import json
import re
import secrets
from typing import Any
from uuid import UUID, uuid4

from flask import Response
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from local_supabase.auth_api import audit, emails, factors, one_time_tokens, paging, passwords, users, users_json
from local_supabase.auth_api.call import NO_INSTANCE, Call, as_uuid
from local_supabase.auth_api.callers import require_admin
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import existing_user, user_by_id
from local_supabase.platform import Config

_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_BAN_SECONDS = 9_223_372_036  # what a Go duration can hold, 292 years


def create(call: Call) -> dict[str, Any]:
    """POST /admin/users: a person without a mail; no strength check, a random password if none is given."""
    admin = require_admin(call)
    body = _attributes(call)
    if body["phone"]:
        raise _no_phones()
    email = (body["email"] or "").lower()
    if not emails.is_valid(email):
        raise bad_request("Cannot create a user without a valid email address")
    user_id = _chosen_id(body["id"])
    password_hash = _chosen_password(call.platform.config, body["password"], body["password_hash"])
    ban = body["ban_duration"]
    ban_seconds = _seconds(ban) if ban else None
    users.claim_address(call.connection, email)
    call.connection.execute(
        "insert into auth.users (id, instance_id, aud, role, email, encrypted_password,"
        " raw_app_meta_data, raw_user_meta_data, created_at, updated_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, now(), now())",
        (
            user_id,
            NO_INSTANCE,
            body["aud"] or "authenticated",
            body["role"] or "authenticated",
            email,
            password_hash,
            Jsonb(users.BY_EMAIL),
            Jsonb(body["user_metadata"] or {}),
        ),
    )
    identity = {"sub": str(user_id), "email": email, "email_verified": False, "phone_verified": False}
    users.insert_identity(call.connection, user_id, identity)
    user = existing_user(call.connection, user_id)
    audit.write(call, admin, "user_signedup", user_id=user_id, user_email=email, user_phone="", provider="email")
    if body["app_metadata"]:
        users.merge_metadata(call.connection, user, "raw_app_meta_data", body["app_metadata"])
    if body["email_confirm"]:
        users.confirm(call.connection, user)
    if ban_seconds is not None:
        _ban(call, user, ban_seconds)
    return users_json.of(call.connection, existing_user(call.connection, user_id))


def list_all(call: Call) -> Response:
    """GET /admin/users?page=&per_page=&filter=&sort=: newest first, X-Total-Count and Link in the headers."""
    require_admin(call)
    order = _order(call)
    page = paging.asked(call)
    where = sql.SQL(
        "where instance_id = %(instance)s and aud = 'authenticated' and"
        " (%(filter)s = '' or email like %(pattern)s or raw_user_meta_data ->> 'full_name' ilike %(pattern)s)"
    )
    wanted = call.request.args.get("filter", "")
    values = {"instance": NO_INSTANCE, "filter": wanted, "pattern": f"%{wanted}%", "limit": page.size}
    count = sql.SQL("select count(*) as total from auth.users {where}").format(where=where)
    counted = call.connection.execute(count, values).fetchone()
    assert counted is not None
    select = sql.SQL("select * from auth.users {where} order by {order}, id limit %(limit)s offset %(offset)s")
    rows = call.connection.execute(
        select.format(where=where, order=order), {**values, "offset": page.offset}
    ).fetchall()
    return Response(
        json.dumps({"users": [users_json.without_relations(row) for row in rows], "aud": "authenticated"}),
        mimetype="application/json",
        headers=page.headers(call, counted["total"]),
    )


def show(call: Call, user_id: str) -> dict[str, Any]:
    """GET /admin/users/{id}: the user with factors and identities."""
    require_admin(call)
    return users_json.of(call.connection, _user(call, user_id))


def change(call: Call, user_id: str) -> dict[str, Any]:
    """PUT /admin/users/{id}: set at once, nothing mailed; a new password ends every session of the person."""
    admin = require_admin(call)
    user = _user(call, user_id, lock=True)
    body = _attributes(call)
    email = (body["email"] or "").lower()
    if body["phone"]:
        raise _no_phones()
    if email and not emails.is_valid(email):
        raise bad_request(emails.INVALID)
    ban = body["ban_duration"]
    ban_seconds = _seconds(ban) if ban else None
    if body["password"] is not None:
        passwords.check_strength(call.platform.config, body["password"])
    if body["role"]:
        call.connection.execute("update auth.users set role = %s where id = %s", (body["role"], user["id"]))
    if body["email_confirm"]:
        users.confirm(call.connection, user)
    if body["password"] is not None:
        users.set_password(call, user, body["password"], keep_session=None)
    if email:
        users.claim_address(call.connection, email, user_id=user["id"])  # upstream: 500 from the index
        users.set_address(call.connection, user, email, verified=body["email_confirm"] is True)
    for column, data in (
        ("raw_app_meta_data", body["app_metadata"]),
        ("raw_user_meta_data", body["user_metadata"]),
    ):
        if data is not None:
            users.merge_metadata(call.connection, existing_user(call.connection, user["id"]), column, data)
    if ban_seconds is not None:
        _ban(call, user, ban_seconds)
    audit.write(call, admin, "user_modified", user_id=user["id"], user_email=email or user["email"], user_phone="")
    return users_json.of(call.connection, existing_user(call.connection, user["id"]))


def delete(call: Call, user_id: str) -> dict[str, Any]:
    """DELETE /admin/users/{id}: the row and, by cascade, sessions, factors and identities.

    Softly, the row stays, with hashes in the place of what says who it was.
    """
    admin = require_admin(call)
    user = _user(call, user_id, lock=True)
    # Unlike other bodies this one may be missing.
    softly = bool(call.request.content_length) and call.body(should_soft_delete=bool)["should_soft_delete"]
    audit.write(call, admin, "user_deleted", user_id=user["id"], user_email=user["email"], user_phone="")
    if not softly:
        call.connection.execute("delete from auth.users where id = %s", (user["id"],))
    elif user["deleted_at"] is None:
        _erase(call, user)
    return {}


def list_factors(call: Call, user_id: str) -> list[dict[str, Any]]:
    """GET /admin/users/{id}/factors: verified or not."""
    require_admin(call)
    return users_json.factors_of(call.connection, _user(call, user_id))


def delete_factor(call: Call, user_id: str, factor_id: str) -> dict[str, Any]:
    """DELETE /admin/users/{id}/factors/{fid}: as the owner would, but without having to prove anything."""
    require_admin(call)
    user = _user(call, user_id, lock=True)
    factor = factors.owned(call, user, factor_id)
    factors.remove(call, factor)
    audit.write(call, user, "factor_deleted", user_id=user["id"], factor_id=factor["id"])
    return users_json.factor(factor)


def change_factor(call: Call, user_id: str, factor_id: str) -> dict[str, Any]:
    """PUT /admin/users/{id}/factors/{fid}: another name. Only an admin can give one."""
    admin = require_admin(call)
    user = _user(call, user_id, lock=True)
    factor = factors.owned(call, user, factor_id)
    name = call.body(friendly_name=str, phone=str)["friendly_name"]
    if name:
        if factors.has_name(call, user, name, besides=factor["id"]):  # upstream: 500 from the index
            raise Refused(422, "mfa_factor_name_conflict", f"A factor with the friendly name {name!r} already exists")
        call.connection.execute(
            "update auth.mfa_factors set friendly_name = %s, updated_at = now() where id = %s", (name, factor["id"])
        )
    traits = {"user_id": user["id"], "factor_id": factor["id"], "factor_type": factor["factor_type"]}
    audit.write(call, admin, "factor_updated", **traits)
    return users_json.factor(factors.owned(call, user, factor_id))


def _attributes(call: Call) -> dict[str, Any]:
    return call.body(
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


def _user(call: Call, user_id: str, *, lock: bool = False) -> DictRow:
    parsed = as_uuid(user_id)
    if parsed is None:
        raise Refused(404, "validation_failed", "user_id must be an UUID")
    user = user_by_id(call.connection, parsed, lock=lock)
    if user is None:
        raise Refused(404, "user_not_found", "User not found")
    return user


def _order(call: Call) -> sql.SQL:
    """`sort` is "created_at", "created_at asc" or "created_at desc"."""
    wanted = call.request.args.get("sort") or "created_at"
    match wanted.lower().split(" ", 1):
        case ["created_at"] | ["created_at", "desc"]:
            return sql.SQL("created_at desc")
        case ["created_at", "asc"]:
            return sql.SQL("created_at asc")
        case _:
            raise bad_request(f"Bad Sort Parameters: {wanted!r}")


def _chosen_id(text: str | None) -> UUID:
    if not text:
        return uuid4()
    chosen = as_uuid(text)
    if chosen is None or chosen.int == 0:
        raise bad_request("ID must be a UUID and not nil")
    return chosen


def _chosen_password(config: Config, password: str | None, password_hash: str | None) -> str:
    if password and password_hash:
        raise bad_request("Only a password or a password hash should be provided")
    if password_hash:
        if not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", password_hash):
            raise bad_request("Only bcrypt hashes are supported by the embedded Supabase")
        return password_hash
    password = password or secrets.token_urlsafe(32)
    passwords.check_length(password)  # upstream: 500
    return passwords.hashed(config, password)


def _seconds(duration: str) -> float:
    """Seconds of a Go duration such as "2h45m"; 0 for "none"."""
    if duration == "none":
        return 0
    if not _GO_DURATION.fullmatch(duration):
        raise bad_request(f"Invalid format for ban duration {duration!r}")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", duration)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_BAN_SECONDS:
        raise bad_request(f"Invalid format for ban duration {duration!r}")
    return seconds


def _ban(call: Call, user: DictRow, seconds: float) -> None:
    """Ban for `seconds` from now; 0 lifts it. No session ends, as upstream: they are refused one by one."""
    call.connection.execute(
        "update auth.users set banned_until = case when %(seconds)s > 0 then now() + make_interval(secs => %(seconds)s)"
        " end, updated_at = now() where id = %(id)s",
        {"seconds": seconds, "id": user["id"]},
    )


def _erase(call: Call, user: DictRow) -> None:
    connection, user_id = call.connection, user["id"]
    one_time_tokens.forget(connection, user)
    connection.execute(
        "update auth.users set email = %s, phone = %s, email_change = %s, phone_change = %s, encrypted_password = null,"
        " raw_user_meta_data = '{}', raw_app_meta_data = '{}', deleted_at = now(), updated_at = now() where id = %s",
        (
            _hidden(user_id, user["email"] or ""),
            _hidden(user_id, user["phone"] or "")[:15],
            _hidden(user_id, user["email_change"] or ""),
            _hidden(user_id, user["phone_change"] or "")[:15],
            user_id,
        ),
    )
    identities = connection.execute("select * from auth.identities where user_id = %s", (user_id,)).fetchall()
    for identity in identities:
        connection.execute(
            "update auth.identities set identity_data = '{}', provider_id = %s where id = %s",
            (_hidden(user_id, f"{identity['provider']}:{identity['provider_id']}"), identity["id"]),
        )
    for table in ("sessions", "mfa_factors", "webauthn_credentials"):
        connection.execute(
            sql.SQL("delete from {} where user_id = %s").format(sql.Identifier("auth", table)), (user_id,)
        )


def _hidden(user_id: UUID, text: str) -> str:
    """What stands for `text` after a soft deletion: unique, and known again only by who knows it anyway."""
    digest = hashlib.sha256(f"{user_id}{text}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _no_phones() -> Refused:
    return bad_request("Phone numbers are not supported by the embedded Supabase")
