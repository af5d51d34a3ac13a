"""Guessing is bounded and codes work once: with wrong codes, in races, against thieves, and over a bad line."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyotp
import pytest
from webtest import TestResponse

from auth import attempts
from auth.attempts import Attempt, Rules
from auth.refusals import (
    CodeSpent,
    Disabled,
    Intercepted,
    Locked,
    Refused,
    TryAgain,
    UnknownFactor,
    WrongCode,
)
from tests.people import Browser, Person, at_challenge, form
from tests.proxy import app_behind_proxy, running_proxy
from tests.stranger import Stranger
from tests.test_app import make_app  # noqa: F401  # a fixture

RULES = Rules()


# Wrong codes


def test_five_wrong_codes_lock_the_app_for_fifteen_minutes(alice_with_totp):
    browser = at_challenge(alice_with_totp)
    for nth, left in enumerate(["4 tries are left", "3 tries are left", "2 tries are left", "One try is left"]):
        page = alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(nth))
        assert page.status_code == 422
        assert left in page
    for code in (alice_with_totp.phones[0].wrong_code(4), alice_with_totp.phones[0].code()):
        page = alice_with_totp.submits_code(browser, code)
        assert page.status_code == 429
        assert 890 < int(page.headers["Retry-After"]) <= 900
        assert "Too many wrong codes. Codes are locked for 15 more minutes." in page
    assert browser.get("/account").location.startswith("/mfa/challenge")


def test_a_right_code_in_between_starts_the_count_anew(alice_with_totp):
    browser = at_challenge(alice_with_totp)
    for nth in range(4):
        alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(nth))
    assert alice_with_totp.submits_code(browser).status_code == 303
    assert counts(alice_with_totp) == {"failures": 0, "since_success": 0, "locked": False}
    page = alice_with_totp.submits_code(at_challenge(alice_with_totp), alice_with_totp.phones[0].wrong_code())
    assert "4 tries are left" in page


def test_the_lock_ends_and_the_count_starts_anew_after_fifteen_minutes(alice_with_totp):
    browser = at_challenge(alice_with_totp)
    for nth in range(5):
        alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(nth))
    ages_attempts(alice_with_totp, 880)
    assert alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(5)).status_code == 429
    ages_attempts(alice_with_totp, 20)
    assert "4 tries are left" in alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(6))
    assert alice_with_totp.submits_code(browser).status_code == 303


def test_wrong_codes_of_more_than_fifteen_minutes_ago_do_not_count_towards_the_lock(alice_with_totp):
    browser = at_challenge(alice_with_totp)
    for nth in range(4):
        alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(nth))
    ages_attempts(alice_with_totp, 901)
    assert "4 tries are left" in alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code(4))


def test_sixty_wrong_codes_without_a_right_one_switch_codes_off_for_good(alice_with_totp):
    set_counts(alice_with_totp, failures=0, since_success=59)
    browser = at_challenge(alice_with_totp)
    assert alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code()).status_code == 422
    ages_attempts(alice_with_totp, 10_000)
    page = alice_with_totp.submits_code(browser)
    assert page.status_code == 403
    assert "switched off after too many wrong ones" in page
    assert browser.get("/account").location.startswith("/mfa/challenge")


def test_one_persons_wrong_codes_lock_nobody_else(new_person):
    people = [new_person(), new_person("bob")]
    for person in people:
        person.set_up_app(person.signs_in())
    alice, bob = people
    set_counts(alice, failures=5, since_success=5, locked=True)
    assert bob.submits_code(at_challenge(bob)).status_code == 303


# Codes work once


def test_a_code_that_was_accepted_in_one_browser_is_refused_in_another(alice, alice_at_aal2):
    alice.forgets_used_codes()
    other = alice.signs_in()
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    code = alice.phones[0].code()
    assert alice.submits_code(alice_at_aal2, code).status_code == 303
    page = alice.submits_code(other, code)
    assert page.status_code == 422
    assert "That code was just used. Wait for the next one (" in page
    assert 0 < int(page.headers["Retry-After"]) <= 30


def test_a_wrong_code_is_only_wrong_when_it_is_tried_again(alice_with_totp):
    browser = at_challenge(alice_with_totp)
    for left in ("4 tries", "3 tries"):
        page = alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code())
        assert f"That code is not right. Check that your phone shows the right time. {left}" in page


def test_a_code_stays_spent_for_two_minutes_of_which_it_is_valid_for_ninety_seconds(alice_with_totp):
    settle(alice_with_totp, begin(alice_with_totp, "a code"), "right")
    for seconds, is_spent in ((115, True), (10, False)):
        alice_with_totp.database.execute(
            "update public.mfa_spent_codes set spent_at = spent_at - make_interval(secs => %s) where factor_id = %s",
            [seconds, factor_of(alice_with_totp)],
        )
        assert isinstance(begin(alice_with_totp, "a code"), CodeSpent) is is_spent


def test_a_spent_code_costs_no_try(alice_with_totp):
    settle(alice_with_totp, begin(alice_with_totp, "a code"), "right")
    assert isinstance(begin(alice_with_totp, "a code"), CodeSpent)
    assert counts(alice_with_totp)["failures"] == 0


def test_codes_are_kept_as_hashes_only(alice_with_totp):
    (code,) = alice_with_totp.phones[0].used
    (row,) = alice_with_totp.database.execute(
        "select code_hash, s::text from public.mfa_spent_codes s where factor_id = %s", [factor_of(alice_with_totp)]
    )
    assert re.fullmatch("[0-9a-f]{64}", row["code_hash"])
    assert code not in row["s"].replace(row["code_hash"], "")


# Races


def test_of_fifty_attempts_with_one_code_one_is_begun(alice_with_totp):
    begun = at_once(50, lambda _: begin(alice_with_totp, "a code"))
    assert sum(isinstance(attempt, Attempt) for attempt in begun) == 1
    assert sum(isinstance(attempt, CodeSpent) for attempt in begun) == 49
    assert counts(alice_with_totp)["failures"] == 1


def test_of_many_attempts_in_the_same_instant_five_are_begun(alice_with_totp, database):
    with ThreadPoolExecutor(12) as threads:
        with database.transaction():  # holds all of them back where they read the count
            database.execute("select from public.mfa_attempts where user_id = %s for update", [alice_with_totp.id])
            begun = [threads.submit(begin, alice_with_totp, f"code {nth}") for nth in range(12)]
            time.sleep(0.5)
    assert [type(attempt.result()) for attempt in begun].count(Attempt) == 5
    assert rows_of(alice_with_totp, "mfa_challenge_grants") == 5


def test_of_fifty_browsers_with_one_right_code_one_gets_in(alice_with_totp):
    code = alice_with_totp.phones[0].code()
    pages = submitted_at_once(fifty_tabs(alice_with_totp), [code] * 50)
    assert [page.location for page in pages].count("/account") == 1
    for page in pages:  # the others: spent, or signed out, as Supabase Auth ends what is still at aal1
        assert page.location or "That code was just used" in page
        assert not page.location or page.location == "/account" or page.location.startswith("/login")
    assert counts(alice_with_totp) == {"failures": 0, "since_success": 0, "locked": False}


def test_of_fifty_browsers_with_wrong_codes_five_are_heard(alice_with_totp, round_trips):
    totp, now = pyotp.TOTP(alice_with_totp.phones[0].secret), int(time.time())
    valid = {totp.at(now + 30 * step) for step in range(-3, 4)}
    pages = submitted_at_once(
        fifty_tabs(alice_with_totp), [code for n in range(60) if (code := f"{n:06}") not in valid]
    )
    assert sum(request.endswith("/verify") for request in round_trips) == 5
    assert {page.status_code for page in pages} <= {422, 429}
    assert sum("Too many wrong codes" in page for page in pages) >= 45
    assert counts(alice_with_totp) == {"failures": 5, "since_success": 5, "locked": True}


# What each outcome leaves behind


@pytest.mark.parametrize(
    ("outcome", "refusal", "failures", "since_success", "is_spent"),
    [
        ("right", None, 0, 0, True),
        ("wrong", WrongCode, 3, 8, False),
        ("refused", TryAgain, 2, 7, False),
        ("unknown", TryAgain, 2, 8, True),
        ("unchallenged", TryAgain, 3, 8, False),
        ("unanswered", TryAgain, 3, 8, False),
    ],
)
def test_what_an_outcome_leaves_behind(alice_with_totp, outcome, refusal, failures, since_success, is_spent):
    set_counts(alice_with_totp, failures=2, since_success=7)
    attempt = begin(alice_with_totp, "a code")
    assert counts(alice_with_totp) == {"failures": 3, "since_success": 8, "locked": False}
    if outcome not in ("unchallenged", "unanswered"):  # the challenge was made, and took the grant
        alice_with_totp.database.execute("delete from public.mfa_challenge_grants where id = %s", [attempt.grant])
    told = settle(alice_with_totp, attempt, outcome)
    assert refusal is None or type(told) is refusal
    assert counts(alice_with_totp) == {"failures": failures, "since_success": since_success, "locked": False}
    assert rows_of(alice_with_totp, "mfa_challenge_grants") == 0
    assert isinstance(begin(alice_with_totp, "a code"), CodeSpent) is is_spent


@pytest.mark.parametrize(("outcome", "is_locked"), [("wrong", True), ("unanswered", True), ("unknown", False)])
def test_the_fifth_try_locks_unless_it_turns_out_not_to_count(alice_with_totp, outcome, is_locked):
    set_counts(alice_with_totp, failures=4, since_success=4)
    attempt = begin(alice_with_totp, "a code")
    assert isinstance(begin(alice_with_totp, "another"), Locked)  # while it is under way
    told = settle(alice_with_totp, attempt, outcome)
    assert isinstance(told, Locked) is is_locked
    assert isinstance(begin(alice_with_totp, "another"), Locked) is is_locked


def test_an_attempt_that_is_never_ended_stays_counted(alice_with_totp):
    for nth in range(5):
        assert isinstance(begin(alice_with_totp, f"code {nth}"), Attempt)
    assert isinstance(begin(alice_with_totp, "one more"), Locked)


def test_beyond_the_cap_no_attempt_begins_and_the_cap_is_a_setting(alice_with_totp):
    set_counts(alice_with_totp, failures=0, since_success=9)
    assert isinstance(begin(alice_with_totp, "a code", Rules(cap=9)), Disabled)
    assert isinstance(begin(alice_with_totp, "a code", Rules(cap=10)), Attempt)


def test_limit_and_window_are_settings(make_app, alice_with_totp):  # noqa: F811
    alice_with_totp.app = make_app(mfa_attempts_limit=2, mfa_attempts_window_seconds=60)
    browser = at_challenge(alice_with_totp)
    wrong = [alice_with_totp.phones[0].wrong_code(nth) for nth in range(2)]
    assert "One try is left" in alice_with_totp.submits_code(browser, wrong[0])
    locked = alice_with_totp.submits_code(browser, wrong[1])
    assert locked.status_code == 429
    assert 50 < int(locked.headers["Retry-After"]) <= 60


def test_the_servers_log_names_who_entered_a_wrong_code_and_nothing_else_of_them(alice, alice_at_aal2, caplog):
    codes = alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    caplog.set_level("DEBUG")
    wrong, unknown = alice.phones[0].wrong_code(), "ABCD-EFGH"
    alice.submits_code(browser, wrong)
    alice.submits_recovery_code(browser, unknown)
    alice.submits_recovery_code(browser, codes[0])
    assert caplog.text.count(alice.id) == 2
    for secret in (alice.email, alice.password, wrong, unknown, unknown.replace("-", ""), *codes):
        assert secret not in caplog.text


def test_an_attempt_is_for_ones_own_app(new_person):
    people = [new_person(), new_person("mallory")]
    for person in people:
        person.set_up_app(person.signs_in())
    alice, mallory = people
    assert isinstance(begin(replace(mallory, phones=[]), "a code", factor=factor_of(alice)), UnknownFactor)
    browser = at_challenge(mallory)
    challenge = form(browser.get("/mfa/challenge"), "/mfa/challenge")
    challenge["factor"].force_value(factor_of(alice))
    challenge["code"] = alice.phones[0].code()
    assert challenge.submit().status_code == 404
    assert browser.get("/account").location.startswith("/mfa/challenge")


# A stranger with the password takes the grant


def test_a_stolen_grant_is_noticed_and_what_it_bought_is_taken_back(alice_with_totp, stranger):
    factor = factor_of(alice_with_totp)
    attempt = begin(alice_with_totp, "a code")
    stolen = stranger.challenges(factor)
    assert stolen.is_success
    assert not stranger.challenges(factor).is_success  # one grant, one challenge: the app's own would fail like this
    assert isinstance(settle(alice_with_totp, attempt, "unchallenged"), Intercepted)
    assert counts(alice_with_totp) == {"failures": 21, "since_success": 21, "locked": True}
    assert rows_of(alice_with_totp, "mfa_challenges", schema="auth") == 0
    assert stranger.answers(factor, stolen.json()["id"], alice_with_totp.phones[0].code()).status_code == 422
    assert stranger.refreshes().claims["aal"] == "aal1"


def test_the_owner_is_told_when_somebody_takes_the_grant_between_count_and_challenge(proxied, stranger):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/challenge", lambda: stranger.challenges(factor_of(alice)).raise_for_status())
    page = alice.submits_code(browser)
    assert page.status_code == 429
    assert "Somebody else who knows your password tried to sign in at this very moment" in page
    assert not proxy.asked("/verify")
    assert counts(alice)["since_success"] == 21


# A bad line


def test_a_lost_answer_to_a_right_code_signs_in_all_the_same(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/verify", "lost")
    assert alice.submits_code(browser).location == "/account"
    assert browser.get("/account").status_code == 200
    assert counts(alice) == {"failures": 0, "since_success": 0, "locked": False}
    assert not is_leased(alice)


def test_a_lost_answer_to_a_wrong_code_is_not_counted_and_lets_nobody_in(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/verify", "lost")
    page = alice.submits_code(browser, alice.phones[0].wrong_code())
    assert "That did not go through. Please try again with a new code." in page
    assert browser.get("/account").location.startswith("/mfa/challenge")
    assert counts(alice)["failures"] == 0
    assert not is_leased(alice)


@pytest.mark.parametrize("trouble", ["cut", "bad gateway"])
def test_a_code_that_never_arrived_is_not_counted_and_the_next_one_works(proxied, trouble):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/verify", trouble)
    code = alice.phones[0].code()
    page = alice.submits_code(browser, code)
    assert page.status_code == 422
    assert "That did not go through. Please try again with a new code." in page
    assert counts(alice)["failures"] == 0
    assert not is_leased(alice)
    assert "That code was just used" in alice.submits_code(browser, code)  # it may have been
    alice.forgets_used_codes()
    assert alice.submits_code(browser).location == "/account"


def test_when_the_truth_cannot_be_learned_either_the_session_goes_on(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/verify", "lost")
    proxy.upset("grant_type=refresh_token", "cut")
    page = alice.submits_code(browser)
    assert page.status_code == 503
    assert "We cannot reach our account service" in page
    assert counts(alice)["failures"] == 0
    alice.forgets_used_codes()
    assert alice.submits_code(browser).location == "/account"
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("trouble", ["lost", "cut", "bad gateway"])
def test_without_an_answer_to_the_challenge_the_try_counts_and_the_code_stays_good(proxied, trouble):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("/challenge", trouble)
    code = alice.phones[0].code()
    page = alice.submits_code(browser, code)
    assert page.status_code == 422
    assert "That did not go through" in page
    assert counts(alice)["failures"] == 1
    assert rows_of(alice, "mfa_challenge_grants") == 0
    assert not is_leased(alice)
    assert alice.submits_code(browser, code).location == "/account"


def test_when_the_challenge_is_gone_the_try_does_not_count_and_the_code_stays_good(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    gone = "delete from auth.mfa_challenges where factor_id = %s"
    proxy.upset("/verify", lambda: alice.database.execute(gone, [factor_of(alice)]))
    code = alice.phones[0].code()
    assert "That did not go through" in alice.submits_code(browser, code)
    assert counts(alice)["failures"] == 0
    assert alice.submits_code(browser, code).location == "/account"


@pytest.mark.parametrize("trouble", ["lost", "cut"])
@pytest.mark.parametrize("step", ["mfa_begin_attempt", "mfa_end_attempt"])
def test_when_the_books_cannot_be_kept_nobody_is_let_in_unproven_and_nobody_is_stuck(proxied, step, trouble):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset(step, trouble)
    page = alice.submits_code(browser, alice.phones[0].wrong_code())
    assert page.status_code == 503
    assert counts(alice)["failures"] == (0 if (step, trouble) == ("mfa_begin_attempt", "cut") else 1)
    assert not is_leased(alice)
    assert alice.submits_code(browser).location == "/account"


def test_a_lost_end_of_a_right_code_does_not_keep_the_person_out(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("mfa_end_attempt", "cut")
    assert alice.submits_code(browser).location == "/account"
    assert counts(alice)["failures"] == 1  # until the next right code


@pytest.mark.parametrize("trouble", ["lost", "cut"])
def test_when_the_vault_does_not_answer_the_person_calmly_proves_it_again(proxied, trouble):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("vault_store", trouble)
    assert alice.submits_code(browser).status_code == 503
    assert browser.get("/account").location.startswith("/mfa/challenge")  # never in, unless the cookie says so
    alice.forgets_used_codes()
    if trouble == "cut":
        assert alice.submits_code(browser).location == "/account"
    else:  # the vault has a new key, which nobody knows
        assert alice.submits_code(browser).location.startswith("/login")
        alice.forgets_used_codes()
        assert alice.signs_in(browser).get("/account").status_code == 200


@pytest.fixture
def stranger(alice_with_totp):
    """Knows Alice's password, and has a session of his own at aal1."""
    return Stranger().signs_in_as(alice_with_totp)


