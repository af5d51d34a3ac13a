"""Authenticator apps (TOTP): enrol, challenge, verify, unenrol, and what each does to the owner's sessions."""

import contextlib
import hmac
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID, uuid4

import psycopg
import pyotp
import qrcode
from psycopg.rows import DictRow

from local_supabase.auth_api import audit, hooks, limits, refresh_tokens, sessions, tokens
from local_supabase.auth_api.call import Call, as_uuid
from local_supabase.auth_api.callers import SignedIn, signed_in
from local_supabase.auth_api.errors import Refused, bad_request, unexpected

CHALLENGE_LIFETIME_SECONDS = 300
STALE_AFTER_SECONDS = 300
SECRET_CHARACTERS = 32  # base32: 20 bytes
DRIFT_STEPS = (-1, 0, 1)  # of 30 s; RFC 6238 §5.2

_PROOFS = {"totp": "totp", "phone": "mfa/phone", "webauthn": "mfa/webauthn"}  # factor type: amr method


def enroll(call: Call) -> dict[str, Any]:
    """POST /factors: a new factor, unverified, with its secret, which is shown this once."""
    caller = _owner(call)
    session = _session(caller)
    body = call.body(factor_type=str, friendly_name=str, issuer=str)
    match body["factor_type"]:
        case "totp" if call.platform.config.totp_enroll_enabled:
            pass
        case "totp" | "phone" | "webauthn" as type_:
            raise Refused(422, f"mfa_{type_}_enroll_not_enabled", f"MFA enroll is disabled for {type_}")
        case _:
            raise bad_request("factor_type needs to be totp, phone, or webauthn")
    _remove_stale(call)
    name = body["friendly_name"] or ""
    _check_room(call, caller, name=name, session_aal=session["aal"])
    if not caller.user["email"]:
        raise bad_request("An email address is required to enroll an authenticator app")  # upstream: 500
    factor_id, secret = uuid4(), pyotp.random_base32(SECRET_CHARACTERS)
    call.connection.execute(
        "insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, secret, created_at, updated_at)"
        " values (%s, %s, %s, 'totp', 'unverified', %s, clock_timestamp(), clock_timestamp())",
        (factor_id, caller.user["id"], name, secret),
    )
    audit.write(call, caller.user, "factor_in_progress", factor_id=factor_id)
    issuer = body["issuer"] or urlsplit(call.platform.config.site_url).netloc
    uri = _otpauth_uri(issuer=issuer, account=caller.user["email"], secret=secret)
    return {
        "id": str(factor_id),
        "type": "totp",
        "friendly_name": name,
        "totp": {"qr_code": _svg(uri), "secret": secret, "uri": uri},
    }


def challenge(call: Call, factor_id: str) -> dict[str, Any]:
    """POST /factors/{id}/challenge: opens 300 s in which codes may be tried, from this address."""
    caller = _owner(call)
    factor = owned(call, caller.user, factor_id)
    call.limit(limits.FACTOR_CHALLENGE)
    if factor["factor_type"] != "totp" or not call.platform.config.totp_verify_enabled:
        raise _verify_disabled(factor["factor_type"], "verify")
    made = call.connection.execute(
        "insert into auth.mfa_challenges (id, factor_id, created_at, ip_address) values (%s, %s, now(), %s)"
        " returning id, floor(extract(epoch from created_at))::bigint + %s as expires_at",
        (uuid4(), factor["id"], call.ip, CHALLENGE_LIFETIME_SECONDS),
    ).fetchone()
    _note_challenge(call, factor["id"])
    assert made is not None
    audit.write(call, caller.user, "challenge_created", factor_id=factor["id"], factor_status=factor["status"])
    return {"id": str(made["id"]), "type": "totp", "expires_at": made["expires_at"]}


def _note_challenge(call: Call, factor_id: UUID) -> None:
    """Say when this factor was last challenged. No two factors may have been in the same microsecond: the column is
    unique across the table (upstream answers 500 then; this takes the next one)."""
    while True:
        with contextlib.suppress(psycopg.errors.UniqueViolation), call.connection.transaction():
            call.connection.execute(
                "update auth.mfa_factors set last_challenged_at = clock_timestamp() where id = %s", (factor_id,)
            )
            return


