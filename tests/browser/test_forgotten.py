"""What the mailbox alone is good for: it takes the place of the password, and never of a second factor."""

from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.pages import (
    Account,
    Challenge,
    ChangeAddress,
    NewPassword,
    Screen,
    Security,
    SignIn,
)

pytestmark = pytest.mark.browser

MOBILE = {"width": 360, "height": 740}
NEW_PASSWORD = "four other random words"


@pytest.fixture(params=[True, False], ids=["javascript", "plain"])
def page(open_browser, request):
    return open_browser(java_script_enabled=request.param, viewport=MOBILE)


@pytest.fixture
def look_at(page, request):
    """Have axe look at a screen where it can: it is a script itself."""

    def look_at(screen):
        if request.node.callspec.params["page"]:
            assert screen.barriers() == []
        return screen

    return look_at


def follows_mail(mailbox, email, subject):
    """Open the newest mail, and the link in it, and confirm. Return the tab that this opens."""
    mail = mailbox.open_mail_to(email)
    expect(mail.heading).to_have_text(subject)
    confirm = mail.follow_link()
    confirm.confirm()
    return confirm.page


def test_a_forgotten_password_is_replaced_with_the_mailbox(page, look_at, alice):
    ask = look_at(SignIn.open(page).forgot_password())
    check_mail = look_at(ask.ask(alice.email))
    tab = follows_mail(check_mail.open_mailbox(), alice.email, "Set a new password")
    new = look_at(NewPassword(tab))
    new.choose("passwordpassword")
    expect(new.alert).to_contain_text("first passwords a guessing program tries")
    expect(tab.get_by_label("New password")).to_be_focused()
    look_at(new)
    new.choose(NEW_PASSWORD)
    security = look_at(Security(tab))
    expect(tab.get_by_text("Your password was changed, and your other devices were signed out.")).to_be_visible()
    account = security.to_notes()
    account.add_note("Mine again")
    expect(account.notes).to_have_count(1)

    sign_in = account.to_sign_out().sign_out()
    sign_in.sign_in(alice.email, alice.password)
    expect(sign_in.alert).to_have_text("Email or password is incorrect.")
    sign_in.sign_in(alice.email, NEW_PASSWORD)
    Account(tab)


@pytest.mark.parametrize(
    ("way", "subject"), [("forgot_password", "Set a new password"), ("by_mail", "Your link to sign in")]
)
def test_the_mailbox_alone_does_not_get_past_a_second_factor(page, look_at, alice_with_totp, way, subject):
    alice = alice_with_totp
    ask = look_at(getattr(SignIn.open(page), way)())
    mailbox = look_at(ask.ask(alice.email)).open_mailbox()
    tab = follows_mail(mailbox, alice.email, subject)
    challenge = look_at(Challenge(tab))
    expect(tab.get_by_role("navigation").get_by_role("link")).to_have_text(["Sign out"])
    for path in ("/account", "/settings/security", "/settings/security/password", "/account/change-email"):
        tab.goto(path)
        Challenge(tab)
    challenge.answer(alice.phones[0].wrong_code())
    expect(challenge.alert).to_contain_text("That code is not right.")
    challenge.answer(alice.phones[0].code())
    ChangeAddress(tab)


def test_a_mail_takes_the_place_of_the_password(page, look_at, alice):
    check_mail = SignIn.open(page).by_mail().ask(alice.email)
    tab = follows_mail(check_mail.open_mailbox(), alice.email, "Your link to sign in")
    Account(tab)
    page.goto(tab.url)
    Account(page)


def test_a_link_works_once_and_then_says_where_to_get_another(page, look_at, alice):
    check_mail = SignIn.open(page).by_mail().ask(alice.email)
    mail = check_mail.open_mailbox().open_mail_to(alice.email)
    first = mail.follow_link()
    first.confirm()
    Account(first.page)
    again = mail.follow_link()
    again.confirm()
    expect(again.alert).to_contain_text("expired or was used before")
    look_at(again)
    again.page.get_by_role("link", name="ask for a new link").click()
    Screen(again.page, "Sign in by mail")


def test_an_address_changes_when_both_mailboxes_have_confirmed(page, look_at, alice):
    new = f"new-{uuid4().hex[:12]}@example.com"
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page).to_security()
    change = look_at(Security(page).change_address())
    change.ask_for("nonsense")
    expect(change.alert).to_have_text("Enter an email address, like name@example.com.")
    change.ask_for(new)
    expect(change.waiting).to_contain_text(new)
    look_at(change)
    mailbox = change.open_mailbox()
    tab = follows_mail(mailbox, new, "Confirm your new e-mail address")
    expect(tab.get_by_role("heading", name="One of two is confirmed")).to_be_visible()
    look_at(Screen(tab))
    page.go_back()
    page.go_back()
    tab = follows_mail(change.open_mailbox(), alice.email, "Confirm your new e-mail address")
    Account(tab)
    expect(tab.get_by_text(f"Your address is now {new}.")).to_be_visible()


def test_a_change_of_address_can_be_cancelled(page, look_at, alice):
    new = f"new-{uuid4().hex[:12]}@example.com"
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page)
    change = ChangeAddress.open(page)
    change.ask_for(new)
    expect(change.waiting).to_be_visible()
    change.cancel()
    expect(page.get_by_text(f"Nothing was changed. Your address is still {alice.email}.")).to_be_visible()
    expect(change.waiting).to_have_count(0)
    look_at(change)