@pytest.fixture
def proxied(alice_with_totp):
    """Alice, whose browser now talks to an app that reaches Supabase through a proxy; and the proxy."""
    with running_proxy() as proxy:
        app = app_behind_proxy(proxy.url)
        yield replace(alice_with_totp, app=app), proxy
        app.extensions["stepup"].gateway.close()


def fifty_tabs(person: Person) -> list[Browser]:
    """Ten browsers at the challenge, with five tabs each."""
    tabs = []
    for browser in [at_challenge(person) for _ in range(10)]:
        for _ in range(5):
            tab = person.browser()
            for cookie in browser.cookiejar:
                tab.cookiejar.set_cookie(cookie)
            tabs.append(tab)
    return tabs


def submitted_at_once(tabs: list[Browser], codes: list[str]) -> list[TestResponse]:
    """Let every tab submit its code, all at the same moment."""
    challenges = [form(tab.get("/mfa/challenge", {"next": "/account"}), "/mfa/challenge") for tab in tabs]

    def submit(nth: int) -> TestResponse:
        challenges[nth]["code"] = codes[nth]
        return challenges[nth].submit()

    return at_once(len(tabs), submit)


def at_once(number: int, do: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(do, range(number)))


def begin(person: Person, code: str, rules: Rules = RULES, *, factor: str | None = None) -> Attempt | Refused:
    """Begin an attempt as the app does, and return it or the refusal."""
    gateway = person.app.extensions["stepup"].gateway
    factor = factor or factor_of(person)
    try:
        return attempts.begin(gateway, rules, user_id=person.id, factor_id=factor, code_hash=code, now=time.time())
    except Refused as refusal:
        return refusal


