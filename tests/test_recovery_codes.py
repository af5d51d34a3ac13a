"""Recovery codes: drawn, made, confirmed, used, replaced; guessed at, raced for, and over a bad line."""

import contextlib
import re
import secrets
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import httpx
import psycopg
import pytest

from app import create_app
from auth import recovery_codes
from auth.recovery_codes import ALPHABET, Codes, Parameters, draw_set, is_code, needed, normalised, shown
from auth.refusals import Busy, RecoveryCodesLocked, Refused, SignInRequired, WrongRecoveryCode
from tests.authenticator import Authenticator
from tests.ceremonies import add_passkey, sign_in
from tests.mailbox import link_to
from tests.people import Browser, alerts, at_challenge, form
from tests.proxy import app_behind_proxy, running_app, running_proxy
from tests.settings import CHEAP
from tests.test_app import make_app  # noqa: F401  # a fixture

NOW = 1_790_000_000
PAGE = "/settings/security/recovery-codes"
CONFIRM = PAGE + "/confirm"
CHALLENGE = "/mfa/challenge/recovery-code"


# Arithmetic


def test_every_character_is_drawn_as_often_as_any_other():
    rounds = iter(range(10))
    codes = draw_set(256, lambda n: bytes((byte + shift) % 256 for shift in [next(rounds)] for byte in range(n)))
    assert Counter("".join(codes)) == dict.fromkeys(ALPHABET, 80)
    assert set("ILOU") & set(ALPHABET) == set() and len(ALPHABET) == 32


def test_a_set_has_ten_different_codes_even_if_chance_repeats_itself():
    drawn = iter([bytes(8), bytes(8), *(bytes([n] * 8) for n in range(1, 10))])
    assert draw_set(8, lambda _: next(drawn)) == [character * 8 for character in ALPHABET[:10]]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ABCD-1234", "ABCD1234"),
        ("abcd1234", "ABCD1234"),
        (" ab cd–12\t34 ", "ABCD1234"),
        ("OoIiLl00", "00111100"),
        ("ABCD-1234-EFGH-5678", "ABCD1234EFGH5678"),
    ],
)
def test_what_people_type_is_understood(typed, meant):
    assert normalised(typed) == meant
    assert is_code(meant)


@pytest.mark.parametrize("text", ["", "ABCD123", "ABCD12345", "UBCD1234", "ÄBCD1234", "123456", "ABCD123٤"])
def test_what_cannot_be_a_code_is_none(text):
    assert not is_code(normalised(text))


def test_codes_are_shown_in_groups_of_four():
    assert (shown("ABCD1234"), shown("ABCD1234EFGH5678")) == ("ABCD-1234", "ABCD-1234-EFGH-5678")


def test_a_digest_depends_on_everything():
    base = ("ABCD1234", b"pepper", b"saltsalt", CHEAP)
    others = [
        ("ABCD1235", *base[1:]),
        (base[0], b"other", *base[2:]),
        (*base[:2], b"saltsal1", CHEAP),
        (*base[:3], Parameters(memory_kib=16, passes=1)),
    ]
    digests = [recovery_codes.digest(*arguments) for arguments in (base, base, *others)]
    assert digests[0] == digests[1] and len(set(digests)) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


@pytest.mark.parametrize(
    ("left", "days_old", "confirmed", "ttl_days", "need"),
    [
        (10, 0, True, None, None),
        (10, 9999, True, None, None),
        (10, 0, False, None, "confirmation"),
        (4, 0, True, None, None),
        (3, 0, True, None, "more"),
        (0, 0, False, None, "more"),
        (10, 76, True, 90, None),
        (10, 76, False, 90, "confirmation"),
        (10, 76.01, False, 90, "new soon"),
        (10, 90, True, 90, "new soon"),
        (10, 90.01, True, 90, "new"),
        (3, 90.01, True, 90, "new"),
        (3, 89, True, 90, "more"),
    ],
)
def test_the_most_urgent_about_a_sheet_is_said(left, days_old, confirmed, ttl_days, need):
    codes = Codes(label=1, left=left, made_at=NOW - days_old * 86400, confirmed=confirmed)
    assert needed(codes, ttl_days, has_factors=True, now=NOW) == need


def test_codes_are_wanted_by_whoever_has_a_factor():
    assert needed(None, None, has_factors=True, now=NOW) == "first"
    assert needed(None, 90, has_factors=False, now=NOW) is None


# Making


def test_the_first_factor_leads_to_ten_codes_that_are_shown_once_and_kept_as_hashes(alice, database):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    finish = form(browser.get("/settings/security/totp"), "/settings/security/totp/verify")
    finish["code"] = phone.code()
    assert finish.submit().location == PAGE
    assert "Show my codes" in browser.get(PAGE)
    sheet = form(browser.get(PAGE), PAGE).submit()
    codes = sheet.html.select_one("#codes").get_text().split()
    assert len(set(codes)) == 10
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", code) for code in codes)
    assert sheet.headers["Cache-Control"] == "no-store"
    assert (
        "Stepup" in sheet.html.select_one("#sheet").get_text() and alice.email in sheet.html.select_one("#sheet").text
    )
    assert not any(code in browser.get(path).text for code in codes for path in (PAGE, "/settings/security"))
    rows = str(
        database.execute(
            "select s, c from public.mfa_recovery_sets s join public.mfa_recovery_codes c on c.set_id = s.id"
            " where user_id = %s",
            [alice.id],
        ).fetchall()
    )
    assert not any(code in rows or code.replace("-", "") in rows for code in codes)


