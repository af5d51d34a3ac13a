"""Authenticator apps: set up, resumed, discarded, removed."""

import re

import pyotp
import pytest

from tests.authenticator import Authenticator
from tests.ceremonies import add_passkey
from tests.people import Phone, form

SET_UP = "/settings/security/totp"


def factors(database, person):
    query = (
        "select f.id, f.friendly_name as name, f.status, e.factor_id is not null as endorsed from auth.mfa_factors f"
        " left join public.mfa_endorsed_factors e on e.factor_id = f.id where f.user_id = %s order by f.created_at"
    )
    return database.execute(query, [person.id]).fetchall()


def sessions(database, person):
    return database.execute("select id, aal from auth.sessions where user_id = %s", [person.id]).fetchall()


def test_setting_up_an_app_makes_this_session_aal2_and_signs_out_the_others(alice, database):
    here, elsewhere = alice.signs_in(), alice.signs_in()
    alice.set_up_app(here, "Phone")
    assert [session["aal"] for session in sessions(database, alice)] == ["aal2"]
    assert "Phone" in here.get("/settings/security")
    assert elsewhere.get("/account").location.startswith("/login")


def test_qr_code_link_and_secret_say_the_same(alice):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    page = browser.get(SET_UP)
    uri = page.html.select_one("a[href^='otpauth:']")["href"]
    parsed = pyotp.parse_uri(uri)
    assert (parsed.secret, parsed.name, parsed.issuer) == (phone.secret, alice.email, "Stepup")
    assert re.fullmatch(r"[A-Z2-7]{32}", phone.secret)  # 160 bits: RFC 4226 R6
    assert page.html.select_one(".qr svg path")
    assert "style=" not in str(page.html.select_one(".qr"))
    assert page.headers["Cache-Control"] == "no-store"


def test_the_code_that_set_the_app_up_does_not_sign_in(alice):
    phone = alice.set_up_app(alice.signs_in())
    browser = alice.browser()
    alice.submits_password(browser)
    page = alice.submits_code(browser, next(iter(phone.used)))
    assert page.status_code == 422
    assert "just used" in page


def test_an_unfinished_set_up_is_resumed_with_the_same_secret(alice):
    browser = alice.signs_in()
    phone = alice.begins_app(browser, "Phone")
    assert "not finished setting up “Phone”" in browser.get("/settings/security")
    page = browser.get(SET_UP)
    assert page.html.select_one("#secret").get_text().replace(" ", "") == phone.secret


def test_beginning_in_a_second_tab_resumes_instead_of_making_the_first_ones_qr_code_worthless(alice, database):
    browser = alice.signs_in()
    first, second = (form(browser.get(SET_UP), SET_UP) for _ in range(2))
    first["name"], second["name"] = "Phone", "Tablet"
    secret = first.submit().follow().html.select_one("#secret").get_text()
    assert second.submit().follow().html.select_one("#secret").get_text() == secret
    assert len(factors(database, alice)) == 1


def test_proving_the_password_again_keeps_the_unfinished_set_up(alice):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    alice.ages_proofs(400)
    sign_in = form(browser.get(SET_UP).follow(), "/login")
    sign_in["password"] = alice.password
    page = sign_in.submit().follow()
    assert page.html.select_one("#secret").get_text().replace(" ", "") == phone.secret


def test_a_stale_session_is_not_shown_the_secret_after_a_wrong_code(alice):
    browser = alice.signs_in()
    phone = alice.begins_app(browser)
    finish = form(browser.get(SET_UP), SET_UP + "/verify")
    finish["code"] = phone.wrong_code()
    assert finish.submit().html.select_one("#secret")
    alice.ages_proofs(400)
    page = finish.submit()
    assert page.status_code == 422
    assert phone.secret not in page.text.replace(" ", "")
    assert "otpauth:" not in page


def test_another_browser_neither_sees_nor_finishes_it_and_can_begin_anew(alice, database):
    here, elsewhere = alice.signs_in(), alice.signs_in()
    alice.begins_app(here, "Here")
    page = elsewhere.get(SET_UP)
    assert page.html.select_one("#secret") is None
    assert "not finished" not in elsewhere.get("/settings/security")
    alice.set_up_app(elsewhere, "Elsewhere")
    assert [factor["name"] for factor in factors(database, alice)] == ["Elsewhere"]


def test_a_code_for_a_set_up_that_was_replaced_leads_to_the_new_one(alice):
    browser = alice.signs_in()
    old = alice.begins_app(browser, "Old")
    finish = form(browser.get(SET_UP), SET_UP + "/verify")
    form(browser.get(SET_UP), SET_UP + "/discard").submit()
    new = alice.begins_app(browser, "New")
    finish["code"] = old.code()
    page = finish.submit().follow()
    assert "replaced or has expired" in page
    assert page.html.select_one("#secret").get_text().replace(" ", "") == new.secret


