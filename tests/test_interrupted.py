"""Requests that had to wait for a proof, over HTTP: what was typed comes back, goes on once, and only to this site."""

import json

import pytest

from tests.people import form

ADDRESS = "/account/change-email"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def stale(alice, alice_at_aal2):
    """The form for a new address, filled in, in a session whose proof has grown too old meanwhile."""
    page = form(alice_at_aal2.get(ADDRESS), ADDRESS)
    page["email"] = "new address"
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    return page


@pytest.fixture
def stale_without_factor(alice):
    page = form(alice.signs_in().get(ADDRESS), ADDRESS)
    page["email"] = "new address"
    alice.ages_proofs(400)
    return page


def hidden(form):
    return {name: form[name].value for name in form.fields if name and name != "csrf_token"}


def test_a_form_that_has_to_wait_is_carried_along_and_sent_with_one_more_click(alice, stale):
    asked = stale.submit()
    assert asked.status_code == 403
    assert asked.html.h1.get_text() == "Confirm that it is you"
    assert "This is needed to change your address." in asked.html.main.get_text()
    assert "6 minutes ago" in asked
    challenge = form(asked, "/mfa/challenge")
    challenge["code"] = alice.phones[0].wrong_code()
    challenge = form(challenge.submit(), "/mfa/challenge")  # and is still there after a wrong code
    challenge["code"] = alice.phones[0].code()
    page = challenge.submit()
    assert page.status_code == 200
    assert "new address" in page.html.dl.get_text()
    sent = form(page, ADDRESS).submit()
    assert sent.status_code == 422
    assert form(sent, ADDRESS)["email"].value == "new address"


def test_without_a_factor_the_password_is_asked_for_and_the_form_goes_on(alice, stale_without_factor):
    asked = stale_without_factor.submit()
    assert asked.status_code == 403
    sign_in = form(asked, "/login")
    assert sign_in["email"].value == alice.email
    sign_in["password"] = alice.password
    page = sign_in.submit()
    assert form(form(page, ADDRESS).submit(), ADDRESS)["email"].value == "new address"


def test_signed_out_meanwhile_the_form_waits_for_the_whole_sign_in(alice, stale):
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    sign_in = form(stale.submit(), "/login")
    sign_in["email"], sign_in["password"] = alice.email, alice.password
    page = form(sign_in.submit(), ADDRESS)
    challenge = form(page.submit(), "/mfa/challenge")
    challenge["code"] = alice.phones[0].code()
    assert form(form(challenge.submit(), ADDRESS).submit(), ADDRESS)["email"].value == "new address"


def test_with_htmx_a_dialog_asks_and_says_when_to_send_the_form_again(alice, stale):
    asked = stale.submit(headers=HTMX)
    assert asked.status_code == 403
    assert (asked.headers["HX-Retarget"], asked.headers["HX-Reswap"]) == ("#proof", "innerHTML")
    assert asked.html.dialog
    challenge = form(asked, "/mfa/challenge")
    challenge["code"] = alice.phones[0].code()
    answer = challenge.submit(headers=HTMX)
    assert answer.status_code == 204
    proven = json.loads(answer.headers["HX-Trigger"])["proven"]
    stale["csrf_token"] = proven["csrf_token"]
    sent = stale.submit(headers=HTMX)
    assert sent.status_code == 422  # it is not an address
    assert form(sent, ADDRESS)["email"].value == "new address"


def test_the_dialog_says_whose_proof_it_was(alice, alice_at_aal2, new_person, stale):
    """On a device of several people, what one has typed must not be sent as another."""
    person = alice_at_aal2.get("/account").html.body["data-person"]
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    for who in (alice, new_person("bob")):
        sign_in = form(stale.submit(headers=HTMX), "/login")
        sign_in["email"], sign_in["password"] = who.email, who.password
        proven = json.loads(sign_in.submit(headers=HTMX).headers["HX-Trigger"])["proven"]
        assert (proven["person"] == person) == (who is alice)
        stale["csrf_token"] = proven["csrf_token"]
        alice.database.execute("delete from auth.sessions where user_id = %s", [who.id])


