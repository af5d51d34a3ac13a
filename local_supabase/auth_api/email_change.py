"""Changing one's address: begun by PUT /user, finished when the new address, and in secure mode the old one, agrees."""

from psycopg.rows import DictRow

from local_supabase.auth_api import mails, one_time_tokens, pkce, users
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.one_time_tokens import EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW, Kind
from local_supabase.auth_api.pkce import Challenge

KINDS = (EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW)


def begin(call: Call, user: DictRow, new_email: str, challenge: Challenge | None) -> None:
    """Mail a link to the new address and, in secure mode, one of its own to the old.

    Until both have been followed nothing changes: whoever has one mailbox only cannot finish.

    Raises:
        Refused: 429 over_email_send_rate_limit.
    """
    one_time_tokens.check_interval(call, user, EMAIL_CHANGE_NEW)
    if challenge:
        pkce.begin(call, user, challenge, method=mails.EMAIL_CHANGE.flow)
    note(call, user, new_email)
    addresses = {EMAIL_CHANGE_NEW: new_email}
    if call.platform.config.secure_email_change and user["email"]:
        addresses[EMAIL_CHANGE_CURRENT] = user["email"]
    for kind, address in addresses.items():
        made = one_time_tokens.make(call, user, kind, address=address, with_code=challenge is not None)
        mails.send(call, user, mails.EMAIL_CHANGE, made, to=address, new_email=new_email)


def note(call: Call, user: DictRow, new_email: str) -> None:
    """Write down the wish; half a confirmation of an earlier one no longer counts."""
    call.connection.execute(
        "update auth.users set email_change = %s, email_change_confirm_status = 0, updated_at = now() where id = %s",
        (new_email, user["id"]),
    )


def is_half(call: Call, user: DictRow) -> bool:
    """Tell whether the confirmation at hand is the first of two."""
    config = call.platform.config
    needs_both = config.secure_email_change and config.enable_confirmations and bool(user["email"])
    return needs_both and user["email_change_confirm_status"] == 0


def confirm_half(call: Call, user: DictRow, kind: Kind) -> None:
    """Use up one address's token; the other's stays."""
    one_time_tokens.forget_one(call.connection, user, kind)
    call.connection.execute("update auth.users set email_change_confirm_status = 1 where id = %s", (user["id"],))


def finish(call: Call, user: DictRow) -> None:
    """Give the user the new address, and its identity too.

    Raises:
        Refused: 422 email_exists if somebody has taken the address meanwhile.
    """
    new_email = user["email_change"]
    users.claim_address(call.connection, new_email, user_id=user["id"])
    one_time_tokens.forget(call.connection, user)
    users.set_address(call.connection, user, new_email, verified=True)
    call.connection.execute(
        "update auth.users set email_change = '', email_change_confirm_status = 0 where id = %s", (user["id"],)
    )
    if user["email_confirmed_at"] is None:
        users.confirm(call.connection, user)
