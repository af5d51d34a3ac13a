"""Requests that had to wait for a proof, over HTTP: what was typed comes back, goes on once, and only to this site."""

import json

import pytest

from tests.people import Browser, alerts, form
from tests.test_billing import DETAILS, kept
from tests.test_billing import PATH as BILLING
from tests.test_recovery_codes import is_spent, spend_all_but

ADDRESS = "/account/change-email"
HTMX = {"HX-Request": "true"}
FROM_HERE = {"Origin": "http://localhost:5000"}


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


def token_in(answer, event):
    return json.loads(answer.headers["HX-Trigger"])[event]["csrf_token"]


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
    assert "what you were about to send, to change your address." in page
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
    stale["csrf_token"] = token_in(answer, "proven")
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
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    sign_in = form(stale.submit(headers=HTMX), "/login")
    sign_in["email"], sign_in["password"] = alice.email, alice.password
    sign_in["csrf_token"] = "stale"
    refused = sign_in.submit(headers=HTMX)
    assert refused.headers["HX-Retarget"] == "#proof-notice"
    assert refused.html.a is None  # a link would lead away from the form
    sign_in["csrf_token"] = token_in(refused, "csrf")
    assert sign_in.submit(headers=HTMX).status_code == 204


def test_a_dialog_that_was_answered_in_another_tab_lets_the_form_go_on(alice, alice_at_aal2, stale):
    challenge = form(stale.submit(headers=HTMX), "/mfa/challenge")
    alice.submits_code(alice_at_aal2)
    challenge["code"] = "123456"
    stale["csrf_token"] = token_in(challenge.submit(headers=HTMX), "proven")
    assert stale.submit(headers=HTMX).status_code == 422  # it is not an address


def test_without_javascript_what_waits_survives_an_answer_in_another_tab(alice, alice_at_aal2, stale):
    challenge = form(stale.submit(), "/mfa/challenge")
    alice.submits_code(alice_at_aal2)
    challenge["code"] = "123456"
    again = challenge.submit(headers=FROM_HERE)
    assert again.status_code == 400
    assert form(form(again, ADDRESS).submit(), ADDRESS)["email"].value == "new address"


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
    again = page.submit(headers=FROM_HERE)
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
    page["csrf_token"] = token_in(refused, "csrf")
    assert page.submit(headers=HTMX).headers["HX-Redirect"] == "/account"