def test_a_refusal_under_a_dialog_is_said_in_the_dialog(alice, stale):
    challenge = form(stale.submit(headers=HTMX), "/mfa/challenge")
    challenge["csrf_token"] = "stale"
    assert challenge.submit(headers=HTMX).headers["HX-Retarget"] == "#proof-notice"


def test_secrets_and_proofs_are_not_carried_along(alice, alice_at_aal2):
    password = form(alice_at_aal2.get("/settings/security/password"), "/settings/security/password")
    password["password"] = "a new secret for alice"
    alice.ages_proofs(400)
    answer = password.submit()
    assert answer.status_code == 303
    assert "a new secret" not in answer


def test_a_link_carries_nothing_but_where_to_go(alice, alice_with_totp):
    """Else a link could prepare what a person then sends with a click of their own."""
    browser = alice.browser()
    alice.submits_password(browser)
    planted = {"next": ADDRESS, "action": "nonsense", "dialog": "1", "kept.email": "mallory@example.com"}
    challenge = form(browser.get("/mfa/challenge", planted), "/mfa/challenge")
    assert set(hidden(challenge)) == {"next", "action", "factor", "code"}
    alice.forgets_used_codes()
    challenge["code"] = alice.phones[0].code()
    assert challenge.submit().location == ADDRESS


@pytest.mark.parametrize("path", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", ""])
def test_what_was_kept_goes_to_this_site_alone(alice, stale, path):
    challenge = form(stale.submit(), "/mfa/challenge")
    challenge["next"] = path
    challenge["code"] = alice.phones[0].code()
    assert {found.action for found in challenge.submit().forms.values()} <= {"/account"}


def test_the_form_of_an_earlier_session_comes_back_with_what_was_typed(alice, alice_at_aal2):
    page = form(alice_at_aal2.get("/account"), "/account")
    page["body"] = "typed for long"
    page["csrf_token"] = "of an earlier session"
    again = page.submit(headers={"Origin": "http://localhost:5000"})
    assert again.status_code == 400
    assert "typed for long" in again.html.dl.get_text()
    assert form(again, "/account").submit().location == "/account"
    assert "typed for long" in alice_at_aal2.get("/account")


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.test"}, {"Origin": "null"}])
def test_what_another_site_sends_is_not_put_under_a_button(alice_at_aal2, headers):
    page = form(alice_at_aal2.get("/account"), "/account")
    page["body"] = "of somebody else"
    page["csrf_token"] = "guessed"
    again = page.submit(headers=headers)
    assert again.status_code == 400
    assert "of somebody else" not in again


def test_with_htmx_the_form_stays_and_gets_the_new_token(alice_at_aal2):
    page = form(alice_at_aal2.get("/account"), "/account")
    page["body"] = "typed for long"
    page["csrf_token"] = "of an earlier session"
    refused = page.submit(headers=HTMX)
    assert refused.status_code == 400
    assert refused.headers["HX-Retarget"] == "#notice"
    assert "Nothing is lost" in refused
    page["csrf_token"] = json.loads(refused.headers["HX-Trigger"])["csrf"]["csrf_token"]
    assert page.submit(headers=HTMX).headers["HX-Redirect"] == "/account"


def test_whoever_answered_in_another_tab_is_led_on_instead_of_asked_for_another_code(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    late = form(browser.get("/mfa/challenge", {"next": "/account"}), "/mfa/challenge")
    alice_with_totp.submits_code(browser)
    late["code"] = "123456"
    refused = late.submit(headers=HTMX)
    assert "HX-Trigger" not in refused.headers
    assert browser.get(refused.html.a["href"]).location == "/account"


def test_nobody_gets_a_token_for_having_none(alice):
    page = form(alice.browser().get("/login"), "/login")
    page["csrf_token"] = "guessed"
    refused = page.submit(headers=HTMX)
    assert refused.status_code == 400
    assert "HX-Trigger" not in refused.headers
