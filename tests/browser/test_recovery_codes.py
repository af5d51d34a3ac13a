"""Recovery codes in a browser: kept on paper, in a file or in the clipboard, and the day on which they are needed."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Challenge, ConnectApp, NameApp, RecoveryCodes, Security, Sheet, SignIn
from tests.browser.test_first_light import DESKTOP, MOBILE

pytestmark = pytest.mark.browser


def test_a_sheet_is_copied_saved_and_printed_with_the_site_and_the_date(open_browser, comes_in, alice_with_totp, site):
    # German says a day in figures: the short names of months change with the Chromium.
    alice, page = alice_with_totp, open_browser(locale="de-DE", timezone_id="UTC")
    sheet = RecoveryCodes.open(comes_in(page, alice)).show_codes()
    codes, made = sheet.codes, datetime.fromisoformat(sheet.paper.get_by_role("time").get_attribute("datetime"))
    assert len(codes) == 10
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=5)
    today = f"{made:%d.%m.%Y}"

    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    sheet.copy_button.click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").split() == codes

    name, text = sheet.downloaded()
    assert name == "recovery-codes-1.txt"
    assert [line for line in text.splitlines() if line in codes] == codes
    for part in ("Stepup", site.url, alice.email, "Sheet 1", today):
        assert part in text

    page.emulate_media(media="print")
    for part in (*codes, "Stepup", site.url, alice.email, "Sheet 1", today):
        expect(sheet.paper).to_contain_text(part, use_inner_text=True)
    for other in ("navigation", "heading", "textbox", "button", "link"):
        expect(page.get_by_role(other)).to_have_count(0)


def test_a_second_click_does_not_take_the_place_of_the_sheet(page, comes_in, alice_with_totp):
    RecoveryCodes.open(comes_in(page, alice_with_totp))
    button = page.get_by_role("button", name="Show my codes")
    assert button.evaluate("button => { button.click(); return button.disabled; }")
    expect(Sheet(page).paper).to_contain_text("Sheet 1")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Please look again")


@pytest.mark.parametrize("viewport", [DESKTOP, MOBILE], ids=["desktop", "mobile"])
@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_whoever_loses_the_phone_comes_in_by_a_code_and_replaces_it(open_browser, alice, javascript, viewport):
    def look_at(screen):
        if javascript:
            assert screen.barriers() == []
        return screen

    browser = alice.signs_in()
    alice.set_up_app(browser, "Lost")
    alice.makes_codes(browser)
    page = open_browser(java_script_enabled=javascript, viewport=viewport)
    SignIn.open(page).sign_in(alice.email, alice.password)
    challenge = look_at(Challenge(page))
    challenge.use_recovery_code("ABCD-EFGH")
    expect(challenge.alert).to_contain_text("That recovery code is not right.")
    expect(challenge.recovery_code_field).to_be_focused()
    look_at(challenge).use_recovery_code(alice.codes[6].lower())

    security = look_at(Security(page))
    expect(page.get_by_text("9 are left")).to_be_visible()
    page.get_by_role("link", name="Add another app").click()
    NameApp(page).name("Phone")
    connect = ConnectApp(page)
    new = connect.phone()
    connect.finish(new.code())
    security = Security(page).remove_app("Lost")
    expect(security.apps).to_have_count(1)
    expect(security.apps).to_contain_text(["Phone"])

    security.to_sign_out().sign_out().sign_in(alice.email, alice.password)
    Challenge(page).answer(new.code())
    expect(page.get_by_role("heading", name="Your notes")).to_be_visible()
