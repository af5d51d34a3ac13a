"""Times: kept in UTC, read in the visitor's own zone and language."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Account

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("zone", "language", "shown"),
    [
        ("Europe/Berlin", "de-DE", "01.07.2026, 00:30"),
        ("America/New_York", "en-US", "Jun 30, 2026, 6:30 PM"),
        ("Asia/Kolkata", "en-GB", "1 Jul 2026, 04:00"),
    ],
)
def test_a_time_is_shown_where_the_visitor_is(open_browser, comes_in, alice, database, zone, language, shown):
    page = comes_in(open_browser(timezone_id=zone, locale=language), alice)
    account, time = _with_an_old_note(page, alice, database)
    expect(time).to_have_text(shown, use_inner_text=True)
    expect(time).to_have_attribute("title", "2026-06-30 22:30 UTC")
    expect(time).to_have_attribute("lang", language)
    assert account.barriers() == []
    account.note_field.fill(" ")
    page.get_by_role("button", name="Add note").click()
    expect(account.alert).to_be_visible()
    expect(time).to_have_text(shown, use_inner_text=True)


def test_without_scripts_a_time_is_in_utc_and_says_so(open_browser, comes_in, alice, database):
    page = comes_in(open_browser(java_script_enabled=False, timezone_id="Europe/Berlin"), alice)
    _, time = _with_an_old_note(page, alice, database)
    expect(time).to_have_text("2026-06-30 22:30 UTC")


def _with_an_old_note(page, alice, database):
    page.goto("/account")
    Account(page).add_note("From last summer")
    expect(Account(page).notes).to_have_count(1)
    database.execute("update public.notes set created_at = '2026-06-30T22:30:00Z' where user_id = %s", [alice.id])
    page.reload()
    account = Account(page)
    return account, account.notes.get_by_role("time")
