"""/user: reading and changing one's own account."""

from datetime import timedelta
from typing import Any

from local_supabase.auth_api import (
    audit,
    email_change,
    emails,
    limits,
    mails,
    one_time_tokens,
    passwords,
    pkce,
    tokens,
    users,
    users_json,
)
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.callers import SignedIn, signed_in
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import existing_user, has_verified_factor

FRESH_FOR = timedelta(hours=24)  # how long a session may set a password without being asked again
BY_MAIL = ("otp", "magiclink", "recovery")  # proofs of somebody who may have forgotten the password


def show(call: Call) -> dict[str, Any]:
    """GET /user: the account as it is now, not as the token remembers it."""
    caller = signed_in(call)
    audience = caller.claims.get("aud")
    if "authenticated" not in (audience if isinstance(audience, list) else [audience]):
        raise bad_request("Token audience doesn't match request audience")
    return users_json.of(call.connection, caller.user)


def reauthenticate(call: Call) -> dict[str, Any]:
    """GET /reauthenticate: mails the digits that change() takes as `nonce`."""
    user = signed_in(call, lock=True).user
    if not user["email"]:
        raise bad_request("Reauthentication requires the user to have an email or a phone number")
    if user["email_confirmed_at"] is None:
        raise Refused(422, "email_not_confirmed", "Please verify your email first.")
    audit.write(call, user, "user_reauthenticate_requested")
    mails.send_link(call, user, mails.REAUTHENTICATION)
    return {}


def change(call: Call) -> dict[str, Any]:
    """PUT /user: password, address and user_metadata, in the check order of contract 3.8."""
    caller = signed_in(call, lock=True)
    call.limit(limits.USER)
    user = caller.user
    body = call.body(
        email=str,
        phone=str,
        password=str,
        current_password=str,
        nonce=str,
        data=dict,
        app_metadata=dict,
        code_challenge=str,
        code_challenge_method=str,
    )
    if body["email"] and not emails.is_valid(body["email"]):
        raise bad_request(emails.INVALID)
    challenge = pkce.challenge_in(body)
    password = body["password"]
    if password is not None:
        passwords.check_strength(call.platform.config, password)
    if body["app_metadata"] is not None:
        raise Refused(403, "not_admin", "Updating app_metadata is only allowed for admins")
    new_email = (body["email"] or "").lower()
    changes_email = bool(new_email) and new_email != user["email"]
    changes_phone = bool(body["phone"]) and body["phone"] != user["phone"]
    sets_credentials = password is not None or changes_email or changes_phone
    if sets_credentials and caller.needs_second_factor() and has_verified_factor(call.connection, user["id"]):
        raise Refused(401, "insufficient_aal", "AAL2 session is required to update email or password")
    if changes_phone:
        raise Refused(400, "phone_provider_disabled", "Phone numbers are not supported by the embedded Supabase")
    if changes_email:
        users.claim_address(call.connection, new_email, user_id=user["id"])
    if password is not None:
        _check_reauthentication(call, caller, body["nonce"])
        _check_current_password(call, caller, body["current_password"])
        if passwords.is_right(call.platform.config, password, user["encrypted_password"]):
            raise Refused(422, "same_password", "New password should be different from the old password.")
        audit.write(call, user, "user_updated_password")
        users.set_password(call, user, password, keep_session=caller.session["id"] if caller.session else None)
    if body["data"] is not None:
        users.merge_metadata(call.connection, user, "raw_user_meta_data", body["data"])
    if changes_email:
        email_change.begin(call, existing_user(call.connection, user["id"]), new_email, challenge)
    audit.write(call, user, "user_modified")
    return users_json.of(call.connection, existing_user(call.connection, user["id"]))


def _check_reauthentication(call: Call, caller: SignedIn, nonce: str | None) -> None:
    """Ask an old session for the digits of a mail; they, and every other link of the user, are used up."""
    if not call.platform.config.secure_password_change:
        return
    if caller.session and caller.user["now"] - caller.session["created_at"] <= FRESH_FOR:
        return
    if not nonce:
        raise Refused(400, "reauthentication_needed", "Password update requires reauthentication")
    if not one_time_tokens.matches(call, caller.user, nonce, one_time_tokens.REAUTHENTICATION):
        raise Refused(422, "reauthentication_not_valid", "Nonce has expired or is invalid")
    one_time_tokens.forget(call.connection, caller.user)


def _check_current_password(call: Call, caller: SignedIn, given: str | None) -> None:
    """Ask for the password of now, unless there is none or a mail has just proven the address."""
    stored = caller.user["encrypted_password"]
    if not call.platform.config.require_current_password or not stored:
        return
    if caller.session and tokens.has_proof(call.connection, caller.session["id"], BY_MAIL):
        return
    if not given:
        raise Refused(400, "current_password_required", "Current password required when setting new password.")
    if not passwords.is_right(call.platform.config, given, stored):
        raise Refused(400, "current_password_invalid", "Current password required when setting new password.")
