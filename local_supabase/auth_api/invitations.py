"""What an admin has mailed, or made to be mailed by the app: invitations, and links of every kind."""

import secrets
from typing import Any

from psycopg.rows import DictRow

from local_supabase.auth_api import (
    audit,
    email_change,
    emails,
    mails,
    one_time_tokens,
    passwords,
    redirects,
    users,
    users_json,
)
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.callers import require_admin
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.one_time_tokens import EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW, Kind, Made
from local_supabase.auth_api.rows import existing_user, user_by_email

_EXISTS = "A user with this email address has already been registered"


def invite(call: Call) -> dict[str, Any]:
    """POST /invite: a person without a password, and a mail that lets them confirm and choose one."""
    admin = require_admin(call)
    body = call.body(email=str, data=dict)
    user = _invited(call, admin, emails.normalized(body["email"]), body["data"] or {})
    made = one_time_tokens.make(call, user, one_time_tokens.CONFIRMATION)  # admins may send as often as they like
    mails.send(call, user, mails.INVITATION, made)
    return users_json.of(call.connection, existing_user(call.connection, user["id"]))


def generate_link(call: Call) -> dict[str, Any]:
    """POST /admin/generate_link: what a mail would hold, in the answer instead of a mail; no interval, no PKCE."""
    admin = require_admin(call)
    body = call.body(type=str, email=str, new_email=str, password=str, data=dict, redirect_to=str)
    email, data = emails.normalized(body["email"]), body["data"] or {}
    user = user_by_email(call.connection, email, lock=True)
    match body["type"]:
        case "signup":
            return _link(call, body, _signed_up(call, user, email, body["password"], data), mails.CONFIRMATION)
        case "magiclink" if user is None:
            # As upstream: an unknown address becomes a user, and the link confirms it.
            user = _signed_up(call, user, email, secrets.token_urlsafe(32), data)
            return _link(call, body, user, mails.CONFIRMATION)
        case "invite":
            return _link(call, body, _invited(call, admin, email, data), mails.INVITATION)
        case "magiclink":
            return _recovery_link(call, body, user, mails.MAGIC_LINK)
        case "recovery":
            return _recovery_link(call, body, user, mails.RECOVERY)
        case "email_change_current" | "email_change_new" as type_:
            return _change_link(call, body, user, type_)
        case type_:
            raise bad_request(f"Invalid email action link type requested: {type_}")


def _signed_up(call: Call, user: DictRow | None, email: str, password: str | None, data: dict[str, Any]) -> DictRow:
    if user is not None:
        if user["email_confirmed_at"]:
            raise Refused(422, "email_exists", _EXISTS)
        users.merge_metadata(call.connection, user, "raw_user_meta_data", data)
        return user
    if not password:
        raise bad_request("Signup requires a valid password")
    passwords.check_strength(call.platform.config, password)
    return _new(call, email, passwords.hashed(call.platform.config, password), data)


def _invited(call: Call, admin: Any, email: str, data: dict[str, Any]) -> DictRow:
    user = user_by_email(call.connection, email, lock=True)
    if user is not None and user["email_confirmed_at"]:
        raise Refused(422, "email_exists", _EXISTS)
    user = user or _new(call, email, None, data)
    call.connection.execute("update auth.users set invited_at = now() where id = %s", (user["id"],))
    audit.write(call, admin, "user_invited", user_id=user["id"], user_email=email)
    return user


def _new(call: Call, email: str, password_hash: str | None, data: dict[str, Any]) -> DictRow:
    users.claim_address(call.connection, email)
    user_id = users.insert(call.connection, email=email, password_hash=password_hash, data=data, confirmed=False)
    return existing_user(call.connection, user_id)


def _recovery_link(call: Call, body: dict[str, Any], user: DictRow | None, mail: mails.Mail) -> dict[str, Any]:
    if user is None:
        raise _unknown()
    audit.write(call, user, "user_recovery_requested")
    return _link(call, body, user, mail)


def _change_link(call: Call, body: dict[str, Any], user: DictRow | None, type_: str) -> dict[str, Any]:
    """One of the two links of a change; the other is asked for by a second call."""
    if user is None:
        raise _unknown()
    if type_ == "email_change_current" and not call.platform.config.secure_email_change:
        raise bad_request("Enable secure email change to generate link for current email")
    new_email = emails.normalized(body["new_email"])
    users.claim_address(call.connection, new_email, user_id=user["id"])
    email_change.note(call, user, new_email)
    if type_ == "email_change_current":
        return _answer(call, body, user, mails.EMAIL_CHANGE, _made(call, user, EMAIL_CHANGE_CURRENT, user["email"]))
    # Upstream's hashed_token of this type is of the old address and good for nothing; ours works.
    return _answer(call, body, user, mails.EMAIL_CHANGE, _made(call, user, EMAIL_CHANGE_NEW, new_email))


def _made(call: Call, user: DictRow, kind: Kind, address: str) -> Made:
    return one_time_tokens.make(call, user, kind, address=address)


def _link(call: Call, body: dict[str, Any], user: DictRow, mail: mails.Mail) -> dict[str, Any]:
    return _answer(call, body, user, mail, one_time_tokens.make(call, user, mail.kind))


def _answer(call: Call, body: dict[str, Any], user: DictRow, mail: mails.Mail, made: Made) -> dict[str, Any]:
    """The user's members and the link's, side by side."""
    wanted = body["redirect_to"]
    config = call.platform.config
    home = wanted if wanted and redirects.is_allowed(config, wanted) else redirects.target(config, call.request)
    is_change = mail is mails.EMAIL_CHANGE
    return users_json.of(call.connection, existing_user(call.connection, user["id"])) | {
        "action_link": mails.link(call, mail.verify_type, made.token_hash, home),
        "email_otp": made.digits,
        "hashed_token": made.token_hash,
        "verification_type": body["type"] if is_change else mail.verify_type,
        "redirect_to": home,
    }


def _unknown() -> Refused:
    return Refused(404, "user_not_found", "User with this email not found")