def test_a_second_factor_leads_to_no_second_sheet(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    phone = alice.begins_app(alice_at_aal2, "Tablet")
    finish = form(alice_at_aal2.get("/settings/security/totp"), "/settings/security/totp/verify")
    finish["code"] = phone.code()
    assert finish.submit().location == "/settings/security"
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[0]).location == "/settings/security"


def test_reloading_a_sheet_makes_no_other_in_its_place(alice, alice_at_aal2, database):
    making = form(alice_at_aal2.get(PAGE), PAGE)
    codes = making.submit().html.select_one("#codes").get_text().split()
    page = making.submit()
    assert (page.status_code, "Please look again" in page) == (409, True)
    assert alice.submits_recovery_code(at_challenge(alice), codes[0]).location == "/settings/security"


def test_without_a_second_factor_nobody_makes_codes(alice, database):
    """A thief with the password could keep them until the owner has a factor."""
    browser = alice.signs_in()
    page = browser.get(PAGE)
    assert "Set one up first" in page
    assert [other.action for other in page.forms.values() if other.action == PAGE] == []
    page = browser.post(PAGE, {"csrf_token": form(browser.get("/logout"), "/logout")["csrf_token"].value})
    assert page.status_code == 409
    assert rows(database, alice) == []


def test_making_codes_wants_fresh_proof(alice, alice_at_aal2, database):
    making = form(alice_at_aal2.get(PAGE), PAGE)
    alice.ages_proofs(400)
    assert making.submit().location.startswith("/mfa/challenge?next=")
    assert rows(database, alice) == []


def test_sixteen_characters_where_the_setting_says_so(alice, variant):
    alice = replace(alice, app=variant(length=16))
    browser = alice.signs_in()
    alice.set_up_app(browser)
    assert all(re.fullmatch("(.{4}-){3}.{4}", code) for code in alice.makes_codes(browser))
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[3].lower()).location == "/settings/security"


