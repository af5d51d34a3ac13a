"""Refresh tokens of either kind: classic ones are rows, signed ones a counter in the session's row."""

from uuid import UUID

from psycopg.rows import DictRow

from local_supabase.auth_api import classic_tokens, signed_tokens
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import bad_request

SIGNED = 2  # of Config.refresh_token_algorithm; 0 and 1 are classic
_SHORTEST = 12

Sent = classic_tokens.Sent | signed_tokens.Sent


def first(call: Call, *, user_id: UUID, session_id: UUID) -> str:
    """Return the first token of a session, of the configured kind."""
    if call.platform.config.refresh_token_algorithm == SIGNED:
        return signed_tokens.first(call, session_id=session_id)
    return classic_tokens.first(call, user_id=user_id, session_id=session_id)


def after_step_up(call: Call, user: DictRow, session: DictRow) -> str:
    """Replace the token of a locked session that has just proven a second factor.

    Raises:
        Refused: 400 refresh_token_already_used.
    """
    if session["refresh_token_hmac_key"]:
        return signed_tokens.after_step_up(call, session=session)
    return classic_tokens.after_step_up(call, user, session_id=session["id"])


def sent(call: Call, token: str) -> Sent:
    """Return what a token stands for, its session locked.

    Raises:
        Refused: 400 validation_failed for what cannot be a token, 400 refresh_token_not_found, 409 conflict.
    """
    if len(token) < _SHORTEST or (len(token) == _SHORTEST and not classic_tokens.is_one(token)):
        raise bad_request("Refresh token is not valid")
    if len(token) == _SHORTEST:
        return classic_tokens.sent(call, token)
    return signed_tokens.sent(call, token)