def verify(call: Call, factor_id: str) -> dict[str, Any] | Refused:
    """POST /factors/{id}/verify: the right code makes the caller's session aal2 and ends every other aal1 one."""
    caller = _owner(call)
    factor = owned(call, caller.user, factor_id)
    call.limit(limits.FACTOR_VERIFY)
    body = call.body(challenge_id=str, code=str)
    challenge_id = as_uuid(body["challenge_id"])
    if challenge_id is None:
        raise Refused(400, "bad_json", "challenge_id must be a UUID")
    if not body["code"] and factor["factor_type"] != "webauthn":
        raise bad_request("Code needs to be non-empty")
    if factor["factor_type"] != "totp" or not call.platform.config.totp_verify_enabled:
        # [quirk] upstream names the other switch for webauthn
        raise _verify_disabled(factor["factor_type"], "enroll" if factor["factor_type"] == "webauthn" else "verify")
    _session(caller)
    refusal = _challenge_refusal(call, challenge_id, factor)
    if refusal is not None:
        return refusal
    is_right = _is_right_code(factor["secret"], body["code"], now=int(call.platform.clock()))
    verdict = hooks.ask_mfa_attempt(call, caller.user["id"], factor["id"], factor["factor_type"], is_right=is_right)
    if verdict.is_reject:
        sessions.end_others(call, caller.user["id"], keep=None)
        # Returned, not raised: the sessions stay ended.
        return Refused(403, "mfa_verification_rejected", verdict.message)
    if not is_right:
        raise Refused(422, "mfa_verification_failed", "Invalid TOTP code entered")
    # Looked at again: the hook's own transaction has let go of the lock, and the challenge works once.
    caller = _owner(call)
    factor = owned(call, caller.user, factor_id)
    refusal = _challenge_refusal(call, challenge_id, factor)
    if refusal is not None:
        return refusal
    return _step_up(call, caller, factor=factor, challenge_id=challenge_id)


def unenroll(call: Call, factor_id: str) -> dict[str, Any]:
    """DELETE /factors/{id}: sessions that stepped up with it fall back to aal1, none is ended."""
    caller = _owner(call)
    factor = owned(call, caller.user, factor_id)
    session = _session(caller)
    if factor["status"] == "verified" and caller.needs_second_factor():
        raise Refused(422, "insufficient_aal", "AAL2 required to unenroll verified factor")
    remove(call, factor)
    traits = {"factor_id": factor["id"], "factor_status": factor["status"], "session_id": session["id"]}
    audit.write(call, caller.user, "factor_unenrolled", **traits)
    return {"id": str(factor["id"])}


def remove(call: Call, factor: DictRow) -> None:
    """Delete the factor, and what it has proven in the sessions that used it last."""
    call.connection.execute("delete from auth.mfa_factors where id = %s", (factor["id"],))
    call.connection.execute(
        "delete from auth.mfa_amr_claims where authentication_method = %s and session_id in"
        " (select id from auth.sessions where user_id = %s and factor_id = %s)",
        (_PROOFS[factor["factor_type"]], factor["user_id"], factor["id"]),
    )
    call.connection.execute(
        "update auth.sessions set aal = 'aal1', factor_id = null where user_id = %s and factor_id = %s",
        (factor["user_id"], factor["id"]),
    )


def owned(call: Call, user: DictRow, factor_id: str) -> DictRow:
    """Return the user's factor.

    Raises:
        Refused: 404 validation_failed, 404 mfa_factor_not_found; another person's reads the same.
    """
    parsed = as_uuid(factor_id)
    if parsed is None:
        raise Refused(404, "validation_failed", "factor_id must be an UUID")
    factor = call.connection.execute(
        "select * from auth.mfa_factors where id = %s and user_id = %s", (parsed, user["id"])
    ).fetchone()
    if factor is None:
        raise Refused(404, "mfa_factor_not_found", f"Factor with ID {factor_id!r} not found")
    return factor


def has_name(call: Call, user: DictRow, name: str, *, besides: UUID) -> bool:
    """Tell whether a factor of the user other than `besides` is called `name`."""
    found = call.connection.execute(
        "select from auth.mfa_factors where user_id = %s and friendly_name = %s and id <> %s",
        (user["id"], name, besides),
    )
    return found.fetchone() is not None


def _owner(call: Call) -> SignedIn:
    """The caller, their row locked: two codes, enrolments or removals of one person happen one after the other."""
    caller = signed_in(call, lock=True)
    if caller.claims.get("is_anonymous") is True:
        raise Refused(403, "no_authorization", "Anonymous user not allowed to perform these actions")
    return caller


def _session(caller: SignedIn) -> DictRow:
    if caller.session is None:
        raise unexpected("A valid session and a registered user are required")
    return caller.session


def _verify_disabled(type_: str, switch: str) -> Refused:
    return Refused(422, f"mfa_{type_}_{switch}_not_enabled", f"MFA verification is disabled for {type_}")


def _remove_stale(call: Call) -> None:
    """Delete everybody's abandoned enrolments: unverified, never challenged, older than 300 s."""
    call.connection.execute(
        "delete from auth.mfa_factors where id in ("
        " select id from auth.mfa_factors f where status <> 'verified'"
        " and created_at < clock_timestamp() - make_interval(secs => %s)"
        " and not exists (select from auth.mfa_challenges c where c.factor_id = f.id)"
        " for update skip locked)",  # two enrolments at once would delete the same rows in different orders
        (STALE_AFTER_SECONDS,),
    )


