"""The challenge: the second step at sign-in, and fresh proof before something sensitive."""

from urllib.parse import urlencode

import pytest

from tests.people import form


def challenge(browser, next="/account"):
    return form(browser.get("/mfa/challenge", {"next": next}), "/mfa/challenge")


def test_a_right_code_makes_the_session_aal2_and_replaces_cookie_and_csrf_token(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    page = challenge(browser)
    key, token = browser.cookies["stepup"], page["csrf_token"].value
    page["code"] = alice_with_totp.phones[0].code()
    assert page.submit().location == "/account"
    assert browser.cookies["stepup"] != key
    assert form(browser.get("/account"), "/account")["csrf_token"].value != token
    stale = page.submit()
    assert stale.status_code == 400


def test_a_wrong_code_keeps_the_session_at_aal1(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    page = alice_with_totp.submits_code(browser, alice_with_totp.phones[0].wrong_code())
    assert page.status_code == 422
    assert "That code is not right" in page
    assert "4 tries are left" in page
    assert browser.get("/account").location.startswith("/mfa/challenge")


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "123456; drop table"])
def test_what_is_no_code_is_refused_before_anything_is_counted(alice_with_totp, typed, database, round_trips):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    page = challenge(browser)
    page["code"] = typed
    round_trips.clear()
    assert page.submit().status_code == 422
    assert round_trips == ["POST /rest/v1/rpc/vault_read"]


def test_spaces_in_a_code_do_not_matter(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    code = alice_with_totp.phones[0].code()
    assert alice_with_totp.submits_code(browser, f" {code[:3]} {code[3:]} ").location == "/account"


@pytest.mark.parametrize("name", ["Phone", "Tablet"])
def test_with_several_apps_any_of_them_will_do(alice, name):
    browser = alice.signs_in()
    apps = {name: alice.set_up_app(browser, name) for name in ("Phone", "Tablet")}
    alice.forgets_used_codes()
    browser = alice.browser()
    alice.submits_password(browser)
    page = browser.get("/mfa/challenge")
    answer = form(page, "/mfa/challenge")
    answer["factor"] = page.html.find(id=page.html.find("label", string=name)["for"])["value"]
    answer["code"] = apps[name].code()
    assert answer.submit().location == "/account"


@pytest.mark.parametrize(
    ("path", "action"), [("/settings/security", "security"), ("/settings/security/totp", "add-factor")]
)
def test_after_five_minutes_what_is_sensitive_asks_again(alice, alice_at_aal2, path, action):
    alice.ages_proofs(299 - 5)
    assert alice_at_aal2.get(path).status_code == 200
    alice.ages_proofs(7)
    assert alice_at_aal2.get(path).location == "/mfa/challenge?" + urlencode({"next": path, "action": action}, safe="/")
    assert alice_at_aal2.get("/account").status_code == 200


def test_fresh_proof_leads_back_to_what_was_asked_for(alice, alice_at_aal2):
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    page = alice_at_aal2.get("/settings/security").follow()
    assert page.html.h1.get_text() == "Confirm that it is you"
    again = form(page, "/mfa/challenge")
    again["code"] = alice.phones[0].code()
    assert again.submit().location == "/settings/security"
    assert alice_at_aal2.get("/settings/security").status_code == 200


def test_a_stale_post_comes_back_to_the_page_of_its_form(alice, alice_at_aal2):
    password = form(alice_at_aal2.get("/settings/security/password"), "/settings/security/password")
    alice.ages_proofs(400)
    assert password.submit().location == "/mfa/challenge?next=/settings/security/password&action=password"


def test_without_a_second_factor_freshness_wants_the_password_again(alice):
    browser = alice.signs_in()
    alice.ages_proofs(400)
    page = browser.get("/settings/security").follow()
    assert f"signed in as {alice.email}" in page.html.main.get_text()
    sign_in = form(page, "/login")
    assert sign_in["email"].value == alice.email
    sign_in["password"] = alice.password
    assert sign_in.submit().location == "/settings/security"


def test_the_back_button_after_the_challenge_leads_on_instead_of_asking_again(alice_at_aal2):
    assert alice_at_aal2.get("/mfa/challenge", {"next": "/settings/security"}).location == "/settings/security"


def test_the_challenge_of_somebody_without_a_factor_leads_on(alice):
    assert alice.signs_in().get("/mfa/challenge").location == "/account"


def test_the_challenge_is_for_people_who_have_given_a_password(alice):
    assert alice.browser().get("/mfa/challenge").location.startswith("/login")


def test_round_trips_of_the_whole_sign_in(alice_with_totp, round_trips):
    browser = alice_with_totp.browser()
    sign_in = form(browser.get("/login"), "/login")
    sign_in["email"], sign_in["password"] = alice_with_totp.email, alice_with_totp.password
    round_trips.clear()
    sign_in.submit()
    assert round_trips == ["POST /auth/v1/token", "POST /rest/v1/rpc/vault_open"]

    page = challenge(browser)
    page["code"] = alice_with_totp.phones[0].code()
    round_trips.clear()
    page.submit()
    factor = page["factor"].value
    assert round_trips == [
        "POST /rest/v1/rpc/vault_read",
        "POST /rest/v1/rpc/mfa_begin_attempt",
        f"POST /auth/v1/factors/{factor}/challenge",
        f"POST /auth/v1/factors/{factor}/verify",
        "POST /rest/v1/rpc/vault_store",
        "POST /rest/v1/rpc/mfa_end_attempt",
    ]

    round_trips.clear()
    browser.get("/account")
    assert round_trips == ["POST /rest/v1/rpc/vault_read", "GET /rest/v1/notes"]


@pytest.mark.parametrize(
    ("action", "seconds", "said"), [("billing", 280, "4 minutes ago"), ("delete", 40, "less than a minute ago")]
)
def test_whoever_has_proven_their_phone_does_not_read_that_a_recovery_code_is_not_enough(
    alice, alice_at_aal2, action, seconds, said
):
    """The page asks half a minute early, see show()."""
    alice.ages_proofs(seconds)
    page = alice_at_aal2.get("/mfa/challenge", {"action": action})
    assert f"You last confirmed that it is you {said}. Please" in " ".join(page.html.main.get_text().split())
