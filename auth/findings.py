"""What `flask doctor` makes of values: settings, keys, tokens and clocks. Pure; auth/doctor.py gets the values."""

import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal
from urllib.parse import urlsplit

import jwt

from auth.refusals import SignInRequired
from auth.tokens import ALGORITHMS, KeySet, verified

SKEW_WARN_SECONDS = 5
SKEW_BAD_SECONDS = 30  # from here on the app refuses tokens, see auth/tokens.py
FEWEST_CHARACTERS = 10  # that differ, in a key that was drawn at random
USE_ES256 = "Move the project to JWT signing keys with ES256 (dashboard: Settings, JWT Keys) and rotate to the new one."

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Finding:
    """`sentence` says what was found and, unless that is ok, what to do."""

    level: Level
    about: str
    sentence: str


@dataclass(frozen=True)
class Setup:
    """The settings that are looked at."""

    supabase_url: str
    public_url: str
    publishable_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    vault_keys: tuple[str, ...] = field(repr=False)
    peppers: dict[str, str] = field(repr=False)  # by name


def about_app(setup: Setup) -> Iterator[Finding]:
    public = urlsplit(setup.public_url)
    if public.scheme != "https" and not _is_this_machine(public.hostname):
        sentence = "Without https, passwords and cookies can be read on the way. Serve the site on https."
        yield Finding("bad", "PUBLIC_URL", sentence)
    elif _is_address(public.hostname):
        yield Finding("warn", "PUBLIC_URL", "Passkeys do not work on an IP address. Give the site a name.")
    else:
        yield Finding("ok", "PUBLIC_URL", "Fit for cookies and passkeys.")
    yield _drawn_at_random("SECRET_KEY", setup.app_secret)
    yield _drawn_at_random("VAULT_KEYS", *setup.vault_keys)
    yield _drawn_at_random("RECOVERY_CODE_PEPPER", *setup.peppers.values())
    peppers, others = {*setup.peppers.values()}, {*setup.vault_keys, setup.secret_key}
    if setup.app_secret in others | peppers:
        yield Finding("bad", "SECRET_KEY", "Is used for something else too. Draw one for this alone.")
    if peppers & others:
        yield Finding("bad", "RECOVERY_CODE_PEPPER", "Is used for something else too. Draw one for this alone.")


def about_project(setup: Setup) -> Iterator[Finding]:
    """Look at how Supabase is reached. While any of it is bad, there is no use in asking Supabase."""
    url = urlsplit(setup.supabase_url)
    if url.path.strip("/") or url.query or url.fragment:
        yield Finding("bad", "SUPABASE_URL", "Leave out what comes after the name: it is the project's own address.")
    elif url.scheme != "https" and not _is_this_machine(url.hostname):
        yield Finding("bad", "SUPABASE_URL", "Without https, keys and tokens can be read on the way. Write https.")
    else:
        yield Finding("ok", "SUPABASE_URL", "Is the address of a project.")
    yield _kind_of_key("SUPABASE_PUBLISHABLE_KEY", setup.publishable_key, prefix="sb_publishable_", role="anon")
    yield _kind_of_key("SUPABASE_SECRET_KEY", setup.secret_key, prefix="sb_secret_", role="service_role")


def about_sign_up(auth_settings: dict[str, Any]) -> Iterator[Finding]:
    """`auth_settings` are what Supabase Auth says of itself at /settings."""
    if auth_settings.get("mailer_autoconfirm") is False:
        yield Finding("ok", "confirmation of addresses", "On.")
    else:
        sentence = (
            "Off: people sign up with addresses of others, and whoever steals a session takes the account by changing "
            "its address. Switch on `Confirm email` (config.toml: auth.email.enable_confirmations)."
        )
        yield Finding("bad", "confirmation of addresses", sentence)


def about_public_keys(public_keys: dict[str, Any]) -> Iterator[Finding]:
    """`public_keys` is the project's JWKS (RFC 7517 section 5)."""
    keys = [key for key in public_keys.get("keys", []) if isinstance(key, dict)]
    if any(key.get("kty") == "oct" or "d" in key for key in keys):
        yield Finding(
            "bad", "signing keys", "A secret one is published, and whoever read it signs tokens. Rotate it now."
        )
    elif not any(key.get("alg") in ALGORITHMS and key.get("kid") for key in keys):
        yield Finding("bad", "signing keys", f"None is published that tokens could be checked with. {USE_ES256}")
    else:
        yield Finding("ok", "signing keys", "Published, and of a kind the app can check.")


def about_token(access_token: str, *, issuer: str, public_keys: dict[str, Any]) -> Iterator[Finding]:
    """Look at a token that Supabase Auth has just issued to somebody with a password."""
    algorithm, claims = _algorithm_of(access_token), claims_of(access_token)
    if algorithm not in ALGORITHMS:
        yield Finding("bad", "tokens", f"Signed with {algorithm}, so the app believes none. {USE_ES256}")
    elif claims.get("iss") != issuer:
        sentence = f"Issued by {claims.get('iss')}, expected {issuer}. SUPABASE_URL is not the project's own address."
        yield Finding("bad", "tokens", sentence)
    elif claims.get("aud") != "authenticated" or claims.get("role") != "authenticated":
        sentence = "Not for the audience and role `authenticated`. Leave both as Supabase Auth has them by default."
        yield Finding("bad", "tokens", sentence)
    elif not _is_signed(access_token, claims, public_keys):
        sentence = "Signed with a key that is not published. Wait 10 minutes if keys were just rotated, then run again."
        yield Finding("bad", "tokens", sentence)
    else:
        yield Finding("ok", "tokens", f"Signed with {algorithm} by a published key, for this app.")
    if claims.get("assurance") == "stamped":
        yield Finding("ok", "access token hook", "On: the token is stamped.")
    else:
        sentence = (
            "Off, so nobody gets past the second factor. Switch on public.stamp_assurance (dashboard: Authentication, "
            "Hooks, Customize Access Token; config.toml: auth.hook.custom_access_token)."
        )
        yield Finding("bad", "access token hook", sentence)


