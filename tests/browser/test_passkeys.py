"""Passkeys as people live with them, on Chromium's virtual authenticator: real keys, real browser, real server."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.browser.pages import (
    Account,
    Challenge,
    ChangeAddress,
    ConnectApp,
    NameApp,
    Passkey,
    Passkeys,
    RecoveryCodes,
    Security,
    SignIn,
    SignUp,
)
from tests.browser.passkey_device import SECURITY_KEY, SYNCED, PasskeyDevice
from tests.mailbox import link_to

pytestmark = pytest.mark.browser

MOBILE = {"width": 360, "height": 740}
CANCELLED = re.compile("It was cancelled, or took too long.|Nothing was added: it was cancelled, or took too long.")


@pytest.fixture
def page(open_browser):
    return open_browser(viewport=MOBILE)


@pytest.fixture
def signed_in(page, comes_in, alice):
    """Alice's page, after her password."""
    return comes_in(page, alice)


@pytest.fixture
def with_passkey(signed_in, passkey_device):
    """The page with Alice's passkeys: she is signed in, and has one on this device."""
    passkeys = Passkeys.open(signed_in)
    passkeys.add()
    return passkeys


def adds_app(page):
    """Set up an authenticator app on a phone, and return that phone."""
    NameApp.open(page).name("Phone")
    connect = ConnectApp(page)
    phone = connect.phone()
    connect.finish(phone.code())
    expect(page.get_by_text("is set up.")).to_be_visible()
    return phone


def signs_out(page):
    page.context.clear_cookies(name="stepup")


def opens_sign_in(page, device):
    """Sign out, to the page where the request for autofill is open and nobody has chosen yet, as in real life."""
    signs_out(page)
    device.waits()
    sign_in = SignIn.open(page)
    device.is_asked()
    device.touches()
    return sign_in


def test_from_sign_up_to_a_sign_in_without_a_password(page, passkey_device):
    email, password = f"new-{uuid4().hex[:12]}@example.com", f"correct horse {uuid4().hex[:8]}"
    page.goto("/signup")
    SignUp(page).create(email, password)
    expect(page.get_by_role("heading", name="Check your mail")).to_be_visible()
    page.goto(link_to(email, "/auth/confirm"))
    page.get_by_role("button", name="Confirm and go on").click()
    passkeys = Account(page).to_security().to_passkeys()
    assert passkeys.barriers() == []
    passkeys.add()
    expect(passkeys.cards).to_contain_text(["On one device only"])
    assert passkeys.barriers() == []
    passkey_device.waits()
    passkeys.to_sign_out().sign_out()
    sign_in = opens_sign_in(page, passkey_device)
    expect(sign_in.email_field).to_have_attribute("autocomplete", "username webauthn")
    assert sign_in.barriers() == []
    sign_in.passkey_button.click()
    account = Account(page)
    account.add_note("Only aal2 may write this")
    expect(account.notes).to_have_count(1)

    page.context.clear_cookies()
    page.goto("/login?next=/settings/security")  # and here the device fills it in by itself
    security = Security(page)
    expect(security.passkeys).to_contain_text([re.compile("Last used .* with .*Chrome on ")])
    assert security.barriers() == []


@pytest.mark.parametrize("also_app", [True, False], ids=["passkey and app", "passkey only"])
def test_as_a_second_step_after_the_password(with_passkey, passkey_device, alice, also_app):
    page = with_passkey.page
    if also_app:
        adds_app(page)
    opens_sign_in(page, passkey_device).sign_in(alice.email, alice.password)
    challenge = Challenge(page)
    expect(challenge.passkey_button).to_be_focused()
    expect(challenge.code_field).to_have_count(int(also_app))
    assert challenge.barriers() == []
    passkey_device.refuses()
    challenge.passkey_button.click()
    expect(challenge.said).to_have_text(CANCELLED)
    expect(challenge.passkey_button).to_be_focused()
    assert challenge.barriers() == []
    passkey_device.agrees()
    challenge.passkey_button.click()
    Account(page)


