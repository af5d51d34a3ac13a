"""A form that has to wait for a proof: the dialog over it, and that it is sent once."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Account, AskForMail, Challenge, ChangeAddress, Confirm, Proof, RecoveryCodes
from tests.browser.passkey_device import PasskeyDevice
from tests.mailbox import link_to
from tests.test_interrupted import has_one_code

pytestmark = pytest.mark.browser


@pytest.fixture
def sent(page):
    """The bodies that were posted to the address form."""
    bodies = []
    page.on("request", lambda r: r.method == "POST" and r.url.endswith("/change-email") and bodies.append(r.post_data))
    return bodies


@pytest.fixture
def form(page, alice_with_totp, comes_in):
    """The form for a new address, filled in, in a session whose proof is too old."""
    alice_with_totp.forgets_used_codes()
    form = ChangeAddress.open(comes_in(page, alice_with_totp))
    page.get_by_label("New email address").fill("somewhere-else")
    alice_with_totp.ages_proofs(400)
    alice_with_totp.forgets_used_codes()
    return form


def test_the_dialog_keeps_what_was_typed_and_the_form_is_sent_once(page, alice_with_totp, form, sent):
    phone = alice_with_totp.phones[0]
    form.ask_for("somewhere-else@example.com")
    proof = Proof(page)
    expect(proof.dialog).to_have_accessible_name("Confirm that it is you")
    expect(proof.dialog).to_contain_text("This is needed to change your address.")
    expect(proof.code_field).to_be_focused()
    assert proof.barriers() == []
    proof.answer(phone.wrong_code())
    expect(proof.alert).to_contain_text(["That code is not right."])
    assert len(sent) == 1
    proof.answer(phone.code())
    expect(form.waiting).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(sent) == 2
    assert all("somewhere-else%40example.com" in body for body in sent)


def test_whoever_does_not_want_to_prove_anything_has_their_form_back(page, alice_with_totp, form, sent):
    form.ask_for("somewhere-else@example.com")
    proof = Proof(page)
    proof.cancel()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_label("New email address")).to_have_value("somewhere-else@example.com")
    expect(page.get_by_role("button", name="Send two mails")).to_be_focused()
    form.ask_for("elsewhere@example.com")
    proof = Proof(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    form.ask_for("elsewhere@example.com")
    Proof(page).answer(alice_with_totp.phones[0].code())
    expect(form.waiting).to_contain_text("elsewhere@example.com")
    assert len(sent) == 4


def test_a_dialog_closed_while_the_proof_is_under_way_sends_nothing_and_says_so(page, alice_with_totp, form, sent):
    form.ask_for("somewhere-else@example.com")
    proof, held = Proof(page), []
    page.route("**/mfa/challenge", lambda route: held.append(route))
    with page.expect_request("**/mfa/challenge"):
        proof.answer(alice_with_totp.phones[0].code())
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    held[0].continue_()
    expect(form.notice).to_contain_text("Your form was not sent")
    expect(page.get_by_label("New email address")).to_have_value("somewhere-else@example.com")
    assert len(sent) == 1
    form.ask_for("somewhere-else@example.com")
    expect(form.waiting).to_be_visible()


def test_a_proof_in_another_tab_will_do(page, alice_with_totp, form, sent):
    form.ask_for("somewhere-else@example.com")
    proof = Proof(page)
    other = page.context.new_page()
    other.goto("/mfa/challenge?action=address")
    Challenge(other).answer(alice_with_totp.phones[0].code())
    Account(other)
    proof.answer("123456")
    expect(form.waiting).to_contain_text("somewhere-else@example.com")
    assert len(sent) == 2


def test_after_the_last_recovery_code_the_form_stays_while_a_new_sheet_is_made(page, alice_with_totp, form, sent):
    alice = alice_with_totp
    last = has_one_code(alice, alice.signs_in())
    form.ask_for("somewhere-else@example.com")
    Proof(page).use_recovery_code(last)
    expect(form.notice).to_contain_text("That was your last recovery code.")
    assert form.barriers() == []
    with page.context.expect_page() as opened:
        form.notice.get_by_role("link", name="Make new ones (in a new tab)").click()
    RecoveryCodes(opened.value).show_codes("Make new codes")
    form.ask_for("somewhere-else@example.com")
    expect(form.waiting).to_contain_text("somewhere-else@example.com")
    assert len(sent) == 3


def test_whoever_has_no_password_finds_the_mail_in_the_dialog(page, alice, comes_in):
    form = ChangeAddress.open(comes_in(page, alice))
    alice.ages_proofs(400)
    form.ask_for("somewhere-else@example.com")
    with page.context.expect_page() as opened:
        Proof(page).dialog.get_by_role("link", name="Sign in by mail (in a new tab)").click()
    other = opened.value
    AskForMail(other, "Sign in by mail").ask(alice.email)
    other.goto(link_to(alice.email, "/auth/confirm"))
    Confirm(other).confirm()
    Account(other)
    Proof(page).cancel()
    form.ask_for("somewhere-else@example.com")
    expect(form.notice).to_contain_text("Nothing is lost")
    form.ask_for("somewhere-else@example.com")
    expect(form.waiting).to_contain_text("somewhere-else@example.com")


def test_with_the_keyboard_alone(page, alice_with_totp, form):
    page.get_by_label("New email address").focus()
    form.press("@example.com", "Enter")
    proof = Proof(page)
    expect(proof.code_field).to_be_focused()
    proof.press(alice_with_totp.phones[0].code(), "Enter")
    expect(form.waiting).to_contain_text("somewhere-else@example.com")


def test_a_passkey_is_a_proof_in_the_dialog_too(page, alice, comes_in):
    device = PasskeyDevice(page)
    page.goto("/login")
    comes_in(page, alice)
    page.goto("/settings/security/passkeys")
    page.get_by_role("button", name="Add a passkey on this device").click()
    expect(page.get_by_text("was added")).to_be_visible()
    form = ChangeAddress.open(page)
    alice.ages_proofs(400)
    device.waits()
    form.ask_for("elsewhere@example.com")
    proof = Proof(page)
    expect(proof.passkey_button).to_be_focused()
    device.touches()
    proof.passkey_button.click()
    expect(form.waiting).to_contain_text("elsewhere@example.com")


def test_signed_out_meanwhile_a_note_is_not_lost(page, alice_with_totp, comes_in):
    alice = alice_with_totp
    alice.forgets_used_codes()
    page.goto("/login")
    comes_in(page, alice).goto("/account")
    account = Account(page)
    account.note_field.fill("written for a whole evening")
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    alice.forgets_used_codes()
    account.add_note("written for a whole evening")
    proof = Proof(page)
    expect(proof.dialog).to_have_accessible_name("Sign in again")
    assert proof.barriers() == []
    proof.dialog.get_by_label("Email").fill(alice.email)
    proof.sign_in(alice.password)
    expect(proof.code_field).to_be_visible()
    proof.answer(alice.phones[0].code())
    expect(account.notes).to_have_count(1)
    expect(account.notes).to_contain_text("written for a whole evening")


def test_somebody_else_who_signs_in_does_not_send_what_was_typed(page, alice, new_person, comes_in):
    bob = new_person("bob")
    page.goto("/login")
    comes_in(page, alice).goto("/account")
    account = Account(page)
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    account.add_note("of alice")
    proof = Proof(page)
    proof.dialog.get_by_label("Email").fill(bob.email)
    proof.sign_in(bob.password)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(account.notes).to_have_count(0)
    assert not bob.database.execute("select from public.notes where user_id = %s", [bob.id]).fetchall()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_form_from_before_another_tab_signed_in_is_sent_again(open_browser, alice, comes_in, javascript):
    page = open_browser(java_script_enabled=javascript)
    page.goto("/login")
    comes_in(page, alice).goto("/account")
    account = Account(page)
    account.note_field.fill("typed before")
    comes_in(page, alice)
    page.context.clear_cookies(name="session")
    account.add_note("typed before")
    if javascript:
        expect(account.notice).to_contain_text("Nothing is lost")
        page.get_by_role("button", name="Add note").click()
    else:
        expect(page.get_by_role("heading", level=1)).to_have_text("Send it again?")
        page.get_by_role("button", name="Send it").click()
    expect(account.notes).to_contain_text(["typed before"])


def test_without_javascript_the_page_that_asks_carries_the_form_along(open_browser, alice_with_totp, comes_in):
    alice = alice_with_totp
    alice.forgets_used_codes()
    page = open_browser(java_script_enabled=False)
    form = ChangeAddress.open(comes_in(page, alice))
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    form.ask_for("elsewhere@example.com")
    Challenge(page).answer(alice.phones[0].code())
    expect(page.get_by_role("heading", level=1)).to_have_text("One more click")
    expect(page.get_by_role("definition")).to_have_text("elsewhere@example.com")
    page.get_by_role("button", name="Send it").click()
    expect(form.waiting).to_contain_text("elsewhere@example.com")


def test_fields_of_the_dialog_have_their_own_names_where_the_page_has_the_same(page, alice_with_totp, comes_in):
    alice = alice_with_totp
    alice.forgets_used_codes()
    sheet = RecoveryCodes.open(comes_in(page, alice)).show_codes()
    code = sheet.codes[3]
    alice.ages_proofs(400)
    alice.forgets_used_codes()
    sheet.confirm(code)
    proof = Proof(page)
    page.get_by_text("Use a recovery code").click()
    proof.dialog.get_by_text("Recovery code", exact=True).click()
    expect(proof.recovery_code_field).to_be_focused()
    assert proof.barriers() == []
    proof.answer(alice.phones[0].code())
    expect(page.get_by_text("Confirmed: you have your recovery codes")).to_be_visible()

    form = ChangeAddress.open(page)
    alice.database.execute("delete from auth.sessions where user_id = %s", [alice.id])
    form.ask_for("elsewhere@example.com")
    proof = Proof(page)
    proof.dialog.get_by_text("Email", exact=True).click()
    expect(proof.dialog.get_by_label("Email")).to_be_focused()
    assert proof.barriers() == []
