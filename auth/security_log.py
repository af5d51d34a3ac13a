"""The security log: what happened to somebody's account, in words that its owner understands."""

from dataclasses import dataclass
from typing import Any

from auth.gateway import Gateway

MOST_ENTRIES = 50

SENTENCES = {
    "signed_in": "Signed in {way}.",
    "signed_out": "Signed out.",
    "app_added": "The authenticator app “{name}” was added.",
    "app_renamed": "The authenticator app “{before}” was renamed to “{name}”.",
    "app_removed": "The authenticator app “{name}” was removed.",
    "passkey_added": "The passkey “{name}” was added.",
    "passkey_renamed": "The passkey “{before}” was renamed to “{name}”.",
    "passkey_removed": "The passkey “{name}” was removed.",
    "passkey_suspect": "There may be a copy of the passkey “{name}”, so it is not accepted any more.",
    "codes_made": "Sheet {label} of recovery codes was made.",
    "code_used": "A recovery code of sheet {label} was used. Codes left: {left}.",
    "codes_off": "{Kind} were switched off after too many wrong ones.",
    "codes_on": "{Kind} were switched on again.",
    "intercepted": "Somebody who knows the password tried to sign in at the same moment, and was stopped.",
    "password_changed": "The password was changed.",
    "address_changed": "The address was changed from {before} to {name}.",
    "sessions_ended": "All sessions were ended.",
    "looked_at": "The account was looked at.",
}

WAYS = {"password": "with the password", "passkey": "with a passkey"}
KINDS = {"totp": "Codes from authenticator apps", "recovery_code": "Recovery codes"}


@dataclass(frozen=True)
class Entry:
    """`at` is Unix time. `actor` is the address of who did it `by_support`, and `reason` what they wrote."""

    id: int
    at: float
    sentence: str
    by_support: bool
    actor: str | None
    reason: str | None


def page_of(gateway: Gateway, user_id: str, *, before: int | None = None) -> list[Entry]:
    """Return MOST_ENTRIES of somebody's log, newest first; older ones than the entry with the id `before`."""
    return gateway.call("log_of", entries, p_user=user_id, p_most=MOST_ENTRIES, p_before=before)


def entries(answer: Any) -> list[Entry]:
    """Read what public.log_of returns."""
    return [
        Entry(
            row["id"],
            row["at"],
            _said(row["event"], row["what"]),
            row["by_support"],
            row["actor"],
            row["what"].get("reason"),
        )
        for row in answer
    ]


def _said(event: str, what: dict[str, Any]) -> str:
    way, kind = WAYS.get(what.get("with", ""), "with a link from a mail"), KINDS.get(what.get("kind", ""), "Codes")
    # An entry of a newer version of this app is still an entry.
    words = {"name": "", "before": "", "label": "", "left": ""} | what | {"way": way, "Kind": kind}
    return SENTENCES.get(event, "Something else happened: {event}.").format(**words | {"event": event})