def test_a_refused_second_step_is_said_above_the_buttons_and_not_at_the_code(with_passkey, passkey_device, alice):
    page = with_passkey.page
    adds_app(page)
    opens_sign_in(page, passkey_device).sign_in(alice.email, alice.password)
    challenge = Challenge(page)
    passkey_device.lies(isBogusSignature=True)
    challenge.passkey_button.click()
    expect(challenge.alert).to_have_text("That passkey could not be checked. Please try again.")
    expect(challenge.alert).to_be_focused()
    expect(challenge.code_field).to_have_accessible_description("")
    assert challenge.barriers() == []
    passkey_device.lies()
    challenge.passkey_button.click()
    Account(page)


def test_everything_takes_no_mouse(signed_in, passkey_device, alice):
    page = signed_in
    passkeys = Passkeys.open(page)
    passkeys.reach(passkeys.add_button)
    passkeys.press("Enter")
    RecoveryCodes(page)
    passkeys = Passkeys.open(page)
    expect(passkeys.cards).to_have_count(1)
    passkeys.reach(page.get_by_role("link", name="Change Passkey"))
    passkeys.press("Enter")
    passkey = Passkey(page, "Change “Passkey”")
    passkey.reach(passkey.name_field)  # with all of its text selected
    passkey.press("Laptop", "Enter")
    expect(Passkeys(page).cards).to_contain_text(["Laptop"])

    sign_in = opens_sign_in(page, passkey_device)
    sign_in.reach(sign_in.passkey_button)
    sign_in.press("Enter")
    Account(page)

    sign_in = opens_sign_in(page, passkey_device)
    sign_in.reach(sign_in.email_field)
    sign_in.press(alice.email, "Tab", alice.password, "Enter")
    challenge = Challenge(page)
    expect(challenge.passkey_button).to_be_focused()
    challenge.press("Space")
    Account(page)


def test_a_registration_that_fails_says_why_beside_its_button(signed_in, passkey_device):
    passkeys = Passkeys.open(signed_in)
    passkey_device.refuses()
    passkeys.add_button.click()
    expect(passkeys.said).to_have_text(CANCELLED)
    expect(passkeys.add_button).to_be_focused()
    signed_in.context.set_offline(True)
    passkeys.add_button.click()
    expect(passkeys.said).to_contain_text("No answer came back.")
    signed_in.context.set_offline(False)
    passkey_device.agrees()
    passkeys.add()
    passkeys.add_button.click()
    expect(passkeys.said).to_have_text("This device has a passkey for your account already.")
    expect(passkeys.add_button).to_be_focused()
    assert passkeys.barriers() == []


@pytest.mark.parametrize("htmx", [True, False], ids=["htmx", "without htmx"])
def test_what_the_server_refuses_is_said_and_can_be_tried_again(signed_in, passkey_device, htmx):
    if not htmx:
        signed_in.route("**/vendor/**", lambda route: route.abort())
    passkeys = Passkeys.open(signed_in)
    passkey_device.lies(isBadUP=True)
    passkeys.add_button.click()
    expect(passkeys.alert).to_have_text("That passkey could not be checked. Please try again.")
    expect(passkeys.alert).to_be_focused()
    assert passkeys.barriers() == []
    passkey_device.lies()
    passkeys.add()


def test_a_page_from_before_a_sign_in_says_that_it_is_too_old(signed_in, passkey_device):
    passkeys = Passkeys.open(signed_in)
    signed_in.context.clear_cookies(name="session")
    passkeys.add_button.click()
    expect(passkeys.said).to_contain_text("This page had been open for too long")
    signed_in.reload()
    passkeys.add()


def test_whoever_has_to_prove_something_first_comes_back_to_where_they_were(with_passkey, passkey_device, alice):
    page = with_passkey.page
    alice.ages_proofs(600)
    with_passkey.add_button.click()
    challenge = Challenge(page)
    challenge.passkey_button.click()
    Passkeys(page)
    signs_out(page)
    passkey_device.waits()
    with_passkey.add_button.click()
    SignIn(page).sign_in(alice.email, alice.password)
    challenge = Challenge(page)
    passkey_device.touches()
    challenge.passkey_button.click()
    Passkeys(page)