def _check_room(call: Call, caller: SignedIn, *, name: str, session_aal: str | None) -> None:
    factors = call.connection.execute(
        "select friendly_name, status from auth.mfa_factors where user_id = %s", (caller.user["id"],)
    ).fetchall()
    if any((factor["friendly_name"] or "") == name for factor in factors):
        raise Refused(
            422, "mfa_factor_name_conflict", f"A factor with the friendly name {name!r} for this user already exists"
        )
    if len(factors) >= call.platform.config.max_enrolled_factors:
        raise Refused(422, "too_many_enrolled_mfa_factors", "Maximum number of factors reached, unenroll to continue")
    if caller.needs_second_factor() and any(factor["status"] == "verified" for factor in factors):
        raise Refused(403, "insufficient_aal", "AAL2 required to enroll a new factor")


def _otpauth_uri(*, issuer: str, account: str, secret: str) -> str:
    label = quote(f"{issuer}:{account}", safe=":@")
    query = {"algorithm": "SHA1", "digits": 6, "issuer": issuer, "period": 30, "secret": secret}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"


def _svg(text: str) -> str:
    """`text` as a QR code, without a '#': the client puts the markup into a data URI, which one would end."""
    # Any of the eight masks can be read. Finding the best takes most of the work, and pays where codes are printed.
    code = qrcode.QRCode(border=4, mask_pattern=0)
    code.add_data(text)
    matrix = code.get_matrix()
    squares = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(matrix) for x, is_dark in enumerate(row) if is_dark)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(matrix)} {len(matrix)}"'
        f' shape-rendering="crispEdges"><rect width="100%" height="100%" fill="white"/>'
        f'<path fill="black" d="{squares}"/></svg>'
    )


def _challenge_refusal(call: Call, challenge_id: UUID, factor: DictRow) -> Refused | None:
    row = call.connection.execute(
        "select verified_at, ip_address <> %s::inet as is_from_elsewhere,"
        " extract(epoch from clock_timestamp() - created_at) > %s as is_expired"
        " from auth.mfa_challenges where id = %s and factor_id = %s",
        (call.ip, CHALLENGE_LIFETIME_SECONDS, challenge_id, factor["id"]),
    ).fetchone()
    if row is None:
        return Refused(422, "mfa_factor_not_found", "MFA factor with the provided challenge ID not found")
    if row["verified_at"] is not None or row["is_from_elsewhere"]:
        return Refused(422, "mfa_ip_address_mismatch", "Challenge and verify IP addresses mismatch.")
    if row["is_expired"]:
        call.connection.execute("delete from auth.mfa_challenges where id = %s", (challenge_id,))
        # Returned, not raised: the challenge stays deleted.
        return Refused(422, "mfa_challenge_expired", "MFA challenge has expired, verify against another challenge")
    return None


def _is_right_code(secret: str, code: str, *, now: int) -> bool:
    """Compare with the current step and its neighbours, all three every time, each in constant time.

    A code is not remembered, as upstream: an app that wants codes to work once must see to it itself, and
    its tests must be able to fail here.
    """
    given, totp = code.strip().encode(), pyotp.TOTP(secret)
    return any([hmac.compare_digest(totp.at(now, counter_offset=step).encode(), given) for step in DRIFT_STEPS])


def _step_up(call: Call, caller: SignedIn, *, factor: DictRow, challenge_id: UUID) -> dict[str, Any]:
    """The effects of a right code, in the order of contract 4.3."""
    connection, user_id, session_id = call.connection, caller.user["id"], _session(caller)["id"]
    traits = {"factor_id": factor["id"], "challenge_id": challenge_id, "factor_type": factor["factor_type"]}
    audit.write(call, caller.user, "verification_attempted", **traits)
    connection.execute("update auth.mfa_challenges set verified_at = now() where id = %s", (challenge_id,))
    if factor["status"] != "verified":
        connection.execute(
            "update auth.mfa_factors set status = 'verified', updated_at = now() where id = %s", (factor["id"],)
        )
    method = _PROOFS[factor["factor_type"]]
    tokens.add_proof(connection, session_id, method)
    # Locked as a refresh does, and read after that.
    session = connection.execute(
        "select * from auth.sessions where id = %s for no key update", (session_id,)
    ).fetchone()
    assert session is not None  # only the holder of the user's row deletes it, which is us
    refresh_token = refresh_tokens.after_step_up(call, caller.user, session)
    connection.execute(
        "update auth.sessions set aal = 'aal2', factor_id = %s, updated_at = now() where id = %s",
        (factor["id"], session_id),
    )
    granted = tokens.response(call, user_id=user_id, session_id=session_id, refresh_token=refresh_token, method=method)
    connection.execute("delete from auth.sessions where user_id = %s and aal < 'aal2'", (user_id,))
    connection.execute(
        "delete from auth.mfa_factors where user_id = %s and factor_type = %s and status = 'unverified'",
        (user_id, factor["factor_type"]),
    )
    return granted
