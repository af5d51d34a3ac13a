"""Signing up: with a password, or by a mailed link alone."""

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from psycopg.rows import DictRow

from local_supabase.auth_api import audit, emails, limits, mails, passwords, pkce, sessions, users, users_json
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.pkce import Challenge
from local_supabase.auth_api.rows import existing_user, user_by_email


def sign_up(call: Call) -> dict[str, Any]:
    """POST /signup: the User JSON and a confirmation mail, or the token response where none is asked for.

    A confirmed address gets a made-up user and an unconfirmed one its mail again; neither is changed, so
    nobody can set the password of an account that somebody else has begun.
    """
    email, password, data, challenge = _form(call)
    # For every address alike, or the delay tells which are taken.
    password_hash = passwords.hashed(call.platform.config, password)
    users.lock_address(call.connection, email)
    user = user_by_email(call.connection, email, lock=True)
    if (user and user["email_confirmed_at"]) or (user is None and users.is_taken(call.connection, email)):
        if not call.platform.config.enable_confirmations:
            raise Refused(422, "user_already_exists", "User already registered")
        if user:
            audit.write(call, user, "user_repeated_signup", provider="email")
        return _made_up(email, data)
    user = user or _begun(call, email, password_hash, data)
    if user["email_confirmed_at"]:
        audit.write(call, user, "login", provider="email")
        return sessions.start(call, user["id"], method="password")
    audit.write(call, user, "user_confirmation_requested", provider="email")
    mails.send_link(call, user, mails.CONFIRMATION, challenge)
    shown = users_json.of(call.connection, existing_user(call.connection, user["id"]))
    # What an admin wrote about somebody invited is not for whoever types the address here.
    return shown | {"user_metadata": {}, "identities": []} if user["invited_at"] else shown


def with_link(call: Call, email: str, data: dict[str, Any], challenge: Challenge | None) -> None:
    """Mail a link to sign in with; who is new, or not confirmed yet, confirms the address with it.

    Raises:
        Refused: 422 signup_disabled, 429 over_email_send_rate_limit.
    """
    password_hash = passwords.hashed(call.platform.config, secrets.token_urlsafe(32))  # for every address, as above
    users.lock_address(call.connection, email)
    user = user_by_email(call.connection, email, lock=True)
    if user is None or user["email_confirmed_at"] is None:
        _check_is_open(call)
        user = user or _begun(call, email, password_hash, data)
    if user["email_confirmed_at"]:
        audit.write(call, user, "user_recovery_requested")
        mails.send_link(call, user, mails.MAGIC_LINK, challenge)
    else:
        audit.write(call, user, "user_confirmation_requested", provider="email")
        mails.send_link(call, user, mails.CONFIRMATION, challenge)


def _form(call: Call) -> tuple[str, str, dict[str, Any], Challenge | None]:
    """Return address (lower case), password, metadata and PKCE challenge, in the check order of contract 3.2."""
    body = call.body(email=str, phone=str, password=str, data=dict, code_challenge=str, code_challenge_method=str)
    if not body["email"] and not body["phone"]:
        raise Refused(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    call.limit(limits.SIGN_UP)
    _check_is_open(call)
    if not body["password"]:
        raise bad_request("Signup requires a valid password")
    passwords.check_strength(call.platform.config, body["password"])
    if body["email"] and body["phone"]:
        raise bad_request("Only an email address or phone number should be provided on signup.")
    challenge = pkce.challenge_in(body)
    if body["phone"]:
        raise Refused(400, "phone_provider_disabled", "Phone signups are disabled")
    if not emails.is_valid(body["email"]):
        raise bad_request(emails.INVALID)
    return body["email"].lower(), body["password"], body["data"] or {}, challenge


def _check_is_open(call: Call) -> None:
    if not call.platform.config.enable_signup:
        raise Refused(422, "signup_disabled", "Signups not allowed for this instance")


def _begun(call: Call, email: str, password_hash: str, data: dict[str, Any]) -> DictRow:
    confirmed = not call.platform.config.enable_confirmations
    user_id = users.insert(call.connection, email=email, password_hash=password_hash, data=data, confirmed=confirmed)
    user = existing_user(call.connection, user_id)
    if confirmed:
        audit.write(call, user, "user_signedup", provider="email")
    return user


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
        "app_metadata": users.BY_EMAIL,
        "user_metadata": data,
        "identities": [],
        "created_at": now,
        "updated_at": now,
        "is_anonymous": False,
    }
