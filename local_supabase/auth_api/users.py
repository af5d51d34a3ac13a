"""People: signing up, and reading and changing one's own account."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from local_supabase.auth_api import emails, mails, one_time_tokens, passwords, redirects, sessions, users_json
from local_supabase.auth_api.call import NO_INSTANCE, Call
from local_supabase.auth_api.callers import signed_in
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import has_verified_factor, user_by_email, user_by_id
from local_supabase.platform import Platform

_BY_EMAIL = {"provider": "email", "providers": ["email"]}


def sign_up(call: Call) -> dict[str, Any]:
    """POST /signup: the User JSON and a confirmation mail, or the token response where none is asked for.

    A confirmed address gets a made-up user and an unconfirmed one its mail again; neither is changed, so
    nobody can set the password of an account that somebody else has begun.
    """
    email, password, data = _sign_up_form(call)
    password_hash = passwords.hashed(password)  # for every address alike, or the delay tells which are taken
    _lock_address(call.connection, email)
    user = user_by_email(call.connection, email)
    if (user and user["email_confirmed_at"]) or (user is None and _is_taken(call.connection, email)):
        if not call.platform.config.enable_confirmations:
            raise Refused(422, "user_already_exists", "User already registered")
        return _made_up(email, data)
    if user is None:
        if not call.platform.config.enable_confirmations:
            user_id = _insert(call.connection, email=email, password_hash=password_hash, data=data, confirmed=True)
            return sessions.start(call, user_id, method="password")
        user_id = _insert(call.connection, email=email, password_hash=password_hash, data=data, confirmed=False)
        user = _user(call.connection, user_id)
    _send_confirmation(call, user)
    return users_json.of(call.connection, _user(call.connection, user["id"]))


def show(call: Call) -> dict[str, Any]:
    """GET /user: the account as it is now, not as the token remembers it."""
    caller = signed_in(call)
    audience = caller.claims.get("aud")
    if "authenticated" not in (audience if isinstance(audience, list) else [audience]):
        raise bad_request("Token audience doesn't match request audience")
    return users_json.of(call.connection, caller.user)


def change(call: Call) -> dict[str, Any]:
    """PUT /user: password and user_metadata, in the check order of contract 3.8."""
    caller = signed_in(call, lock=True)
    user = caller.user
    body = call.body(email=str, phone=str, password=str, data=dict, app_metadata=dict)
    if body["email"] and not emails.is_valid(body["email"]):
        raise bad_request(emails.INVALID)
    password = body["password"]
    if password is not None:
        passwords.check_strength(call.platform.config, password)
    if body["app_metadata"] is not None:
        raise Refused(403, "not_admin", "Updating app_metadata is only allowed for admins")
    new_email = bool(body["email"]) and body["email"].lower() != user["email"]
    new_phone = bool(body["phone"]) and body["phone"] != user["phone"]
    sets_credentials = password is not None or new_email or new_phone
    if sets_credentials and caller.needs_second_factor() and has_verified_factor(call.connection, user["id"]):
        raise Refused(401, "insufficient_aal", "AAL2 session is required to update email or password")
    if new_email or new_phone:
        raise bad_request("Changing the email address or phone number is not supported by the embedded Supabase")
    if password is not None:
        if passwords.is_right(password, user["encrypted_password"]):
            raise Refused(422, "same_password", "New password should be different from the old password.")
        set_password(call, user, password, keep_session=caller.session["id"] if caller.session else None)
    if body["data"] is not None:
        _merge_metadata(call.connection, user, body["data"])
    return users_json.of(call.connection, _user(call.connection, user["id"]))


def set_password(call: Call, user: DictRow, password: str, *, keep_session: UUID | None) -> None:
    """Store the password and end what an attacker may hold: other sessions, and every link and digit mailed."""
    call.connection.execute(
        "update auth.users set encrypted_password = %s, updated_at = now(), confirmation_sent_at = null,"
        " recovery_sent_at = null, email_change_sent_at = null, phone_change_sent_at = null,"
        " reauthentication_sent_at = null where id = %s",
        (passwords.hashed(password), user["id"]),
    )
    one_time_tokens.forget(call.connection, user)
    sessions.end_others(call, user["id"], keep=keep_session)


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
    return str(_insert(connection, email=email, password_hash=passwords.hashed(password), data={}, confirmed=confirmed))


def claim_address(connection: Connection[DictRow], email: str) -> None:
    """Hold `email` until the transaction ends.

    Raises:
        Refused: 422 email_exists if somebody has it.
    """
    _lock_address(connection, email)
    if _is_taken(connection, email):
        raise Refused(422, "email_exists", "A user with this email address has already been registered")


def insert_identity(connection: Connection[DictRow], user_id: UUID, identity_data: dict[str, Any]) -> None:
    """Store the identity that an e-mail address gives its user."""
    connection.execute(
        "insert into auth.identities"
        " (id, provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)"
        " values (%s, %s, %s, %s, 'email', now(), now(), now())",
        (uuid4(), str(user_id), user_id, Jsonb(identity_data)),
    )


def _sign_up_form(call: Call) -> tuple[str, str, dict[str, Any]]:
    """Return address (lower case), password and metadata, in the check order of contract 3.2."""
    body = call.body(email=str, phone=str, password=str, data=dict, code_challenge=str, code_challenge_method=str)
    if not body["email"] and not body["phone"]:
        raise Refused(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    if not call.platform.config.enable_signup:
        raise Refused(422, "signup_disabled", "Signups not allowed for this instance")
    if not body["password"]:
        raise bad_request("Signup requires a valid password")
    passwords.check_strength(call.platform.config, body["password"])
    if body["email"] and body["phone"]:
        raise bad_request("Only an email address or phone number should be provided on signup.")
    if body["code_challenge"] or body["code_challenge_method"]:
        raise bad_request("PKCE is not supported by the embedded Supabase: use flow_type implicit")
    if body["phone"]:
        raise Refused(400, "phone_provider_disabled", "Phone signups are disabled")
    if not emails.is_valid(body["email"]):
        raise bad_request(emails.INVALID)
    return body["email"].lower(), body["password"], body["data"] or {}


def _lock_address(connection: Connection[DictRow], email: str) -> None:
    """Make two sign-ups with one address wait for each other; the unique index would fail the second with a 500."""
    connection.execute("select pg_advisory_xact_lock(hashtext('auth.users.email'), hashtext(%s))", (email,))


def _is_taken(connection: Connection[DictRow], email: str) -> bool:
    found = connection.execute(
        "select from auth.users where email = %(email)s and not is_sso_user"
        " union all select from auth.identities where email = %(email)s limit 1",
        {"email": email},
    )
    return found.fetchone() is not None


def _insert(
    connection: Connection[DictRow], *, email: str, password_hash: str, data: dict[str, Any], confirmed: bool
) -> UUID:
    user_id = uuid4()
    known = {"sub": str(user_id), "email": email, "email_verified": confirmed, "phone_verified": False}
    connection.execute(
        "insert into auth.users (id, instance_id, aud, role, email, encrypted_password, email_confirmed_at,"
        " raw_app_meta_data, raw_user_meta_data, created_at, updated_at) values (%s, %s, 'authenticated',"
        " 'authenticated', %s, %s, case when %s then now() end, %s, %s, now(), now())",
        (user_id, NO_INSTANCE, email, password_hash, confirmed, Jsonb(_BY_EMAIL), Jsonb({**data, **known})),
    )
    insert_identity(connection, user_id, known)
    return user_id


def _send_confirmation(call: Call, user: DictRow) -> None:
    made = one_time_tokens.make(call, user, one_time_tokens.CONFIRMATION)
    mails.send_link(
        call,
        user=user,
        kind="confirmation",
        verify_type="signup",
        token=made.digits,
        token_hash=made.token_hash,
        redirect_to=redirects.target(call.platform.config, call.request),
    )


def _made_up(email: str, data: dict[str, Any]) -> dict[str, Any]:
    """The user that a taken address is answered with: a real one's shape, nothing of the real one in it.

    `identities` is empty; apps use that to tell "already registered", as with the real server.
    """
    now = users_json.rfc3339(datetime.now(UTC))
    return {
        "id": str(uuid4()),
        "aud": "authenticated",
        "role": "",
        "email": email,
        "phone": "",
        "confirmation_sent_at": now,
        "app_metadata": _BY_EMAIL,
        "user_metadata": data,
        "identities": [],
        "created_at": now,
        "updated_at": now,
        "is_anonymous": False,
    }


def _merge_metadata(connection: Connection[DictRow], user: DictRow, data: dict[str, Any]) -> None:
    merged = (user["raw_user_meta_data"] or {}) | data
    kept = {name: value for name, value in merged.items() if value is not None}
    connection.execute(
        "update auth.users set raw_user_meta_data = %s, updated_at = now() where id = %s", (Jsonb(kept), user["id"])
    )


def _user(connection: Connection[DictRow], user_id: UUID) -> DictRow:
    user = user_by_id(connection, user_id)
    assert user is not None  # written in this very transaction
    return user