def test_whoever_answered_in_another_tab_is_led_on_instead_of_asked_for_another_code(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    late = form(browser.get("/mfa/challenge", {"next": "/account?x"}), "/mfa/challenge")
    alice_with_totp.submits_code(browser)
    late["code"] = "123456"
    refused = late.submit(headers=HTMX)
    assert refused.html.a["href"] == "/account?x"


def test_whoever_is_not_signed_in_keeps_what_they_typed_too(alice):
    sign_in = form(alice.browser().get("/login"), "/login")
    sign_in["email"], sign_in["password"] = alice.email, alice.password
    sign_in["csrf_token"] = "of an earlier session"
    sign_in["csrf_token"] = token_in(sign_in.submit(headers=HTMX), "csrf")
    assert sign_in.submit(headers=HTMX).headers["HX-Redirect"] == "/account"


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.test"}, {"Origin": "null"}])
@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_without_the_header_of_htmx_which_no_other_site_can_send_nobody_gets_a_token(app, path, headers):
    page = form(Browser(app).get(path), path)
    page["email"], page["csrf_token"] = "alice@example.com", "guessed"
    refused = page.submit(headers=headers)
    assert refused.status_code == 400
    assert "HX-Trigger" not in refused.headers
    assert "csrf_token" not in refused


@pytest.mark.parametrize("headers", [HTMX, FROM_HERE], ids=["htmx", "plain"])
def test_signed_out_in_another_tab_a_note_is_not_lost(alice, alice_at_aal2, headers):
    note = form(alice_at_aal2.get("/account"), "/account")
    note["body"] = "typed for long"
    form(alice_at_aal2.get("/logout"), "/logout").submit()
    refused = note.submit(headers=headers)
    assert refused.status_code == 400
    if headers is HTMX:
        note["csrf_token"] = token_in(refused, "csrf")
        assert note.submit(headers=HTMX).html.dialog
    else:
        sign_in = form(form(refused, "/account").submit(), "/login")
        assert sign_in["kept.body"].value == "typed for long"


def test_a_code_that_proves_nothing_but_a_sheet_keeps_its_form(alice, alice_at_aal2):
    """Else the sheet, which is shown once, would have to be left for a form that confirms it."""
    path = "/settings/security/recovery-codes"
    sheet = form(alice_at_aal2.get(path), path).submit()
    confirm = form(sheet, f"{path}/confirm")
    confirm["code"] = sheet.html.select_one("#codes").get_text().split()[0]
    confirm["csrf_token"] = "of an earlier session"
    confirm["csrf_token"] = token_in(confirm.submit(headers=HTMX), "csrf")
    assert confirm.submit(headers=HTMX).headers["HX-Redirect"]


@pytest.mark.parametrize(
    ("posted", "page"),
    [
        ("/settings/security/recovery-codes/confirm", "/settings/security/recovery-codes"),
        ("/account/notes/7c1e0b9c-0000-4000-8000-000000000000/delete", "/account"),
        ("/settings/security/totp/verify", "/settings/security/totp"),
    ],
)
def test_what_has_no_page_resumes_at_the_page_above(alice_at_aal2, posted, page):
    refused = alice_at_aal2.post(posted, {"csrf_token": "of an earlier session"})
    assert refused.html.find("a", string="Load the page and try again")["href"] == page


@pytest.mark.parametrize("ended", [True, False])
def test_what_one_has_typed_is_not_shown_to_another(alice, stale_without_factor, new_person, ended):
    """As with htmx, where the page knows whose it is."""
    if ended:
        alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    sign_in, bob = form(stale_without_factor.submit(), "/login"), new_person("bob")
    sign_in["email"], sign_in["password"] = bob.email, bob.password
    page = sign_in.submit()
    assert page.location == ADDRESS
    assert form(page.follow(), ADDRESS)["email"].value == ""


# What has to come first and is no proof


@pytest.fixture
def billing(alice, alice_at_aal2):
    page = form(alice_at_aal2.get(BILLING), BILLING)
    for field, text in DETAILS.items():
        page[field] = text
    return page


def test_with_htmx_a_form_stays_while_a_factor_is_set_up_in_another_tab(alice, alice_at_aal2, billing):
    loses_the_app(alice)
    refused = billing.submit(headers=HTMX)
    assert (refused.status_code, refused.headers["HX-Retarget"]) == (403, "#notice")
    assert refused.html.a["href"] == "/settings/security?next=/settings/billing&action=billing"
    assert refused.html.a["target"] == "_blank"
    alice.set_up_app(alice_at_aal2)
    billing["csrf_token"] = token_in(billing.submit(headers=HTMX), "csrf")
    assert billing.submit(headers=HTMX).headers["HX-Redirect"] == BILLING
    assert kept(alice) == DETAILS


def test_without_javascript_a_page_keeps_the_form_meanwhile(alice, alice_at_aal2, billing):
    loses_the_app(alice)
    again = billing.submit(headers=FROM_HERE)
    assert again.status_code == 403
    assert again.html.select_one("[role=alert] a")["href"].startswith("/settings/security?")
    alice.set_up_app(alice_at_aal2)
    again = form(again, BILLING).submit(headers=FROM_HERE)  # its token is of before
    assert form(again, BILLING).submit().location == BILLING
    assert kept(alice) == DETAILS


@pytest.mark.parametrize("headers", [HTMX, FROM_HERE], ids=["htmx", "plain"])
def test_after_the_last_recovery_code_the_form_waits_for_a_new_sheet(alice, alice_at_aal2, billing, headers):
    last = has_one_code(alice, alice_at_aal2)
    alice.ages_proofs(400)
    challenge = form(billing.submit(headers=headers), "/mfa/challenge/recovery-code")
    challenge["code"] = last
    answer = challenge.submit(headers=headers)
    if headers is HTMX:
        billing["csrf_token"] = token_in(answer, "proven")
        refused = billing.submit(headers=headers)
        assert refused.headers["HX-Retarget"] == "#notice"
    else:
        refused = billing = form(answer, BILLING).submit(headers=headers)
        billing = form(refused, BILLING)
    assert refused.status_code == 403
    assert alerts(refused)[0].startswith("That was your last recovery code.")
    alice_at_aal2.get(refused.html.find("a", target="_blank")["href"])
    alice.makes_codes(alice_at_aal2)
    sent = billing.submit(headers=headers)
    assert BILLING in (sent.location, sent.headers.get("HX-Redirect"))
    assert kept(alice) == DETAILS


def loses_the_app(person):
    remove = "select public.mfa_remove_factor(user_id, id, true) from auth.mfa_factors where user_id = %s"
    person.database.execute(remove, [person.id])


def has_one_code(person, browser):
    person.makes_codes(browser)
    spend_all_but(person.database, person, 1)
    (last,) = (code for code in person.codes if not is_spent(person, code))
    return last
