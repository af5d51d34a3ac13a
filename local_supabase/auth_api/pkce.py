"""PKCE (RFC 7636): a link gives a code, and the code a session only to whoever began the flow and has its verifier."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg.rows import DictRow

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import Refused, bad_request

TOKEN_PREFIX = "pkce_"  # of a token whose link gives a code
LIFETIME_SECONDS = 300

_FORM = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True)
class Challenge:
    text: str
    method: str  # s256 or plain


def challenge_in(body: dict[str, Any]) -> Challenge | None:
    """Return the code challenge of a request body, or None if there is none.

    Raises:
        Refused: 400 validation_failed for half a pair, a malformed challenge or an unknown method.
    """
    text, method = body["code_challenge"] or "", (body["code_challenge_method"] or "").lower()
    if bool(text) != bool(method):
        raise bad_request("PKCE flow requires code_challenge_method and code_challenge")
    if not text:
        return None
    if not _FORM.fullmatch(text):
        raise bad_request("code challenge has to be 43 to 128 letters, digits, hyphens, periods, underscores or tildes")
    if method not in ("s256", "plain"):
        raise bad_request("code_challenge_method must be s256 or plain")  # upstream: 500
    return Challenge(text, method)


def begin(call: Call, user: DictRow, challenge: Challenge, *, method: str) -> None:
    """Keep the challenge until its link is followed; `method` is what the session's proof will be called."""
    call.connection.execute(
        "insert into auth.flow_state (id, user_id, auth_code, code_challenge, code_challenge_method, provider_type,"
        " authentication_method, created_at, updated_at) values (%s, %s, %s, %s, %s, %s, %s, clock_timestamp(), now())",
        (uuid4(), user["id"], str(uuid4()), challenge.text, challenge.method, method, method),
    )


def issue_code(call: Call, user: DictRow, *, method: str) -> str:
    """Return the code of the newest flow of this user and method, as its link was just followed.

    Raises:
        Refused: 400 flow_state_not_found.
    """
    flow = call.connection.execute(
        "update auth.flow_state set auth_code_issued_at = now(), updated_at = now() where id ="
        " (select id from auth.flow_state where user_id = %s and authentication_method = %s and auth_code is not null"
        " order by created_at desc limit 1) returning auth_code",
        (user["id"], method),
    ).fetchone()
    if flow is None:
        raise Refused(400, "flow_state_not_found", "No associated flow state found")
    return str(flow["auth_code"])


def consume(call: Call, auth_code: str, verifier: str) -> DictRow:
    """Use up a code and return its flow state (`user_id`, `authentication_method`).

    Taken in one statement: upstream reads and then deletes, and two at once would get a session each.

    Raises:
        Refused: 404 flow_state_not_found, 422 flow_state_expired, 400 bad_code_verifier; a raised refusal undoes
            the deletion, so that a wrong verifier leaves the code to its owner.
    """
    flow = call.connection.execute(
        # A magic link's time runs from the click, that of all others from the request for the mail, as upstream.
        "delete from auth.flow_state where auth_code = %s and user_id is not null and code_challenge is not null"
        " returning *, extract(epoch from clock_timestamp() - case when authentication_method = 'magiclink'"
        " then coalesce(auth_code_issued_at, created_at) else created_at end) > %s as is_expired",
        (auth_code, LIFETIME_SECONDS),
    ).fetchone()
    if flow is None:
        raise Refused(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
    if flow["is_expired"]:
        raise Refused(422, "flow_state_expired", "invalid flow state, flow state has expired")
    if not hmac.compare_digest(_derived(verifier, flow["code_challenge_method"]), flow["code_challenge"].encode()):
        raise Refused(400, "bad_code_verifier", "code challenge does not match previously saved code verifier")
    return flow


def _derived(verifier: str, method: str) -> bytes:
    if method == "plain":
        return verifier.encode()
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
