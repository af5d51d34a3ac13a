"""The rows of people: made, and changed in the ways that more than one endpoint needs."""

from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from local_supabase.auth_api import emails, one_time_tokens, passwords, sessions
from local_supabase.auth_api.call import NO_INSTANCE, Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.platform import Platform

BY_EMAIL = {"provider": "email", "providers": ["email"]}


def create_user(
    connection: Connection[DictRow], platform: Platform, *, email: str, password: str, confirmed: bool
) -> str:
    """Store a user as a sign-up would, without a mail, and return the id.

    Raises:
        Refused: the address is malformed or taken, or the password is too weak.
    """
    email = email.lower()
    if not emails.is_valid(email):
        raise bad_request(emails.INVALID)
    passwords.check_strength(platform.config, password)
    claim_address(connection, email)
    password_hash = passwords.hashed(platform.config, password)
    return str(insert(connection, email=email, password_hash=password_hash, data={}, confirmed=confirmed))


def insert(
    connection: Connection[DictRow], *, email: str, password_hash: str | None, data: dict[str, Any], confirmed: bool
) -> UUID:
    """Store a user with this address, lower case and known to be free, and its identity."""
    user_id = uuid4()
    known = {"sub": str(user_id), "email": email, "email_verified": confirmed, "phone_verified": False}
    connection.execute(
        "insert into auth.users (id, instance_id, aud, role, email, encrypted_password, email_confirmed_at,"
        " raw_app_meta_data, raw_user_meta_data, created_at, updated_at) values (%s, %s, 'authenticated',"
        " 'authenticated', %s, %s, case when %s then now() end, %s, %s, now(), now())",
        (user_id, NO_INSTANCE, email, password_hash, confirmed, Jsonb(BY_EMAIL), Jsonb({**data, **known})),
    )
    insert_identity(connection, user_id, known)
    return user_id


def insert_identity(connection: Connection[DictRow], user_id: UUID, identity_data: dict[str, Any]) -> None:
    """Store the identity that an e-mail address gives its user."""
    connection.execute(
        "insert into auth.identities"
        " (id, provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)"
        " values (%s, %s, %s, %s, 'email', now(), now(), now())",
        (uuid4(), str(user_id), user_id, Jsonb(identity_data)),
    )


def claim_address(connection: Connection[DictRow], email: str, *, user_id: UUID | None = None) -> None:
    """Hold `email` until the transaction ends, for a new user or the one with `user_id`.

    Raises:
        Refused: 422 email_exists if somebody else has it.
    """
    lock_address(connection, email)
    if is_taken(connection, email, besides=user_id):
        raise Refused(422, "email_exists", "A user with this email address has already been registered")


def lock_address(connection: Connection[DictRow], email: str) -> None:
    """Make two sign-ups with one address wait for each other; the unique index would fail the second with a 500."""
    connection.execute("select pg_advisory_xact_lock(hashtext('auth.users.email'), hashtext(%s))", (email,))


def is_taken(connection: Connection[DictRow], email: str, *, besides: UUID | None = None) -> bool:
    """Tell whether somebody has `email`; the user `besides` does not count."""
    found = connection.execute(
        "select from auth.users where email = %(email)s and not is_sso_user and id is distinct from %(besides)s"
        " union all select from auth.identities where email = %(email)s and user_id is distinct from %(besides)s"
        " limit 1",
        {"email": email, "besides": besides},
    )
    return found.fetchone() is not None


def confirm(connection: Connection[DictRow], user: DictRow) -> None:
    """Write down that the user's address was proven; what was mailed to it before no longer counts."""
    one_time_tokens.forget(connection, user)
    connection.execute(
        "update auth.users set email_confirmed_at = coalesce(email_confirmed_at, now()), updated_at = now(),"
        " raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || '{\"email_verified\": true}' where id = %s",
        (user["id"],),
    )


def verify_identity(connection: Connection[DictRow], user: DictRow) -> None:
    """Write down in the identity, too, that its owner has read the mail; an admin's word does not."""
    connection.execute(
        "update auth.identities set identity_data = identity_data || '{\"email_verified\": true}',"
        " updated_at = now() where user_id = %s and provider = 'email' and email = %s",
        (user["id"], user["email"]),
    )


def set_address(connection: Connection[DictRow], user: DictRow, email: str, *, verified: bool) -> None:
    """Give the user and its identity another address, known to be free."""
    connection.execute("update auth.users set email = %s, updated_at = now() where id = %s", (email, user["id"]))
    data = {"email": email, "email_verified": verified}
    changed = connection.execute(
        "update auth.identities set identity_data = identity_data || %s, updated_at = now()"
        " where user_id = %s and provider = 'email'",
        (Jsonb(data), user["id"]),
    )
    if changed.rowcount == 0:
        insert_identity(connection, user["id"], {"sub": str(user["id"]), "phone_verified": False, **data})


def set_password(call: Call, user: DictRow, password: str, *, keep_session: UUID | None) -> None:
    """Store the password and end what an attacker may hold: other sessions, and every link and digit mailed."""
    call.connection.execute(
        "update auth.users set encrypted_password = %s, updated_at = now(), confirmation_sent_at = null,"
        " recovery_sent_at = null, email_change_sent_at = null, phone_change_sent_at = null,"
        " reauthentication_sent_at = null where id = %s",
        (passwords.hashed(call.platform.config, password), user["id"]),
    )
    one_time_tokens.forget(call.connection, user)
    sessions.end_others(call, user["id"], keep=keep_session)


def merge_metadata(connection: Connection[DictRow], user: DictRow, column: str, data: dict[str, Any]) -> None:
    """Merge `data` into raw_user_meta_data or raw_app_meta_data, key by key; null deletes one."""
    assert column in ("raw_user_meta_data", "raw_app_meta_data")
    merged = (user[column] or {}) | data
    kept = {name: value for name, value in merged.items() if value is not None}
    connection.execute(
        f"update auth.users set {column} = %s, updated_at = now() where id = %s", (Jsonb(kept), user["id"])
    )
