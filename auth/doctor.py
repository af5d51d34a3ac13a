"""Examines the connected Supabase by asking and by trying: is it set up as this app needs it?"""

import secrets
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from auth import findings, migrations, passwords
from auth.findings import Finding, Setup
from auth.gateway import Gateway, visitor_address
from auth.migrations import Facts, Promise
from auth.refusals import Detour, Failed, Refused, Rejected, Unavailable, WeakPassword
from auth.tokens import Tokens

MADE_BY = "flask doctor"  # how public.doctor_facts knows what an interrupted run has left behind
MOST_LEFTOVERS = 10  # that one run deletes
MOST_DIFFERENCES = 10  # that are told one by one
# Our triggers on Supabase Auth's tables, each with its table, and what it means to be without it.
GUARDS = {
    "guard_factors": ("auth.mfa_factors", "a stolen session can delete factors, and plant some"),
    "gate_challenges": ("auth.mfa_challenges", "past this app, codes can be guessed without being counted"),
    "guard_metadata": ("auth.users", "whoever knows a password can make the tokens of that account unreadable"),
    "log_apps": ("auth.mfa_factors", "the security log does not tell people of authenticator apps"),
    "log_account": ("auth.users", "the security log does not tell people of a new password or address"),
}


class _LeftBehind(Refused):
    def __init__(self, email: str) -> None:
        super().__init__(f"{email} could not be deleted. Run this again in ten minutes, which deletes it.")


def examine(gateway: Gateway, setup: Setup, promise: Promise, clock: Callable[[], float]) -> list[Finding]:
    """Look at everything, in about fifteen requests.

    What can only be tried is tried with an account made for it. It is deleted in every case, and gets no mail; the
    log of Supabase Auth keeps that it was there. Supabase being away, or refusing, is a finding and raises nothing.
    """
    report: list[Finding] = []
    try:
        for finding in _examination(gateway, setup, promise, clock):
            report.append(finding)
    except _LeftBehind as refusal:
        report.append(Finding("bad", "trial account", refusal.sentence))
    except Unavailable as refusal:
        sentence = f"No usable answer from {setup.supabase_url} ({_reason(refusal)}). The rest was not examined."
        report.append(Finding("bad", "Supabase", sentence))
    except (Refused, Detour) as refusal:
        sentence = f"Refuses what has to work ({_reason(refusal)}). The rest was not examined."
        report.append(Finding("bad", "Supabase", sentence))
    return report


def _examination(gateway: Gateway, setup: Setup, promise: Promise, clock: Callable[[], float]) -> Iterator[Finding]:
    yield from findings.about_app(setup)
    about_project = [*findings.about_project(setup)]
    yield from about_project
    if any(finding.level == "bad" for finding in about_project):
        yield Finding("bad", "Supabase", "Not examined: what is said above comes first.")
        return
    try:
        auth_settings = gateway.auth_settings()
    except (Rejected, Detour):
        yield Finding("bad", "publishable key", "Is not known. Copy the one of this project; the rest needs it.")
        return
    yield from _visitors_rights(gateway)
    yield from findings.about_sign_up(auth_settings)
    # .invalid leads nowhere (RFC 2606), should a trigger of the project write to new people after all.
    email, password = f"doctor-{secrets.token_hex(8)}@doctor.invalid", f"aA1!{secrets.token_urlsafe(24)}"
    try:
        user_id = gateway.create_account(email, password, made_by=MADE_BY)
    except (Rejected, Detour) as refusal:
        sentence = f"May not administer accounts ({_reason(refusal)}). Copy the one of this project; the rest needs it."
        yield Finding("bad", "secret key", sentence)
        return
    try:
        yield Finding("ok", "secret key", "May administer accounts.")
        yield from _trial(gateway, setup, promise, clock, email, password)
    finally:
        try:
            gateway.delete_account(user_id)
        except (Refused, Detour) as refusal:
            raise _LeftBehind(email) from refusal


