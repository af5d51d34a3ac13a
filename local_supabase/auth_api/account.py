"""/user: reading and changing one's own account."""

from typing import Any

from local_supabase.auth_api import email_change, emails, passwords, pkce, users, users_json
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.callers import signed_in
from local_supabase.auth_api.errors import Refused, bad_request
from local_supabase.auth_api.rows import existing_user, has_verified_factor


def show(call: Call) -> dict[str, Any]:
    """GET /user: the account as it is now, not as the token remembers it."""
    caller = signed_in(call)
    audience = caller.claims.get("aud")
    if "authenticated" not in (audience if isinstance(audience, list) else [audience]):
        raise bad_request("Token audience doesn't match request audience")
    return users_json.of(call.connection, caller.user)


def change(call: Call) -> dict[str, Any]:
    """PUT /user: password, address and user_metadata, in the check order of contract 3.8."""
    caller = signed_in(call, lock=True)
    user = caller.user
    body = call.body(
        email=str,
        phone=str,
        password=str,
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
        users.claim_address(call.connection, new_email)
    if password is not None:
        if passwords.is_right(password, user["encrypted_password"]):
            raise Refused(422, "same_password", "New password should be different from the old password.")
        users.set_password(call, user, password, keep_session=caller.session["id"] if caller.session else None)
    if body["data"] is not None:
        users.merge_metadata(call.connection, user, "raw_user_meta_data", body["data"])
    if changes_email:
        email_change.begin(call, user, new_email, challenge)
    return users_json.of(call.connection, existing_user(call.connection, user["id"]))
