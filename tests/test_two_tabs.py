"""Two tabs, the back button, reloads and other browsers: every one ends in a sensible page."""

from tests.people import Browser, form


def test_signing_out_in_another_tab_leads_to_sign_in(alice):
    browser = alice.signs_in()
    note = form(browser.get("/account"), "/account")
    form(browser.get("/logout"), "/logout").submit()
    assert browser.get("/account").location.startswith("/login?next=")
    note["body"] = "typed before"
    assert note.submit().status_code == 400  # and says to load the page again
    assert browser.get("/").status_code == 200


def test_signing_in_in_another_tab_makes_the_first_form_say_so(alice):
    browser = alice.browser()
    first = form(browser.get("/login"), "/login")
    alice.signs_in(browser)
    first["email"], first["password"] = alice.email, alice.password
    page = first.submit()
    assert page.status_code == 400
    assert "another tab" in page
    assert page.html.find("a", string="Go on")["href"] == "/account"


def test_whoever_wanted_to_sign_out_is_asked_again(alice):
    browser = alice.signs_in()
    sign_out = form(browser.get("/logout"), "/logout")
    alice.signs_in(browser)
    page = sign_out.submit()
    assert page.html.find("a", string="Load the page and try again")["href"] == "/logout"


def test_answering_the_challenge_in_two_tabs_signs_in_once_and_leads_both_on(alice_with_totp):
    browser = alice_with_totp.browser()
    alice_with_totp.submits_password(browser)
    tabs = [form(browser.get("/mfa/challenge"), "/mfa/challenge") for _ in range(2)]
    code = alice_with_totp.phones[0].code()
    for tab in tabs:
        tab["code"] = code
    assert tabs[0].submit().location == "/account"
    assert tabs[1].submit().status_code == 400  # its form token went with the old cookie
    assert browser.get("/mfa/challenge").location == "/account"


def test_a_challenge_left_open_for_six_minutes_still_works(alice_with_totp, database):
    alice = alice_with_totp
    browser = alice.browser()
    alice.submits_password(browser)
    challenge = form(browser.get("/mfa/challenge"), "/mfa/challenge")
    alice.ages_proofs(360)
    challenge["code"] = alice.phones[0].code()
    assert challenge.submit().location == "/account"


def test_a_challenge_left_open_until_the_session_has_ended_leads_to_sign_in(alice_with_totp, database):
    alice = alice_with_totp
    browser = alice.browser()
    alice.submits_password(browser)
    challenge = form(browser.get("/mfa/challenge"), "/mfa/challenge")
    database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    challenge["code"] = alice.phones[0].code()
    assert challenge.submit().location.startswith("/login?next=")


def test_a_session_at_the_challenge_that_another_device_has_ended_leads_to_sign_in(alice_with_totp):
    """Supabase ends every session at aal1 when a code is proven anywhere."""
    alice = alice_with_totp
    waiting = alice.browser()
    alice.submits_password(waiting)
    alice.signs_in()
    assert waiting.get("/mfa/challenge").location.startswith("/login?next=")


def test_reloading_a_post_does_not_do_it_twice(alice, database):
    browser = alice.signs_in()
    note = form(browser.get("/account"), "/account")
    note["body"] = "once"
    answer = note.submit()
    assert answer.status_code == 303  # what a reload repeats is the GET it leads to
    answer.follow()
    browser.get(answer.location)
    assert database.execute("select from public.notes where user_id = %s", [alice.id]).rowcount == 1


def test_a_set_up_finished_in_another_browser_is_not_offered_here_any_more(alice):
    here, elsewhere = alice.signs_in(), alice.signs_in()
    alice.begins_app(here, "Here")
    alice.set_up_app(elsewhere, "Elsewhere")
    assert here.get("/settings/security/totp").location.startswith("/login")


def test_after_signing_out_the_old_cookie_is_worth_nothing(alice, app):
    browser = alice.signs_in()
    key = browser.cookies["stepup"]
    form(browser.get("/logout"), "/logout").submit()
    thief = Browser(app)
    thief.set_cookie("stepup", key)
    assert thief.get("/account").location.startswith("/login")


def test_removing_the_app_in_one_tab_while_the_other_asks_for_its_code(alice, alice_at_aal2, database):
    alice.ages_proofs(400)
    asking = form(alice_at_aal2.get("/settings/security").follow(), "/mfa/challenge")
    factor = asking["factor"].value
    database.execute("select public.mfa_remove_factor(%s, %s, true)", [alice.id, factor])
    asking["code"] = alice.phones[0].code()
    page = asking.submit()
    assert page.status_code == 404
    assert "not set up any more" in page
    assert alice_at_aal2.get("/account").status_code == 200