def settle(person: Person, attempt: Attempt | Refused, outcome: str) -> Refused:
    assert isinstance(attempt, Attempt)
    return attempts.end(person.app.extensions["stepup"].gateway, RULES, attempt, outcome)


def factor_of(person: Person) -> str:
    (row,) = person.database.execute("select id::text from auth.mfa_factors where user_id = %s", [person.id])
    return row["id"]


def counts(person: Person) -> dict:
    (row,) = person.database.execute(
        "select failures, since_success, coalesce(locked_until > now(), false) as locked"
        " from public.mfa_attempts where user_id = %s and kind = 'totp'",
        [person.id],
    )
    return row


def set_counts(person: Person, *, failures: int, since_success: int, locked: bool = False) -> None:
    person.database.execute(
        "update public.mfa_attempts set failures = %s, since_success = %s,"
        " locked_until = case when %s then now() + interval '15 minutes' end where user_id = %s",
        [failures, since_success, locked, person.id],
    )


def ages_attempts(person: Person, seconds: int) -> None:
    person.database.execute(
        "update public.mfa_attempts set window_started = window_started - make_interval(secs => %(seconds)s),"
        " locked_until = locked_until - make_interval(secs => %(seconds)s) where user_id = %(user)s",
        {"seconds": seconds, "user": person.id},
    )


def rows_of(person: Person, table: str, *, schema: str = "public") -> int:
    return person.database.execute(f"select from {schema}.{table} where factor_id = %s", [factor_of(person)]).rowcount


def is_leased(person: Person) -> bool:
    leased = "select from public.web_account_sessions where user_id = %s and lease_until > now()"
    return person.database.execute(leased, [person.id]).rowcount > 0
