"""A person with everything set up, for tables of tests that change nothing: made once, and again if something did."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.people import Browser, Person, form

VAULT = "select from public.web_vaults where key_hash = %s"
FRESH_SECONDS = 30  # what cannot be undone wants a proof of the last 60
OLD_SECONDS = 200  # Supabase Auth deletes set-ups that are unfinished after 300, at anybody's next one


@dataclass
class Settled:
    """Has an authenticator app, a note, an unfinished set-up of a second app, and a browser at aal2."""

    person: Person
    browser: Browser
    state: dict[str, Any]


STATE = {
    "address": "select email, email_change from auth.users where id = %(id)s",
    "password": "select encrypted_password from auth.users where id = %(id)s",
    "factors": "select f.status, f.friendly_name, e.factor_id is not null as endorsed from auth.mfa_factors f"
    " left join public.mfa_endorsed_factors e on e.factor_id = f.id where f.user_id = %(id)s order by f.created_at",
    "codes": "select s.label, s.replaced_at, s.confirmed_at, c.digest, c.used_at from public.mfa_recovery_sets s"
    " join public.mfa_recovery_codes c on c.set_id = s.id where s.user_id = %(id)s order by s.label, c.digest",
    "billing": "select * from public.billing where user_id = %(id)s",
    "notes": "select body from public.notes where user_id = %(id)s order by created_at",
    "sessions": "select s.aal from auth.sessions s"
    " join public.web_account_sessions a on a.session_id = s.id where s.user_id = %(id)s",
    "wrong codes": "select failures, since_success, locked_until from public.mfa_attempts where user_id = %(id)s",
}
# In one request: there are a thousand tests that ask before and after.
STATE_AT_ONCE = "select " + ", ".join(
    f"""(select coalesce(jsonb_agg(row), '[]') from ({query}) row) as "{what}\"""" for what, query in STATE.items()
)


def state_of(person: Person) -> dict[str, Any]:
    """Everything of this person that a deed could change, or leave half-done."""
    return person.database.execute(STATE_AT_ONCE, {"id": person.id}).fetchone() or {}


def settle(person: Person) -> Settled:
    browser = person.signs_in()
    person.set_up_app(browser, "Phone")
    note = form(browser.get("/account"), "/account")
    note["body"] = "before"
    note.submit()
    person.begins_app(browser, "Tablet")
    return Settled(person, browser, state_of(person))


class Reused:
    """Gives the same settled person again and again, unless the last test has changed something."""

    def __init__(self, make: Callable[[], Person]) -> None:
        self._make = make
        self._last: Settled | None = None
        self._made_at = self._proven_at = 0.0

    def __call__(self) -> Settled:
        now = time.monotonic()
        if self._last is None or now - self._made_at > OLD_SECONDS or not self._is_as_it_was(self._last):
            self._made_at = self._proven_at = now
            self._last = settle(self._make())
        elif (age := now - self._proven_at) > FRESH_SECONDS:
            self._last.person.ages_proofs(-int(age))
            self._proven_at += int(age)
        return self._last

    def _is_as_it_was(self, settled: Settled) -> bool:
        """Whether nothing has changed, and the browser has the key of a vault. Of its session tells the state."""
        key = hashlib.sha256(settled.browser.cookies.get("stepup", "").encode()).hexdigest()
        return state_of(settled.person) == settled.state and settled.person.database.execute(VAULT, [key]).rowcount == 1