def test_what_takes_too_long_ends_and_autofill_begins_anew_in_time(open_browser, hurried_site, comes_in, alice):
    page = comes_in(open_browser(site=hurried_site), alice)
    device = PasskeyDevice(page)
    passkeys = Passkeys.open(page)
    passkeys.add()
    device.waits()
    passkeys.add_button.click()
    passkeys.key_button.click()  # ends the other, about which nothing need be said
    expect(passkeys.said).to_have_text(CANCELLED)
    expect(passkeys.key_button).to_be_focused()
    signs_out(page)
    with page.expect_request("**/login/passkey/options"):
        SignIn.open(page)
    with page.expect_request("**/login/passkey/options"):
        pass
    device.touches()
    Account(page)


def test_autofill_goes_on_after_the_form_was_replaced(with_passkey, passkey_device, alice):
    page = with_passkey.page
    signs_out(page)
    held = []
    page.route("**/login/passkey/options", lambda route: held.append(route))
    with page.expect_request("**/login/passkey/options"):
        sign_in = SignIn.open(page)
    sign_in.sign_in(alice.email, "not the password")
    expect(sign_in.alert).to_have_text("Email or password is incorrect.")
    held[0].continue_()
    Account(page)


def test_autofill_goes_on_after_the_back_button(chromium_with_memory, open_browser, comes_in, alice):
    page = comes_in(open_browser(chromium=chromium_with_memory), alice)
    device = PasskeyDevice(page)
    Passkeys.open(page).add()
    signs_out(page)
    device.waits()
    SignIn.open(page).by_mail()
    device.touches()
    page.evaluate("setTimeout(() => history.back())")
    Account(page)


def test_a_security_key_has_a_button_of_its_own(signed_in):
    PasskeyDevice(signed_in, SECURITY_KEY)
    passkeys = Passkeys.open(signed_in)
    buttons = signed_in.get_by_role("region", name="Add").get_by_role("button")
    expect(buttons).to_have_text(["Security key or another device", "Add a passkey on this device"])
    passkeys.key_button.click()
    RecoveryCodes(signed_in)
    expect(Passkeys.open(signed_in).cards).to_contain_text(["Security key"])
    expect(passkeys.cards).to_contain_text(["On one device only"])
    assert passkeys.barriers() == []


def test_a_synced_passkey_is_labelled(signed_in):
    PasskeyDevice(signed_in, SYNCED)
    passkeys = Passkeys.open(signed_in)
    passkeys.add()
    expect(passkeys.cards).to_contain_text(["Synced between your devices"])


def test_a_copy_is_refused_and_its_owner_reads_why(with_passkey, passkey_device, alice):
    page = with_passkey.page
    phone = adds_app(page)
    sign_in = opens_sign_in(page, passkey_device)
    passkey_device.sets_counter(0)
    with page.expect_request("**/login/passkey"):
        sign_in.passkey_button.click()
    passkey_device.waits()  # or it would fill it in again at once, and again
    expect(sign_in.alert).to_contain_text("There may be a copy of this passkey")
    expect(sign_in.alert).to_be_focused()
    assert sign_in.barriers() == []

    sign_in.sign_in(alice.email, alice.password)
    Challenge(page).answer(phone.code())
    Account(page)
    passkeys = Passkeys.open(page)
    expect(passkeys.cards).to_contain_text(["it is not accepted any more. Remove it."])
    assert passkeys.barriers() == []


def test_a_passkey_that_is_gone_is_refused_and_the_device_forgets_it(with_passkey, passkey_device, database, alice):
    page = with_passkey.page
    sign_in = opens_sign_in(page, passkey_device)
    database.execute("delete from public.mfa_passkeys where user_id = %s", [alice.id])
    sign_in.passkey_button.click()
    expect(sign_in.alert).to_contain_text("This passkey is not known here any more.")
    expect(sign_in.alert).to_be_focused()
    passkey_device.notices("credentialDeleted")
    assert passkey_device.passkeys == []
    assert sign_in.barriers() == []


