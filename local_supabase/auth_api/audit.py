"""The audit log: who did what. A refused request leaves no entry, as nothing else of it is kept."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from flask import Response
from psycopg.types.json import Json

from local_supabase.auth_api import paging
from local_supabase.auth_api.call import NO_INSTANCE, Call
from local_supabase.auth_api.callers import require_admin
from local_supabase.auth_api.errors import bad_request
from local_supabase.auth_api.users_json import rfc3339

_ACTIONS = {
    "account": "login logout",
    "team": "user_signedup user_invited user_deleted",
    "token": "token_revoked token_refreshed",
    "user": "user_modified user_recovery_requested user_reauthenticate_requested user_confirmation_requested"
    " user_repeated_signup user_updated_password",
    "factor": "factor_in_progress factor_unenrolled challenge_created verification_attempted factor_deleted"
    " factor_updated",
}
LOG_TYPES = {action: log_type for log_type, actions in _ACTIONS.items() for action in actions.split()}
_FILTERS = {"author": ("actor_username", "actor_name"), "action": ("action",), "type": ("log_type",)}


def write(call: Call, actor: Mapping[str, Any], action: str, **traits: Any) -> None:
    """Add an entry in the caller's transaction; `actor` is a row of `users` or what require_admin() gives."""
    payload = {
        "actor_id": str(actor["id"]),
        "actor_via_sso": actor["is_sso_user"],
        "actor_username": actor["phone"] or actor["email"] or "",
        "action": action,
        "log_type": LOG_TYPES[action],
    }
    metadata = actor["raw_user_meta_data"] or {}
    if "full_name" in metadata:
        payload["actor_name"] = metadata["full_name"]
    if traits:
        payload["traits"] = {name: value if value is None else str(value) for name, value in traits.items()}
    call.connection.execute(
        "insert into auth.audit_log_entries (id, instance_id, payload, created_at, ip_address)"
        " values (%s, %s, %s, clock_timestamp(), %s)",
        # Upstream keeps the address of factor events alone.
        (uuid4(), NO_INSTANCE, Json(payload), call.ip if LOG_TYPES[action] == "factor" else ""),
    )


def list_all(call: Call) -> Response:
    """GET /admin/audit?query=author:…|action:…|type:…: the entries, newest first, a page at a time."""
    require_admin(call)
    page = paging.asked(call)
    columns, wanted = _filter(call.request.args.get("query") or "")
    where = " or ".join(f"payload ->> '{column}' ilike %(pattern)s" for column in columns) or "true"
    values = {"pattern": f"%{wanted}%", "limit": page.size, "offset": page.offset}
    counted = call.connection.execute(f"select count(*) as total from auth.audit_log_entries where {where}", values)
    total = counted.fetchone()
    assert total is not None
    rows = call.connection.execute(
        "select id, payload, created_at, ip_address from auth.audit_log_entries"
        f" where {where} order by created_at desc, id limit %(limit)s offset %(offset)s",
        values,
    ).fetchall()
    entries = [{**row, "id": str(row["id"]), "created_at": rfc3339(row["created_at"])} for row in rows]
    return Response(json.dumps(entries), mimetype="application/json", headers=page.headers(call, total["total"]))


def _filter(query: str) -> tuple[tuple[str, ...], str]:
    if not query:
        return (), ""
    scope, colon, wanted = query.partition(":")
    if scope not in _FILTERS or not colon:
        raise bad_request(f"Invalid query scope: {query}")
    return _FILTERS[scope] if wanted else (), wanted