def _visitors_rights(gateway: Gateway) -> Iterator[Finding]:
    try:
        gateway.list_accounts_as_visitor()
    except (Rejected, Detour):
        yield Finding("ok", "publishable key", "May not administer accounts.")
    else:
        sentence = "May administer accounts: it is a secret key. Put the publishable one there, and rotate this one."
        yield Finding("bad", "publishable key", sentence)


def _trial(
    gateway: Gateway, setup: Setup, promise: Promise, clock: Callable[[], float], email: str, password: str
) -> Iterator[Finding]:
    address = f"2001:db8::{1 + secrets.randbelow(0xFFFF):x}"  # of nobody: RFC 3849
    began = clock()
    try:
        tokens = _sign_in(gateway, email, password, address)
    except (Refused, Detour) as refusal:
        if isinstance(refusal, Unavailable) and not isinstance(refusal, Failed):
            raise
        sentence = (
            f"Fails ({_reason(refusal)}). A captcha can be the cause, or a hook: each hook's function must exist, and "
            "supabase_auth_admin must have the right to execute it. The log of Supabase Auth says more."
        )
        yield Finding("bad", "signing in", sentence)
        yield from _database(gateway.facts(promise.names, None), promise)
        return
    signed_in_at = (began + clock()) / 2
    public_keys = gateway.public_keys()
    yield from findings.about_public_keys(public_keys)
    issuer = f"{setup.supabase_url}/auth/v1"
    yield from findings.about_token(tokens.access_token, issuer=issuer, public_keys=public_keys)

    claims = findings.claims_of(tokens.access_token)
    began = clock()
    facts = gateway.facts(promise.names, claims.get("session_id"))
    guarded = None if facts is None else "gate_challenges" not in _left_out(facts)
    asked_at = (began + clock()) / 2
    yield from _database(facts, promise)
    if facts is not None:
        yield from findings.about_peppers(facts.peppers, setup.peppers)
        issued_at = claims.get("iat", 0) + 0.5  # in whole seconds, rounded down
        yield from findings.about_clocks(auth_ahead=issued_at - signed_in_at, database_ahead=facts.now - asked_at)
        yield from _forwarding(facts, address)
        yield from _leftovers(gateway, facts)
    yield from _authenticator_apps(gateway, tokens, guarded=guarded)
    yield _unused_kind(gateway, tokens, "webauthn")
    yield _unused_kind(gateway, tokens, "phone")
    yield from _password_length(gateway, tokens)


def _sign_in(gateway: Gateway, email: str, password: str, address: str) -> Tokens:
    before = visitor_address.set(address)
    try:
        return gateway.sign_in_with_password(email, password)
    finally:
        visitor_address.reset(before)


def _database(facts: Facts | None, promise: Promise) -> Iterator[Finding]:
    if facts is None:
        sentence = "Not applied, or not all of supabase/migrations. Apply them: supabase db push."
        yield Finding("bad", "migrations", sentence)
        return
    if not promise.names:
        yield Finding("warn", "migrations", "Not compared: supabase/migrations is not there beside the app.")
        return
    left_out = _left_out(facts)
    differences = [*migrations.differences(promise, facts, without=left_out)]
    for sentence in islice(differences, MOST_DIFFERENCES):
        yield Finding("bad", "migrations", sentence)
    if len(differences) > MOST_DIFFERENCES:
        yield Finding("bad", "migrations", f"And {len(differences) - MOST_DIFFERENCES} more differences like these.")
    if not differences:
        yield Finding("ok", "migrations", "Tables, functions, policies and grants are those of supabase/migrations.")
    again = "Create it again as in supabase/migrations, unless other clients of this project need it to be so."
    for guard in sorted(left_out):
        yield Finding("warn", "guards", f"{guard} is left out: {GUARDS[guard][1]}. {again}")
    if not left_out:
        yield Finding("ok", "guards", "All triggers are on.")
    if facts.unendorsed:
        sentence = (
            f"{facts.unendorsed} that other clients verified do not count, and their owners can neither use them nor "
            "add others. Delete them from auth.mfa_factors, or put those you know to be their owners' into "
            "public.mfa_endorsed_factors."
        )
        yield Finding("warn", "factors", sentence)
    else:
        yield Finding("ok", "factors", "All that are verified count.")