def test_a_set_up_can_be_discarded(alice, database):
    browser = alice.signs_in()
    alice.begins_app(browser)
    page = form(browser.get(SET_UP), SET_UP + "/discard").submit().follow()
    assert "discarded" in page
    assert factors(database, alice) == []


def test_several_apps_with_names_of_their_own(alice):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    naming = form(browser.get(SET_UP), SET_UP)
    naming["name"] = "  Phone "
    page = naming.submit()
    assert page.status_code == 422
    assert "an app with that name already" in page
    alice.set_up_app(browser, "Tablet")
    assert [app.get_text() for app in browser.get("/settings/security").html.select(".card strong")] == [
        "Phone",
        "Tablet",
    ]


def test_only_of_the_first_factor_it_is_said_that_signing_in_takes_it_from_now_on(alice):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    assert "“Phone” is set up. From now on, signing in takes a code from it." in browser.get("/account")
    alice.set_up_app(browser, "Tablet")
    assert "“Tablet” is set up. You can sign in with its codes, too." in browser.get("/account")


@pytest.mark.parametrize("first", ["app", "passkey"])
def test_the_eleventh_factor_is_refused_kindly(alice, database, first):
    """Ten apps, or nine and the factor that stands for all passkeys."""
    browser = alice.signs_in()
    if first == "app":
        alice.set_up_app(browser)
    else:
        add_passkey(browser, Authenticator())
    database.execute(
        "with made as (insert into auth.mfa_factors (id, user_id, friendly_name, factor_type, status, secret,"
        " created_at, updated_at) select gen_random_uuid(), %s, 'unverified ' || n, 'totp', 'unverified', 'AAAA',"
        " now(), now() from generate_series(2, 10) n returning id)"
        " insert into public.mfa_endorsed_factors select id from made",
        [alice.id],
    )
    database.execute("update auth.mfa_factors set status = 'verified' where user_id = %s", [alice.id])
    page = browser.get(SET_UP)
    sentence = "Your account has as many authenticator apps as it can have. Remove one you no longer use first."
    assert (page.status_code, sentence in page) == (200, True)
    page = form(page, SET_UP).submit()
    assert (page.status_code, sentence in page) == (422, True)


@pytest.mark.parametrize(("name", "sentence"), [("", "Give the app a name."), ("x" * 65, "Use at most 64 characters.")])
def test_a_name_that_will_not_do_gets_a_sentence(alice, name, sentence):
    naming = form(alice.signs_in().get(SET_UP), SET_UP)
    naming["name"] = name
    page = naming.submit()
    assert page.status_code == 422
    assert sentence in page


def test_removing_the_only_app_leaves_the_password_and_lowers_every_session(alice, database):
    here, elsewhere = alice.signs_in(), None
    alice.set_up_app(here, "Phone")
    elsewhere = alice.signs_in()
    factor = factors(database, alice)[0]["id"]
    page = here.get(f"{SET_UP}/{factor}/remove")
    assert "your only second factor" in page
    removal = form(page, f"{SET_UP}/{factor}/remove")
    removal.set("sign_out_elsewhere", False, index=0)
    assert "was removed" in removal.submit().follow()
    assert factors(database, alice) == []
    assert {session["aal"] for session in sessions(database, alice)} == {"aal1"}
    assert elsewhere.get("/account").status_code == 200
    assert alice.submits_password(alice.browser()).follow().status_code == 200


def test_removing_one_of_two_apps_asks_a_session_of_the_removed_one_for_the_other(alice, database):
    browser = alice.signs_in()
    alice.set_up_app(browser, "Phone")
    with_phone = alice.signs_in()
    tablet = alice.set_up_app(browser, "Tablet")
    phone = next(factor["id"] for factor in factors(database, alice) if factor["name"] == "Phone")
    removal = form(browser.get(f"{SET_UP}/{phone}/remove"), f"{SET_UP}/{phone}/remove")
    removal.set("sign_out_elsewhere", False, index=0)
    removal.submit()
    assert browser.get("/account").status_code == 200  # it had proven the tablet last
    assert with_phone.get("/account").location.startswith("/mfa/challenge")
    assert isinstance(tablet, Phone)


def test_removing_an_app_that_is_gone_already_says_so(alice, alice_at_aal2, database):
    factor = factors(database, alice)[0]["id"]
    twice = form(alice_at_aal2.get(f"{SET_UP}/{factor}/remove"), f"{SET_UP}/{factor}/remove")
    twice.submit()
    page = twice.submit()
    assert page.status_code == 404
    assert "not set up any more" in page


def test_removing_needs_fresh_proof(alice, alice_at_aal2, database):
    factor = factors(database, alice)[0]["id"]
    removal = form(alice_at_aal2.get(f"{SET_UP}/{factor}/remove"), f"{SET_UP}/{factor}/remove")
    alice.ages_proofs(400)
    assert "This is needed to remove a way to sign in." in removal.submit().html.main.get_text()
    assert len(factors(database, alice)) == 1
