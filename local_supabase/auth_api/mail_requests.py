"""Asking for a mail: a password forgotten, a link to sign in with, or the last mail once more.

The answers are the same for known and unknown addresses, or anybody could ask who has an account here.
"""

from typing import Any

from local_supabase.auth_api import audit, email_change, emails, limits, mails, pkce, sign_up
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import user_by_email

_PKCE = {"code_challenge": str, "code_challenge_method": str}


def recover(call: Call) -> dict[str, Any]:
    """POST /recover: a link that signs in, so that a new password can be set."""
    call.limit(limits.RECOVER)
    body = call.body(email=str, **_PKCE)
    email = emails.normalized(body["email"])
    challenge = pkce.challenge_in(body)
    user = user_by_email(call.connection, email, lock=True)
    if user is not None:
        audit.write(call, user, "user_recovery_requested")
        mails.send_link(call, user, mails.RECOVERY, challenge)
    return {}


def otp(call: Call) -> dict[str, Any]:
    """POST /otp: a link and digits to sign in with; `create_user` (default true) begins a new account."""
    call.limit(limits.OTP)
    body = call.body(email=str, phone=str, create_user=bool, data=dict, channel=str, **_PKCE)
    if body["email"] and body["phone"]:
        raise bad_request("Only an email address or phone number should be provided")
    if body["email"] and body["channel"]:
        raise bad_request("Channel should only be specified with Phone OTP")
    pkce.challenge_in(body)
    if body["phone"]:
        raise Refused(400, "phone_provider_disabled", "Unsupported phone provider")
    if not body["email"]:
        raise bad_request("One of email or phone must be set")
    if body["create_user"] is False and user_by_email(call.connection, emails.normalized(body["email"])) is None:
        raise Refused(422, "otp_disabled", "Signups not allowed for otp")
    return _with_link(call)


def magic_link(call: Call) -> dict[str, Any]:
    """POST /magiclink: as /otp, always with a new account for an unknown address."""
    call.limit(limits.MAGIC_LINK)
    return _with_link(call)


def resend(call: Call) -> dict[str, Any]:
    """POST /resend: the confirmation of a sign-up or of a new address (`email` is the present one) once more."""
    call.limit(limits.RESEND)
    body = call.body(type=str, email=str, phone=str, **_PKCE)
    if body["type"] not in ("signup", "email_change", "sms", "phone_change"):
        raise bad_request("Missing one of these types: signup, email_change, sms, phone_change")
    challenge = pkce.challenge_in(body)
    if body["email"] and body["phone"]:
        raise bad_request("Only an email address or phone number should be provided.")
    if body["phone"]:
        raise Refused(400, "phone_provider_disabled", "Phone logins are disabled")
    email = emails.normalized(body["email"])
    if body["type"] == "sms":
        raise bad_request("Type provided requires a phone number")
    user = user_by_email(call.connection, email, lock=True)
    if user is None:
        return {}
    if body["type"] == "signup" and user["email_confirmed_at"] is None:
        audit.write(call, user, "user_confirmation_requested")
        mails.send_link(call, user, mails.CONFIRMATION, challenge)
    if body["type"] == "email_change" and user["email_change"]:
        email_change.begin(call, user, user["email_change"], challenge)
    return {}


def _with_link(call: Call) -> dict[str, Any]:
    body = call.body(email=str, data=dict, **_PKCE)
    if not body["email"]:
        raise Refused(422, "validation_failed", "Password recovery requires an email")
    email = emails.normalized(body["email"])
    challenge = pkce.challenge_in(body)
    sign_up.with_link(call, email, body["data"] or {}, challenge)
    return {}