def _left_out(facts: Facts) -> set[str]:
    return {guard for guard, (table, _) in GUARDS.items() if facts.triggers.get(guard) != table}


def _forwarding(facts: Facts, address: str) -> Iterator[Finding]:
    if facts.address == address:
        yield Finding("ok", "Sb-Forwarded-For", "On: Supabase Auth counts by the visitor's address.")
    else:
        sentence = (
            "Off: Supabase Auth takes all visitors for this one machine, so they share its limits and one who is busy "
            "locks out the rest. Switch on security_sb_forwarded_for_enabled in the project's Auth configuration (your "
            "own server: GOTRUE_SECURITY_SB_FORWARDED_FOR_ENABLED=true). It takes a key that begins with sb_secret_."
        )
        yield Finding("warn", "Sb-Forwarded-For", sentence)


def _leftovers(gateway: Gateway, facts: Facts) -> Iterator[Finding]:
    for user_id in facts.leftovers[:MOST_LEFTOVERS]:
        gateway.delete_account(user_id)
    if facts.leftovers:
        count = min(len(facts.leftovers), MOST_LEFTOVERS)
        yield Finding("ok", "trial account", f"Deleted {count} that interrupted runs had left behind.")


def _authenticator_apps(gateway: Gateway, tokens: Tokens, *, guarded: bool | None) -> Iterator[Finding]:
    """`guarded`: whether there is a trigger that refuses challenges without a grant; None: nobody knows."""
    what_to_do = "Switch on both enrolling and verifying (config.toml: auth.mfa.totp)."
    try:
        factor_id = gateway.enrol_totp(tokens, MADE_BY).factor_id
    except (Rejected, Detour) as refusal:
        yield Finding("bad", "authenticator apps", f"Cannot be set up ({_reason(refusal)}). {what_to_do}")
        return
    try:
        gateway.challenge_factor(tokens, factor_id)
    except (Rejected, Detour) as refusal:
        yield Finding("bad", "authenticator apps", f"Cannot be used ({_reason(refusal)}). {what_to_do}")
    except Failed:  # how Supabase Auth passes on that the database said no
        if guarded is False:
            raise
        yield Finding("ok", "authenticator apps", "On, and no challenge is made without a grant.")
    else:
        if guarded:
            sentence = "Were challenged without a grant, though the guard is on. Create gate_challenges() again."
            yield Finding("bad", "authenticator apps", sentence)
        else:
            yield Finding("ok", "authenticator apps", "On.")


def _unused_kind(gateway: Gateway, tokens: Tokens, kind: Literal["phone", "webauthn"]) -> Finding:
    try:
        gateway.enrol_unused_kind(tokens, kind)
    except (Rejected, Detour) as refusal:
        return findings.about_unused_kind(kind, _reason(refusal))
    return findings.about_unused_kind(kind, None)


def _password_length(gateway: Gateway, tokens: Tokens) -> Iterator[Finding]:
    shortest = passwords.MIN_LENGTH
    # Of every kind of character, so that only its length can be wrong.
    too_short = f"aA1!{secrets.token_urlsafe(shortest)}"[: shortest - 1]
    try:
        gateway.change_password(tokens, too_short)
    except WeakPassword:
        yield Finding("ok", "password length", f"Supabase Auth too asks for at least {shortest} characters.")
    except (Rejected, Detour) as refusal:
        yield Finding("warn", "password length", f"Could not be tried ({_reason(refusal)}). Set it to {shortest}.")
    else:
        sentence = f"Supabase Auth takes shorter passwords than this app. Set minimum_password_length to {shortest}."
        yield Finding("warn", "password length", sentence)


def _reason(refusal: Exception) -> str:
    """The code that Supabase gave, or else what kind of error it was. Never its text, which can hold what was sent."""
    code = getattr(refusal, "code", None) or getattr(refusal.__cause__, "code", None)
    return str(code or type(refusal.__cause__ or refusal).__name__)