def test_the_device_hears_of_removals(with_passkey, passkey_device):
    page = with_passkey.page
    passkey = with_passkey.change("Passkey")
    assert passkey.barriers() == []
    passkey.rename(" ")
    expect(passkey.alert).to_have_text("Give the passkey a name.")
    expect(passkey.name_field).to_be_focused()
    passkey.rename("My laptop")
    passkeys = Passkeys(page)
    expect(passkeys.cards).to_contain_text(["My laptop"])
    passkeys.change("My laptop").remove()
    expect(page.get_by_text("“My laptop” was removed.")).to_be_visible()
    passkey_device.notices("credentialDeleted")
    assert passkey_device.passkeys == []


def test_the_device_hears_of_a_new_address(with_passkey, passkey_device, alice):
    page, new = with_passkey.page, f"new-{uuid4().hex[:12]}@example.com"
    ChangeAddress.open(page).ask_for(new)
    expect(ChangeAddress(page).waiting).to_be_visible()
    for address in (new, alice.email):
        page.goto(link_to(address, "/auth/confirm"))
        page.get_by_role("button", name="Confirm and go on").click()
        expect(page.get_by_text(re.compile("One of two is confirmed|Your address is now"))).to_be_visible()
    Account(page)
    passkey_device.notices("credentialUpdated", userName=new, userDisplayName=new)


def test_after_password_and_code_a_password_manager_may_add_one_by_itself(page, alice_with_totp):
    """Chromium's own would need an account at Google: here its silence is played, and its answer without a gesture."""
    page.add_init_script(
        "const create = navigator.credentials.create.bind(navigator.credentials);"
        "navigator.credentials.create = ({ mediation, ...options }) => create(options);"
    )
    device = PasskeyDevice(page)
    device.waits()
    SignIn.open(page).sign_in(alice_with_totp.email, alice_with_totp.password)
    challenge = Challenge(page)
    device.touches()
    device.lies(isBadUP=True, isBadUV=True)
    challenge.answer(alice_with_totp.phones[0].code())
    account = Account(page)
    expect(page.get_by_text("From now on you can sign in with it.")).to_be_visible()
    assert account.barriers() == []
    expect(account.to_security().passkeys).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False], ids=["old browser", "no JavaScript"])
def test_where_there_are_no_passkeys_the_pages_say_what_to_do_instead(
    open_browser, with_passkey, comes_in, alice, new_person, javascript
):
    def look_at(screen):
        if javascript:
            assert screen.barriers() == []
        return screen

    old = open_browser(java_script_enabled=javascript, viewport=MOBILE)
    old.add_init_script("delete window.PublicKeyCredential")
    sign_in = look_at(SignIn.open(old))
    expect(sign_in.passkey_button).to_be_hidden()
    sign_in.sign_in(alice.email, alice.password)
    challenge = look_at(Challenge(old))
    expect(challenge.passkey_button).to_be_hidden()
    expect(old.get_by_text("Open this page in such a browser, or sign out.")).to_be_visible()

    passkeys = look_at(Passkeys.open(comes_in(old, new_person())))
    expect(passkeys.add_button).to_be_hidden()
    expect(old.get_by_text("You can set up an authenticator app instead.")).to_be_visible()


def test_a_second_person_in_the_same_browser_is_warned(page, comes_in, new_person):
    passkeys = Passkeys.open(comes_in(page, new_person("first")))
    expect(passkeys.add_button).to_be_visible()
    page.evaluate("navigator.storage.estimate()")  # has been asked by the page, too, so the answer is in
    expect(passkeys.shared_device_warning).to_be_hidden()
    passkeys = Passkeys.open(comes_in(page, new_person("second")))
    expect(passkeys.shared_device_warning).to_be_visible()
    assert passkeys.barriers() == []
    NameApp.open(page)
    expect(passkeys.shared_device_warning).to_be_visible()
