"""Looking after somebody's account, in a browser."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Accounts, Proof, SomebodysAccount

pytestmark = pytest.mark.browser

REASON = "Called us: the phone was stolen"


@pytest.fixture
def desk(new_admin, page, site):
    """The page of an administrator, who has proven the app a moment ago."""
    admin, browser = new_admin()
    page.context.add_cookies([{"name": "stepup", "value": browser.cookies["stepup"], "url": site.url}])
    return admin, page


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_withdrawing_a_factor_takes_no_mouse_and_says_why_it_was_not_done(
    open_browser, new_admin, alice_with_totp, site, javascript
):
    admin, browser = new_admin()
    page = open_browser(java_script_enabled=javascript, viewport={"width": 360, "height": 740})
    page.context.add_cookies([{"name": "stepup", "value": browser.cookies["stepup"], "url": site.url}])
    accounts = Accounts.open(page)
    accounts.reach(accounts.part_field)
    accounts.press(alice_with_totp.email, "Enter")
    accounts.reach(accounts.found)
    accounts.press("Enter")
    somebody = SomebodysAccount(page, alice_with_totp.email)
    if javascript:  # axe needs it
        assert somebody.barriers() == []
    somebody.reach(somebody.deed("End all sessions (1)"))
    page.keyboard.press("ArrowDown")
    expect(somebody.deed("Withdraw the authenticator app “Phone”")).to_be_checked()
    somebody.press("Tab", "too short", "Tab", "Enter")
    expect(somebody.alert).to_have_text("Say why, in 10 to 500 characters.")
    expect(somebody.reason_field).to_be_focused()
    expect(somebody.reason_field).to_have_value("too short")
    expect(somebody.deed("Withdraw the authenticator app “Phone”")).to_be_checked()
    somebody.reason_field.press("ControlOrMeta+a")
    somebody.press(REASON, "Tab", "Enter")
    expect(page.get_by_text("“Phone” was withdrawn.")).to_be_visible()
    expect(somebody.log.filter(has_text=f"because: {REASON}")).to_have_count(1)


def test_a_proof_that_has_grown_old_meanwhile_is_asked_for_over_the_form_and_the_deed_is_done_once(
    desk, alice, database
):
    admin, page = desk
    alice.signs_in()
    accounts = Accounts.open(page)
    accounts.search(alice.email)
    somebody = accounts.look_at(alice.email)
    somebody.deed("End all sessions (1)").check()
    somebody.reason_field.fill(REASON)
    admin.ages_proofs(1801)
    admin.forgets_used_codes()
    somebody.do_button.click()
    Proof(page).answer(admin.phones[0].code())
    expect(page.get_by_text("Sessions that were ended: 1.")).to_be_visible()
    ended = "select from public.security_events where user_id = %s and event = 'sessions_ended'"
    assert database.execute(ended, [alice.id]).rowcount == 1
