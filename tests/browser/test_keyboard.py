"""Everything that a mouse can do, with the keyboard alone."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Account, Challenge, SignIn

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_signing_in_takes_no_mouse(open_browser, alice_with_totp, javascript):
    page = open_browser(java_script_enabled=javascript)
    sign_in = SignIn.open(page)
    sign_in.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    sign_in.press("Enter", "Tab")
    expect(sign_in.email_field).to_be_focused()
    sign_in.press(alice_with_totp.email, "Tab", "not the password", "Enter")
    expect(sign_in.alert).to_be_focused()
    sign_in.press("Tab", "Tab")
    expect(sign_in.password_field).to_be_focused()
    sign_in.press(alice_with_totp.password, "Tab", "Enter")
    challenge = Challenge(page)
    expect(challenge.code_field).to_be_focused()
    challenge.press(alice_with_totp.phones[0].wrong_code(), "Enter")
    expect(challenge.alert).to_be_visible()
    expect(challenge.code_field).to_be_focused()
    challenge.press(alice_with_totp.phones[0].code(), "Tab", "Enter")
    Account(page)


def test_what_has_the_focus_is_framed_even_where_the_keyboard_is_not_in_use(page):
    sign_in = SignIn.open(page)
    sign_in.email_field.click()
    expect(sign_in.email_field).to_have_css("outline-style", "solid")
    expect(sign_in.email_field).to_have_css("outline-width", "3px")


def test_the_skip_link_is_seen_only_when_it_has_the_focus(page):
    SignIn.open(page)
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).not_to_be_in_viewport()
    page.keyboard.press("Tab")
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
