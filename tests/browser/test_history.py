"""Back, reload and other tabs: what was on the screen is not what may be seen or done now."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Account, Challenge, ConnectApp, NameApp, SignIn

pytestmark = pytest.mark.browser


@pytest.fixture
def signed_in(page, alice):
    """Alice's notes, with one note."""
    SignIn.open(page).sign_in(alice.email, alice.password)
    account = Account(page)
    account.add_note("Mine alone")
    expect(account.notes).to_have_count(1)
    return account


def test_the_back_button_shows_no_notes_after_signing_out(chromium_with_memory, open_browser, alice):
    page = open_browser(chromium=chromium_with_memory)
    SignIn.open(page).sign_in(alice.email, alice.password)
    account = Account(page)
    account.add_note("Mine alone")
    expect(account.notes).to_have_count(1)
    account.to_sign_out().sign_out()
    page.evaluate("setTimeout(() => history.go(-2))")  # past the question, to the notes
    expect(account.heading).to_have_text("Sign in")
    expect(page.get_by_text("Mine alone")).to_have_count(0)


def test_the_back_button_shows_no_secret_after_an_app_is_set_up(chromium_with_memory, open_browser, alice):
    page = open_browser(chromium=chromium_with_memory)
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page)
    NameApp.open(page).name("Phone")
    connect = ConnectApp(page)
    secret = page.locator("#secret").inner_text()
    page.goto("/account")
    page.evaluate("setTimeout(() => history.back())")
    expect(connect.heading).to_have_text("Connect “Phone”")  # unfinished: the way back is open
    alice.phones.append(phone := connect.phone())
    connect.finish(phone.code())
    expect(connect.heading).to_have_text("Recovery codes")
    page.evaluate("setTimeout(() => history.back())")
    expect(connect.heading).to_have_text("Set up an authenticator app")
    expect(page.get_by_text(secret)).to_have_count(0)


def test_nothing_that_is_secret_is_left_in_the_browser(page, alice):
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page)
    NameApp.open(page).name("Phone")
    connect = ConnectApp(page)
    connect.finish("000 000")
    expect(connect.alert).to_be_visible()
    assert page.evaluate("[Object.keys(localStorage), sessionStorage.length, document.cookie]") == [["people"], 0, ""]
    assert re.fullmatch(r'\["[0-9a-f]{8}"\]', page.evaluate("localStorage.people"))
    assert page.evaluate("history.state") in (None, {"htmx": True})
    assert page.url.endswith("/settings/security/totp")
    assert {cookie["httpOnly"] for cookie in page.context.cookies()} == {True}


def test_of_the_people_of_a_browser_the_last_five_are_remembered_by_it_alone(page, alice):
    sent = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.post_data} {request.headers}"))
    SignIn.open(page)
    page.evaluate("localStorage.people = JSON.stringify(['00000001', '00000002', '00000003', '00000004', '00000005'])")
    SignIn(page).sign_in(alice.email, alice.password)
    Account(page)
    page.wait_for_load_state()  # the scripts, which remember
    people = json.loads(page.evaluate("localStorage.people"))
    assert people[:4] == ["00000002", "00000003", "00000004", "00000005"]
    assert len(people) == 5
    assert not any(person in request for person in people for request in sent)


def test_reloading_after_a_form_writes_nothing_twice(signed_in):
    signed_in.page.reload()
    expect(signed_in.notes).to_have_count(1)


def test_reloading_a_plain_refusal_asks_again_and_writes_nothing(open_browser, alice):
    page = open_browser(java_script_enabled=False)
    SignIn.open(page).sign_in(alice.email, alice.password)
    account = Account(page)
    account.add_note(" ")
    expect(account.alert).to_have_text("Write something first.")
    page.reload()
    expect(account.alert).to_have_text("Write something first.")
    expect(account.notes).to_have_count(0)


def test_a_form_in_another_tab_from_before_signing_in_says_what_to_do(page, alice):
    old = SignIn.open(page.context.new_page())
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page)
    old.sign_in(alice.email, alice.password)
    expect(old.alert).to_contain_text("you signed in or out in another tab")
    expect(old.alert).to_be_focused()
    expect(old.email_field).to_have_value(alice.email)
    assert old.barriers() == []
    old.submit_button.click()
    Account(old.page)


def test_signing_out_in_one_tab_ends_the_other_at_its_next_step(signed_in):
    other = signed_in.page.context.new_page()
    other.goto("/account")
    Account(other).to_sign_out().sign_out()
    signed_in.add_note("Written too late")
    expect(signed_in.alert).to_contain_text("you signed in or out in another tab")
    expect(signed_in.note_field).to_have_value("Written too late")
    signed_in.page.reload()
    SignIn(signed_in.page)


def test_two_tabs_that_ask_for_the_code_take_it_once(page, alice_with_totp):
    SignIn.open(page).sign_in(alice_with_totp.email, alice_with_totp.password)
    first = Challenge(page)
    page.context.new_page().goto("/account")
    second = Challenge(page.context.pages[1])
    code = alice_with_totp.phones[0].code()
    first.answer(code)
    Account(first.page)
    second.page.reload()
    Account(second.page)


def test_an_ip_address_leads_to_localhost(page, site):
    page.goto(site.url.replace("localhost", "127.0.0.1") + "/login?next=/settings/security")
    assert page.url == f"{site.url}/login?next=/settings/security"
    SignIn(page)