def claims_of(access_token: str) -> dict[str, Any]:
    """What the token says, believed or not; nothing, if it is no token."""
    try:
        return jwt.decode(access_token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}


def about_unused_kind(kind: Literal["phone", "webauthn"], refusal: str | None) -> Finding:
    """Look at the code with which Supabase Auth refused to enrol a factor of a kind the app does not use, or None."""
    about = {"phone": "codes by phone", "webauthn": "WebAuthn of Supabase Auth"}[kind]
    off = {f"mfa_{kind}_enroll_not_enabled"}
    if kind == "webauthn":
        off.add("validation_failed")  # a server that does not know the kind; one that knows phones misses the number
    if refusal in off:
        return Finding("ok", about, "Off.")
    if kind == "phone":
        sentence = (
            "On, but not used here, and messages can be intercepted. Switch it off (config.toml: auth.mfa.phone)."
        )
        return Finding("warn", about, sentence)
    sentence = (
        "On: it lets its caller choose between registering and signing in, so a stranger's passkey could take the "
        "place of a person's. Switch it off (config.toml: auth.mfa.web_authn); this app's passkeys do without it."
    )
    return Finding("bad", about, sentence)


def about_peppers(needed: dict[str, int], known: Collection[str]) -> Iterator[Finding]:
    """`needed`: how many sheets of recovery codes count that were made with each pepper; `known` are its names."""
    unknown = {name: sheets for name, sheets in needed.items() if name not in known}
    for name, sheets in unknown.items():
        sentence = (
            f"{sheets} sheets were made with the pepper named {name}, which RECOVERY_CODE_PEPPER does not hold, so "
            "none of their codes is accepted. Put it back behind the first one, until those sheets are replaced."
        )
        yield Finding("bad", "recovery codes", sentence)
    if not unknown:
        yield Finding("ok", "recovery codes", "The peppers of all sheets are there.")


def about_clocks(*, auth_ahead: float, database_ahead: float) -> Iterator[Finding]:
    """Both in seconds and compared with this machine; negative is behind."""
    ahead = {"this machine": 0.0, "Supabase Auth": auth_ahead, "the database": database_ahead}
    agree = True
    for one, other in combinations(sorted(ahead, key=lambda name: -ahead[name]), 2):
        seconds = ahead[one] - ahead[other]
        if seconds > SKEW_WARN_SECONDS:
            agree = False
            level: Level = "bad" if seconds > SKEW_BAD_SECONDS else "warn"
            sentence = f"Of {one}: {seconds:.0f} s ahead of {other}. Keep both on time with NTP."
            yield Finding(level, "clocks", sentence)
    if agree:
        yield Finding("ok", "clocks", f"This machine, Supabase Auth and the database agree to {SKEW_WARN_SECONDS} s.")


def _is_this_machine(host: str | None) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _is_address(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


def _drawn_at_random(name: str, *keys: str) -> Finding:
    if any(len(set(key)) < FEWEST_CHARACTERS for key in keys):
        return Finding("bad", name, "Was not drawn at random. .env.example says how to make one.")
    if len(set(keys)) < len(keys):
        return Finding("warn", name, "Names the same key twice. Leave one out.")
    return Finding("ok", name, "Looks drawn at random.")


def _kind_of_key(name: str, key: str, *, prefix: str, role: str) -> Finding:
    if not key.isascii() or not key.isprintable() or " " in key:
        return Finding("bad", name, "Holds white space or letters that no key has. Copy it again.")
    if key.startswith(prefix):
        return Finding("ok", name, f"Begins with {prefix}, as it should.")
    found = _role_of(key)
    if found == role:
        sentence = f"Is a legacy key. Make one that begins with {prefix} (dashboard: Settings, API Keys)."
        return Finding("warn", name, sentence)
    if found or key.startswith(("sb_publishable_", "sb_secret_")):
        sentence = f"Is a key of another kind: it begins with {prefix}, or is for {role}. Are the two keys swapped?"
        return Finding("bad", name, sentence)
    return Finding("bad", name, f"Is no key of Supabase. It begins with {prefix} (dashboard: Settings, API Keys).")


def _algorithm_of(access_token: str) -> str | None:
    try:
        return str(jwt.get_unverified_header(access_token).get("alg"))
    except jwt.PyJWTError:
        return None


def _role_of(key: str) -> str | None:
    """The role that a legacy key, which is a JWT, says it is for."""
    role = claims_of(key).get("role")
    return role if isinstance(role, str) else None


def _is_signed(access_token: str, claims: dict[str, Any], public_keys: dict[str, Any]) -> bool:
    try:
        # At the moment it was issued: clocks are another question.
        verified(access_token, KeySet(lambda: public_keys, lambda: 0), issuer=claims["iss"], now=claims["iat"])
    except SignInRequired:
        return False
    return True