def test_of_several_tabs_that_make_codes_at_once_every_sheet_shown_last_is_good(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    making = form(alice_at_aal2.get(PAGE), PAGE)
    with ThreadPoolExecutor(4) as threads:
        pages = list(threads.map(lambda _: making.submit(), range(4)))
    assert {page.status_code for page in pages} <= {200, 409}
    current = [row for row in rows(database, alice) if row["replaced_at"] is None]
    assert len({row["label"] for row in current}) == 1 and len(current) == 10
    assert len({row["salt"] for row in rows(database, alice)}) == 1


# Confirming


def test_a_sheet_is_asked_for_until_one_of_its_codes_is_typed_back_which_stays_good(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    for path in ("/account", "/settings/security"):
        assert "Have you kept sheet 1 of your recovery codes?" in alice_at_aal2.get(path)
    page = confirms(alice_at_aal2, "0000-0000")
    assert (page.status_code, alerts(page)) == (422, ["That recovery code is not right. Compare it with your sheet."])
    page = confirms(alice_at_aal2, alice.codes[9].lower().replace("-", " "))
    assert page.location == "/settings/security"
    page = page.follow()
    assert "still good" in page and "Have you kept" not in page
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[9]).location == "/settings/security"


@pytest.mark.parametrize("way", ["app", "passkey", "reset link"])
def test_every_sign_in_asks_once_for_a_sheet_that_was_not_confirmed_wherever_it_leads(alice, alice_at_aal2, way):
    device = Authenticator()
    add_passkey(alice_at_aal2, device)
    alice.makes_codes(alice_at_aal2)
    browser, page = alice.browser(), "/settings/security/totp"
    alice.forgets_used_codes()
    match way:
        case "app":
            alice.submits_password(browser, next=page)
            alice.submits_code(browser)
        case "passkey":
            assert sign_in(browser, device, next=page).location == page
        case "reset link":
            asked = form(browser.get("/forgot-password"), "/forgot-password")
            asked["email"] = alice.email
            asked.submit()
            confirmation = browser.get(link_to(alice.email, "/reset-password")).follow()
            page = form(confirmation, "/auth/confirm").submit().location
            assert browser.get(page).location.startswith("/mfa/challenge")
            alice.submits_code(browser)
    assert "Have you kept" not in browser.get(PAGE)  # which says it in its own words
    first, second = browser.get(page), browser.get(page)
    assert "Have you kept sheet 1 of your recovery codes?" in first
    assert (second.status_code, "Have you kept" in second) == (200, False)


def test_a_code_that_confirms_nothing_is_told_apart_in_the_same_round_trips(
    alice, alice_at_aal2, database, round_trips
):
    old, codes = alice.makes_codes(alice_at_aal2), alice.makes_codes(alice_at_aal2)
    alice.submits_recovery_code(at_challenge(alice), codes[0])
    database.execute("update public.mfa_recovery_sets set confirmed_at = null where user_id = %s", [alice.id])
    confirmation = form(alice_at_aal2.get(PAGE), CONFIRM)
    for code, sentence in (
        ("0000-0000", "That recovery code is not right. Compare it with your sheet."),
        (old[0], "That code is from sheet 1, which was replaced. Use a code from your newest sheet."),
        (codes[0], "That recovery code was used before, and each works once. Use another one of the sheet."),
    ):
        confirmation["code"] = code
        round_trips.clear()
        page = confirmation.submit()
        assert (page.status_code, alerts(page)) == (422, [sentence])
        assert round_trips == [
            f"POST /rest/v1/rpc/{call}" for call in ("vault_read", "recovery_salt", "recovery_codes_confirm")
        ]
    assert "Have you kept sheet 2" in alice_at_aal2.get("/account")


def test_a_sheet_that_is_too_old_is_not_confirmed(alice, alice_at_aal2, variant, database):
    alice.makes_codes(alice_at_aal2)
    browser = Browser(variant(ttl_days=90), alice_at_aal2.cookiejar)
    confirmation = form(browser.get(PAGE), CONFIRM)
    confirmation["code"] = alice.codes[0]
    database.execute(
        "update public.mfa_recovery_sets set made_at = now() - interval '91 days' where user_id = %s", [alice.id]
    )
    assert "Confirm that you have them" not in browser.get(PAGE)
    assert "too old to be used" in alerts(confirmation.submit())[0]


def test_whoever_has_used_a_code_is_not_asked_whether_they_have_them(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    page = alice.submits_recovery_code(browser, alice.codes[0]).follow()
    assert "Have you kept" not in page
    assert "Have you kept" not in alice_at_aal2.get("/account")


def test_every_sign_in_says_what_it_means_to_have_no_codes(alice_with_totp):
    alice_with_totp.forgets_used_codes()
    browser = alice_with_totp.signs_in()
    assert "Without recovery codes, whoever loses their phone or key is locked out." in browser.get("/account")


def test_where_nothing_is_to_be_confirmed_a_sentence_says_so(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    confirmation = form(alice_at_aal2.get(PAGE), CONFIRM)
    confirmation["code"] = alice.codes[0]
    confirmation.submit()
    assert "Confirm that you have them" not in alice_at_aal2.get(PAGE)
    confirmation["code"] = ""
    assert alerts(confirmation.submit()) == ["Enter the code."]
    alice.database.execute("delete from public.mfa_recovery_sets where user_id = %s", [alice.id])
    page = confirmation.submit()
    assert (page.status_code, "Please look again" in page) == (409, True)


def test_with_htmx_a_wrong_confirmation_leaves_the_sheet_on_the_page(alice, alice_at_aal2):
    sheet = form(alice_at_aal2.get(PAGE), PAGE).submit()
    confirmation = form(sheet, CONFIRM)
    confirmation["code"] = "0000-0000"
    answer = confirmation.submit(headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert answer.html.find(True)["id"] == "confirm-form"


# Using


def test_a_code_signs_in_once_and_leads_to_where_the_lost_phone_is_replaced(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    assert "Use a recovery code" in browser.get("/mfa/challenge")
    before = browser.cookies["stepup"]
    answer = alice.submits_recovery_code(browser, alice.codes[4])
    assert answer.location == "/settings/security"
    assert browser.cookies["stepup"] != before
    page = answer.follow()
    assert "That recovery code is spent. 9 are left. Under Security, set up anew what was lost" in page
    assert browser.get("/account").status_code == 200
    used = [row for row in rows(database, alice) if row["used_at"]]
    assert len(used) == 1  # kept, for the audit
    page = alice.submits_recovery_code(at_challenge(alice), alice.codes[4])
    assert page.status_code == 422
    assert "That recovery code was used before, and each works once." in page


def test_after_a_code_the_lost_phone_is_replaced(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    alice.submits_recovery_code(browser, alice.codes[0])
    (lost,) = apps(database, alice)
    alice.set_up_app(browser, "New")
    remove = f"/settings/security/totp/{lost}/remove"
    form(browser.get(remove), remove).submit()
    assert browser.get("/account").status_code == 200
    assert alice.signs_in().get("/account").status_code == 200


def test_a_session_opened_by_a_code_stays_aal2_through_refreshes_and_the_loss_of_one_of_two_apps(
    alice, alice_at_aal2, database
):
    alice.makes_codes(alice_at_aal2)
    alice.set_up_app(alice_at_aal2, "Tablet")
    browser = at_challenge(alice)
    alice.submits_recovery_code(browser, alice.codes[0])
    first, _ = apps(database, alice)
    remove = f"/settings/security/totp/{first}/remove"
    form(browser.get(remove), remove).submit()
    for _ in range(5):
        alice.expires_tokens()
        assert browser.get("/account").status_code == 200
        assert browser.get("/settings/security").status_code == 200  # and fresh


def test_a_code_steps_up_a_session_that_is_no_longer_fresh(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    alice.ages_proofs(400)
    assert alice_at_aal2.get("/settings/security").location.startswith("/mfa/challenge")
    assert alice.submits_recovery_code(alice_at_aal2, alice.codes[0]).location == "/settings/security"
    assert alice_at_aal2.get("/settings/security").status_code == 200


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Enter the code."),
        ("123 456", "That looks like a code from an authenticator app."),
        ("ABCD-123", "That is no recovery code: they look like ABCD-1234"),
        ("UUUU-1234", "That is no recovery code: they look like ABCD-1234"),
    ],
)
def test_what_is_no_recovery_code_is_refused_before_anything_is_counted(alice_with_totp, typed, sentence, round_trips):
    browser = at_challenge(alice_with_totp)
    challenge = form(browser.get("/mfa/challenge"), CHALLENGE)
    challenge["code"] = typed
    round_trips.clear()
    page = challenge.submit()
    assert page.status_code == 422
    assert sentence in page
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]


def test_round_trips_of_a_code(alice, alice_at_aal2, round_trips):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    challenge = form(browser.get("/mfa/challenge"), CHALLENGE)
    challenge["code"] = alice.codes[0]
    round_trips.clear()
    challenge.submit()
    assert round_trips == [
        "POST /rest/v1/rpc/vault_read",
        "POST /rest/v1/rpc/recovery_code_begin",
        "POST /rest/v1/rpc/recovery_code_use",
        "POST /auth/v1/token",
        "POST /rest/v1/rpc/vault_store",
    ]


def test_every_refused_code_takes_the_same_round_trips(alice, alice_at_aal2, new_person, round_trips):
    """With one computation for each, times can tell nothing. A stopwatch would only tell how busy this machine is."""
    old, codes = alice.makes_codes(alice_at_aal2), alice.makes_codes(alice_at_aal2)
    alice.submits_recovery_code(at_challenge(alice), codes[0])
    bob = new_person("bob")
    bob.set_up_app(bob.signs_in())
    taken = set()
    for person, code in [(alice, "0000-0000"), (alice, codes[0]), (alice, old[0]), (bob, codes[1])]:
        browser = at_challenge(person)
        challenge = form(browser.get("/mfa/challenge"), CHALLENGE)
        challenge["code"] = code
        round_trips.clear()
        assert challenge.submit().status_code == 422
        taken.add(tuple(round_trips))
    assert len(taken) == 1 and len(*taken) == 4  # the last gives the lease back


def test_few_codes_are_warned_of_in_the_flow_and_after_the_last_one_a_new_sheet_comes_first(
    alice, alice_at_aal2, database
):
    alice.makes_codes(alice_at_aal2)
    spend_all_but(database, alice, 2)
    unspent = [code for code in alice.codes if not is_spent(alice, code)]
    page = alice.submits_recovery_code(at_challenge(alice), unspent[0]).follow()
    assert "1 is left" in page and "Only one recovery code is left." in page
    browser = at_challenge(alice)
    page = alice.submits_recovery_code(browser, unspent[1]).follow()
    assert page.location == f"{PAGE}?next=/settings/security"
    page = page.follow()
    assert "That was your last recovery code." in page
    for path in ("/account", "/settings/security", "/settings/security/totp"):
        assert browser.get(path).location == f"{PAGE}?next={path}"
    alice.makes_codes(browser)
    assert browser.get("/account").status_code == 200
    assert browser.get("/settings/security").status_code == 200


def test_whoever_lets_the_moment_for_a_new_sheet_pass_is_not_kept_from_their_account(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    spend_all_but(database, alice, 1)
    browser = at_challenge(alice)
    alice.submits_recovery_code(browser, next(code for code in alice.codes if not is_spent(alice, code)))
    alice.ages_proofs(400)  # a new sheet would want another code, and there is none
    assert browser.get("/account").status_code == 200


def test_the_back_button_after_a_code_leads_on_and_so_does_having_no_factor(new_person, alice, alice_at_aal2):
    assert alice_at_aal2.get("/mfa/challenge").location == "/account"
    assert new_person("bob").signs_in().get("/mfa/challenge").location == "/account"
    assert alice.browser().get("/mfa/challenge").location.startswith("/login")


# Replacing


def test_a_new_sheet_ends_the_old_one_whose_codes_are_recognised(alice, alice_at_aal2):
    old = alice.makes_codes(alice_at_aal2)
    assert "every code of sheet 1 stops working at once" in alice_at_aal2.get(PAGE)
    new = alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    page = alice.submits_recovery_code(browser, old[0])
    assert page.status_code == 422
    assert "That code is from sheet 1, which was replaced. Use a code from your newest sheet." in page
    assert alice.submits_recovery_code(browser, new[0]).location == "/settings/security"


def test_a_new_sheet_ends_what_a_thief_has_opened_with_the_old_one_and_not_the_session_it_was_made_in(
    alice, alice_at_aal2
):
    alice.makes_codes(alice_at_aal2)
    thief, owner = at_challenge(alice), at_challenge(alice)
    alice.submits_recovery_code(thief, alice.codes[0])
    alice.submits_recovery_code(owner, alice.codes[1])
    alice.makes_codes(owner)
    assert thief.get("/account").location.startswith("/mfa/challenge")
    assert owner.get("/account").status_code == 200
    assert alice_at_aal2.get("/account").status_code == 200  # by its app


def test_if_a_new_sheet_cannot_be_kept_the_old_one_stays_good(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    account, recipe = account_of(alice), alice.app.extensions["stepup"].codes._recipe(alice.id)
    with pytest.raises(psycopg.errors.UniqueViolation):  # the last statement fails
        database.execute(
            "select public.recovery_codes_make(%s, %s, %s, %s, '{}', '1', array['same', 'same'])",
            [alice.id, account.session_id, recipe.set_id, recipe.salt.hex()],
        )
    assert {(row["label"], row["replaced_at"]) for row in rows(database, alice)} == {(1, None)}
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[0]).location == "/settings/security"


def test_with_the_last_factor_the_codes_go_and_do_not_open_the_next_one(alice, alice_at_aal2, database):
    planted = alice.makes_codes(alice_at_aal2)
    by_code = at_challenge(alice)
    alice.submits_recovery_code(by_code, planted[0])
    (factor,) = apps(database, alice)
    remove = f"/settings/security/totp/{factor}/remove"
    form(alice_at_aal2.get(remove), remove).submit()
    alice.codes, alice.phones = [], []
    levels = database.execute("select aal::text from auth.sessions where user_id = %s", [alice.id]).fetchall()
    assert {level["aal"] for level in levels} == {"aal1"}
    alice.set_up_app(alice.signs_in())
    page = alice.submits_recovery_code(at_challenge(alice), planted[1])
    assert page.status_code == 422


def test_another_pepper_or_other_parameters_draw_a_new_salt_and_the_sheet_of_before_stays_good(
    alice, variant, database
):
    before, after = {"a": b"0" * 32}, {"b": b"1" * 32, "a": b"0" * 32}
    alice = replace(alice, app=variant(peppers=before))
    browser = alice.signs_in()
    alice.set_up_app(browser)
    old = alice.makes_codes(browser)
    alice.app = variant(peppers=after)
    assert alice.submits_recovery_code(at_challenge(alice), old[0]).location == "/settings/security"
    browser = at_challenge(alice)
    alice.submits_recovery_code(browser, old[1])
    new = alice.makes_codes(browser)
    assert len({row["salt"] for row in rows(database, alice)}) == 2
    browser = at_challenge(alice)
    assert "is not right" in alice.submits_recovery_code(browser, old[2])  # no longer recognised, and no longer good
    assert alice.submits_recovery_code(browser, new[0]).location == "/settings/security"
    alice.app = variant(peppers=before)
    assert "is not right" in alice.submits_recovery_code(at_challenge(alice), new[1])


def test_sheets_expire_only_where_the_setting_says_so(alice, alice_at_aal2, variant, database):
    alice.makes_codes(alice_at_aal2)
    aged = "update public.mfa_recovery_sets set made_at = now() - make_interval(days => %s) where user_id = %s"
    strict = replace(alice, app=variant(ttl_days=90))
    for days, sentence in ((91, "have been too old to be used since"), (80, "can be used until")):
        database.execute(aged, [days, alice.id])
        assert f"Your recovery codes {sentence}" in Browser(strict.app, alice_at_aal2.cookiejar).get("/account")
    assert "Your recovery codes" not in alice_at_aal2.get("/account")
    database.execute(aged, [91, alice.id])
    page = strict.submits_recovery_code(at_challenge(strict), alice.codes[0])
    assert "too old to be used" in page
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[0]).location == "/settings/security"


def test_codes_that_are_too_old_are_no_way_back_in_where_a_loss_or_a_removal_is_forecast(
    alice, alice_at_aal2, variant, database
):
    alice.makes_codes(alice_at_aal2)
    browser = Browser(variant(ttl_days=90), alice_at_aal2.cookiejar)
    (phone,) = apps(database, alice)
    for days, still in ((89, True), (91, False)):
        database.execute(
            "update public.mfa_recovery_sets set made_at = now() - make_interval(days => %s) where user_id = %s",
            [days, alice.id],
        )
        security = browser.get("/settings/security").text
        assert ("you can still sign in with a recovery code" in security) is still
        assert ("you could not sign in any more" in security) is not still
        removal = browser.get(f"/settings/security/totp/{phone}/remove").text
        assert ("Your recovery codes end with it." in removal) is still
        assert ("It is good until" in browser.get(PAGE)) is still


# Guessing


def test_an_attempt_is_one_computation_whatever_is_typed_and_whoever_asks(alice, alice_at_aal2, variant):
    computed = []

    def counted(*arguments):
        computed.append(arguments)
        return recovery_codes.digest(*arguments)

    old = alice.makes_codes(alice_at_aal2)
    codes = alice.makes_codes(alice_at_aal2)
    flows = variant(digest=counted, parameters=CHEAP).extensions["stepup"].codes
    account = account_of(alice)
    nobody = replace(account, id=str(uuid4()), user_id=str(uuid4()), session_id=str(uuid4()))
    cases = {
        "first": (account, codes[0]),
        "last": (account, codes[-1]),
        "wrong": (account, "0000-0000"),
        "used": (account, codes[0]),
        "old": (account, old[0]),
        "no codes": (nobody, codes[1]),
    }
    for what, (who, code) in cases.items():
        computed.clear()
        try:
            flows._consume(who, flows._digest(normalised(code), flows._begin(who.user_id)))
            assert what in ("first", "last")
        except Refused as refusal:
            assert what not in ("first", "last"), refusal
        assert len(computed) == 1, what
        assert computed[0][3] == CHEAP
        assert len(computed[0][2]) == 16


def test_a_computation_costs_what_owasp_recommends(variant):
    assert variant().extensions["stepup"].codes.parameters == Parameters(memory_kib=19 * 1024, passes=2, lanes=1)


def test_over_http_too_an_attempt_is_one_computation(alice, alice_at_aal2, variant, new_person):
    computed = []

    def counted(*arguments):
        computed.append(arguments)
        return recovery_codes.digest(*arguments)

    app = variant(digest=counted)
    old, codes = alice.makes_codes(alice_at_aal2), alice.makes_codes(alice_at_aal2)
    for code in ("0000-0000", old[3], codes[9]):
        computed.clear()
        confirms(Browser(app, alice_at_aal2.cookiejar), code)
        assert len(computed) == 1, code
    bob = new_person("bob")
    bob.set_up_app(bob.signs_in())
    cases = [(alice, code) for code in ("0000-0000", old[3], codes[9], codes[9], codes[0])] + [(bob, codes[1])]
    for person, code in cases:
        visitor = replace(person, app=app)
        browser = at_challenge(visitor)
        computed.clear()
        visitor.submits_recovery_code(browser, code)
        assert len(computed) == 1, code


def test_while_codes_are_locked_nothing_is_computed_and_no_old_sheet_explained(alice, alice_at_aal2, variant):
    old = alice.makes_codes(alice_at_aal2)
    alice.makes_codes(alice_at_aal2)
    visitor = replace(alice, app=variant(parameters=CHEAP, digest=lambda *_: pytest.fail("computed")))
    browser = at_challenge(visitor)
    for _ in range(5):
        alice.submits_recovery_code(Browser(alice.app, browser.cookiejar), "0000-0000")
    page = visitor.submits_recovery_code(browser, old[0])
    assert page.status_code == 429
    assert "sheet" not in alerts(page)[0]


def test_another_persons_code_is_only_wrong(new_person):
    people = [new_person(), new_person("mallory")]
    for person in people:
        browser = person.signs_in()
        person.set_up_app(browser)
        person.makes_codes(browser)
    alice, mallory = people
    browser = at_challenge(mallory)
    page = mallory.submits_recovery_code(browser, alice.codes[0])
    assert alerts(page) == ["That recovery code is not right. Compare it with your sheet. 4 tries are left."]
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[0]).location == "/settings/security"


def test_five_wrong_codes_lock_recovery_codes_and_not_the_app(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    for left in ("4 tries are left", "3 tries are left", "2 tries are left", "One try is left"):
        assert left in alice.submits_recovery_code(browser, "0000-0000")
    for code in ("0000-0000", alice.codes[0]):
        page = alice.submits_recovery_code(browser, code)
        assert page.status_code == 429
        assert 890 < int(page.headers["Retry-After"]) <= 900
        assert "Recovery codes are locked for 15 more minutes." in page
    assert browser.get("/account").location.startswith("/mfa/challenge")
    assert alice.submits_code(browser).location == "/account"
    other = at_challenge(alice)
    assert alice.submits_recovery_code(other, alice.codes[0]).status_code == 429  # the app's code lifts no lock


def test_a_locked_app_leaves_recovery_codes_alone(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    for nth in range(5):
        alice.submits_code(browser, alice.phones[0].wrong_code(nth))
    assert alice.submits_code(browser).status_code == 429
    assert alice.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"


def test_sixty_wrong_codes_switch_recovery_codes_off_until_another_kind_is_proven(alice, alice_at_aal2, database):
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    alice.submits_recovery_code(browser, "0000-0000")
    counts = "update public.mfa_attempts set since_success = 60 where user_id = %s and kind = 'recovery_code'"
    database.execute(counts, [alice.id])
    page = alice.submits_recovery_code(browser, alice.codes[0])
    assert page.status_code == 403
    assert "Recovery codes are switched off" in page
    alice.submits_code(browser)
    assert alice.submits_recovery_code(at_challenge(alice), alice.codes[0]).location == "/settings/security"


def test_of_fifty_threads_with_one_code_one_wins(alice, alice_at_aal2, app, database):
    alice.makes_codes(alice_at_aal2)
    flows, account = app.extensions["stepup"].codes, account_of(alice)
    digest = flows._digest(normalised(alice.codes[0]), flows._recipe(alice.id))

    def use(_):
        try:
            return flows._consume(account, digest)
        except Refused as refusal:
            return type(refusal).__name__

    with ThreadPoolExecutor(50) as threads:
        outcomes = Counter(threads.map(use, range(50)))
    assert outcomes == {9: 1, "UsedRecoveryCode": 49}
    assert sum(row["used_at"] is not None for row in rows(database, alice)) == 1


def test_of_many_browsers_with_one_code_one_gets_in(alice, alice_at_aal2):
    alice.makes_codes(alice_at_aal2)
    browsers = [at_challenge(alice) for _ in range(10)]
    challenges = [form(browser.get("/mfa/challenge"), CHALLENGE) for browser in browsers]
    for challenge in challenges:
        challenge["code"] = alice.codes[0]
    with ThreadPoolExecutor(10) as threads:
        pages = list(threads.map(lambda challenge: challenge.submit(), challenges))
    assert [page.location for page in pages].count("/settings/security") == 1
    assert sum(browser.get("/account").status_code == 200 for browser in browsers) == 1


def test_wrong_codes_at_once_are_heard_five_times(alice, alice_at_aal2, variant):
    alice.makes_codes(alice_at_aal2)
    flows, account = variant(parameters=CHEAP).extensions["stepup"].codes, account_of(alice)

    def attempt(_):
        try:
            return flows._consume(account, flows._begin(account.user_id) and secrets.token_hex(32))
        except Refused as refusal:
            return type(refusal)

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(attempt, range(20)))
    assert set(outcomes) <= {WrongRecoveryCode, RecoveryCodesLocked}
    assert attempts(alice) == 5


def test_when_all_memory_for_checking_is_taken_the_person_waits_and_loses_no_try(alice, alice_at_aal2, variant):
    alice.makes_codes(alice_at_aal2)
    slots = threading.BoundedSemaphore(1)
    visitor = replace(alice, app=variant(slots=slots))
    browser = at_challenge(visitor)
    with slots:
        page = visitor.submits_recovery_code(browser, alice.codes[0])
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "Too many people are entering codes" in page
    assert attempts(alice) == 0
    assert visitor.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"


def test_four_are_computed_at_once_in_a_process(app):
    codes = app.extensions["stepup"].codes
    with contextlib.ExitStack() as computing:
        for _ in range(4):
            computing.enter_context(codes._slot())
        with pytest.raises(Busy), codes._slot():
            pass


@pytest.mark.parametrize(
    ("settings", "found"),
    [({}, (8, None)), ({"recovery_code_length": 16}, (16, None)), ({"recovery_code_ttl_days": 90}, (8, 90))],
)
def test_length_and_days_come_from_the_settings(make_app, settings, found):  # noqa: F811
    codes = make_app(**settings).extensions["stepup"].codes
    assert (codes.length, codes.ttl_days) == found


# A bad line


def test_a_lost_answer_to_a_right_code_signs_in_all_the_same(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("recovery_code_use", "lost")
    answer = alice.submits_recovery_code(browser, alice.codes[0])
    assert answer.location == "/settings/security"
    assert "That recovery code is spent." in answer.follow()


def test_a_code_that_never_arrived_is_not_spent(proxied):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset("recovery_code_use", "cut")
    page = alice.submits_recovery_code(browser, alice.codes[0])
    assert "Please try the same code again." in page
    assert browser.get("/account").location.startswith("/mfa/challenge")
    assert alice.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"


@pytest.mark.parametrize("trouble", ["lost", "cut"])
@pytest.mark.parametrize("step", ["recovery_code_begin", "grant_type=refresh_token", "vault_store"])
def test_whatever_step_fails_the_code_is_spent_at_most_once_and_the_person_can_go_on(proxied, step, trouble, database):
    alice, proxy = proxied
    browser = at_challenge(alice)
    proxy.upset(step, trouble)
    assert alice.submits_recovery_code(browser, alice.codes[0]).status_code == 503
    if browser.get("/account").status_code != 200:
        browser = at_challenge(alice)
        unspent = next(code for code in alice.codes if not is_spent(alice, code))
        assert alice.submits_recovery_code(browser, unspent).location == "/settings/security"
        assert browser.get("/account").status_code == 200
    assert sum(row["used_at"] is not None for row in rows(database, alice)) <= 2


def test_an_attempt_whose_answer_was_lost_stays_counted_until_the_next_success(proxied):
    """Or somebody who can break the line would guess for nothing."""
    alice, proxy = proxied
    browser = at_challenge(alice)
    for nth, trouble in enumerate(["lost", "cut", "slow", "bad gateway"], start=1):
        proxy.upset("recovery_code_use", trouble)
        assert "Please try the same code again." in alice.submits_recovery_code(browser, "0000-0000")
        assert attempts(alice) == nth
    assert alice.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"
    assert attempts(alice) == 0


def test_a_new_sheet_that_nobody_has_seen_is_asked_for_and_replaced(proxied, alice_at_aal2, database):
    """The answer with the codes was lost: the old ones are worth nothing any more, and nobody knows the new ones."""
    alice, proxy = proxied
    browser = Browser(alice.app, alice_at_aal2.cookiejar)
    making = form(browser.get(PAGE), PAGE)
    proxy.upset("recovery_codes_make", "lost")
    assert making.submit().status_code == 503
    assert "Have you kept sheet 2 of your recovery codes?" in browser.get("/account")
    codes = alice.makes_codes(browser)
    assert alice.submits_recovery_code(at_challenge(alice), codes[0]).location == "/settings/security"


@pytest.mark.parametrize(
    ("step", "spent"),
    [
        ("vault_read", 0),
        ("recovery_code_begin", 0),
        ("recovery_code_use", 1),
        ("grant_type=refresh_token", 1),
        ("vault_store", 1),
    ],
)
def test_an_app_that_is_killed_after_any_step_has_spent_the_code_at_most_once_and_the_person_goes_on(
    alice, alice_at_aal2, database, step, spent
):
    """kill -9 when Supabase has done what it was asked, and the app is waiting for the answer."""
    alice.makes_codes(alice_at_aal2)
    browser = at_challenge(alice)
    challenge = form(browser.get("/mfa/challenge"), CHALLENGE)
    challenge["code"] = alice.codes[0]
    with running_proxy() as proxy, running_app(proxy) as (url, process):
        proxy.kills(process, step)
        with pytest.raises(httpx.TransportError):
            httpx.post(
                f"{url}{CHALLENGE}",
                data=dict(challenge.submit_fields()),
                headers={
                    "Host": "localhost",
                    "Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookiejar),
                },
                timeout=30,
            )
        assert process.wait(10) == -signal.SIGKILL
    assert sum(row["used_at"] is not None for row in rows(database, alice)) == spent
    database.execute(  # the seconds pass for which the dead process has the lease
        "update public.web_account_sessions set lease_until = now() where user_id = %s", [alice.id]
    )
    if step in ("recovery_code_use", "grant_type=refresh_token"):
        assert browser.get("/account").status_code == 200  # the code was not for nothing
    elif not spent:
        assert alice.submits_recovery_code(browser, alice.codes[0]).location == "/settings/security"
        assert attempts(alice) == 0
    else:  # the new key of the vault was on its way to the browser
        assert alice.submits_recovery_code(at_challenge(alice), alice.codes[1]).location == "/settings/security"


def test_a_session_that_has_ended_spends_no_code(alice, alice_at_aal2, app, database):
    alice.makes_codes(alice_at_aal2)
    flows = app.extensions["stepup"].codes
    ended = replace(account_of(alice), session_id=str(uuid4()))
    with pytest.raises(SignInRequired):
        flows._consume(ended, flows._digest(normalised(alice.codes[0]), flows._recipe(alice.id)))
    assert not is_spent(alice, alice.codes[0])


@pytest.fixture
def variant():
    """Make apps whose recovery codes differ in what they are made of."""
    made = []

    def make(**changes):
        made.append(create_app())
        services = made[-1].extensions["stepup"]
        made[-1].extensions["stepup"] = replace(services, codes=replace(services.codes, **changes))
        return made[-1]

    yield make
    for app in made:
        app.extensions["stepup"].gateway.close()


@pytest.fixture
def proxied(alice, alice_at_aal2):
    """Alice with codes, whose browser now talks to an app that reaches Supabase through a proxy; and the proxy."""
    alice.makes_codes(alice_at_aal2)
    with running_proxy() as proxy:
        app = app_behind_proxy(proxy.url)
        yield replace(alice, app=app), proxy
        app.extensions["stepup"].gateway.close()


def confirms(browser, code):
    confirmation = form(browser.get(PAGE), CONFIRM)
    confirmation["code"] = code
    return confirmation.submit()


def rows(database, person):
    return database.execute(
        "select s.label, s.salt, s.replaced_at, c.digest, c.used_at from public.mfa_recovery_sets s"
        " join public.mfa_recovery_codes c on c.set_id = s.id where s.user_id = %s",
        [person.id],
    ).fetchall()


def apps(database, person):
    """Ids of the apps, oldest first."""
    query = "select id::text from auth.mfa_factors where user_id = %s and status = 'verified' order by created_at"
    return [row["id"] for row in database.execute(query, [person.id])]


def account_of(person, browser=None):
    """What the vault knows about a browser of the person in which the password was given."""
    browser = browser or at_challenge(person)
    return person.app.extensions["stepup"].vault.read(browser.cookies["stepup"])


def is_spent(person, code):
    flows = person.app.extensions["stepup"].codes
    digest = flows._digest(normalised(code), flows._recipe(person.id))
    used = "select from public.mfa_recovery_codes where digest = %s and used_at is not null"
    return person.database.execute(used, [digest]).rowcount > 0


def spend_all_but(database, person, number):
    database.execute(
        "update public.mfa_recovery_codes set used_at = now() where digest in (select digest"
        " from public.mfa_recovery_codes c join public.mfa_recovery_sets s on s.id = c.set_id"
        " where s.user_id = %s and s.replaced_at is null order by digest offset %s)",
        [person.id, number],
    )


def attempts(person):
    row = person.database.execute(
        "select failures from public.mfa_attempts where user_id = %s and kind = 'recovery_code'", [person.id]
    ).fetchone()
    return row["failures"] if row else 0
