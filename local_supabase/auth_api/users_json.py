"""People, identities and factors as the wire shows them. What is not named here does not leave the database."""

from datetime import UTC, datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

_TIMES = (
    "email_confirmed_at phone_confirmed_at confirmed_at invited_at confirmation_sent_at recovery_sent_at"
    " email_change_sent_at phone_change_sent_at reauthentication_sent_at last_sign_in_at banned_until deleted_at"
).split()


def of(connection: Connection[DictRow], user: DictRow) -> dict[str, Any]:
    """Return the User JSON with factors of any status and identities."""
    identities = connection.execute(
        "select * from auth.identities where user_id = %s order by created_at", (user["id"],)
    ).fetchall()
    shown = without_relations(user) | {"identities": [_identity(row) for row in identities]}
    factors = factors_of(connection, user)
    return shown | {"factors": factors} if factors else shown


def without_relations(user: DictRow) -> dict[str, Any]:
    """Return the User JSON as the admin list has it: no factors, identities null."""
    shown = {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": None,
        "created_at": rfc3339(user["created_at"]),
        "updated_at": rfc3339(user["updated_at"]),
        "is_anonymous": user["is_anonymous"],
    }
    shown |= {name: rfc3339(user[name]) for name in _TIMES if user.get(name)}
    pending = {"new_email": user.get("email_change"), "new_phone": user.get("phone_change")}
    return shown | {name: address for name, address in pending.items() if address}


def factors_of(connection: Connection[DictRow], user: DictRow) -> list[dict[str, Any]]:
    """Return the Factor JSON of each of the user's factors, verified or not, oldest first."""
    rows = connection.execute(
        "select id, created_at, updated_at, status, friendly_name, factor_type, phone, last_challenged_at,"
        " web_authn_aaguid from auth.mfa_factors where user_id = %s order by created_at",
        (user["id"],),
    ).fetchall()
    return [factor(row) for row in rows]


def rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _identity(row: DictRow) -> dict[str, Any]:
    shown = {
        "identity_id": str(row["id"]),
        "id": row["provider_id"],
        "user_id": str(row["user_id"]),
        "identity_data": row["identity_data"],
        "provider": row["provider"],
        "created_at": rfc3339(row["created_at"]),
        "updated_at": rfc3339(row["updated_at"]),
    }
    if row["last_sign_in_at"]:
        shown["last_sign_in_at"] = rfc3339(row["last_sign_in_at"])
    if row["email"]:
        shown["email"] = row["email"]
    return shown


def factor(row: DictRow) -> dict[str, Any]:
    """Return the Factor JSON of a row of `mfa_factors`; its secret is not in it."""
    shown = {
        "id": str(row["id"]),
        "created_at": rfc3339(row["created_at"]),
        "updated_at": rfc3339(row["updated_at"]),
        "status": row["status"],
        "factor_type": row["factor_type"],
        "phone": row["phone"] or "",
        "last_challenged_at": rfc3339(row["last_challenged_at"]) if row["last_challenged_at"] else None,
    }
    if row["friendly_name"]:
        shown["friendly_name"] = row["friendly_name"]
    if row["web_authn_aaguid"]:
        shown["web_authn_aaguid"] = str(row["web_authn_aaguid"])
    return shown
