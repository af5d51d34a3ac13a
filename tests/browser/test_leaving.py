"""Taking everything along, and leaving, in a browser."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Challenge, DeleteAccount, ExportData, Home, Proof, Security

pytestmark = pytest.mark.browser


@pytest.fixture
def alices_page(page, alice_with_totp, comes_in):
    page.set_viewport_size({"width": 360, "height": 740})
    alice_with_totp.forgets_used_codes()
    page.goto("/login")
    comes_in(page, alice_with_totp)
    alice_with_totp.forgets_used_codes()
    page.goto("/settings/security")
    return page


def test_the_download_is_a_file_and_the_page_stays(alices_page, alice_with_totp):
    export = Security(alices_page).to_export()
    assert export.barriers() == []
    file = json.loads(export.downloaded().read_text())
    assert file["account"]["email"] == alice_with_totp.email
    ExportData(alices_page)
    alice_with_totp.ages_proofs(61)
    export.button.click()
    Challenge(alices_page).answer(alice_with_totp.phones[0].code())
    assert json.loads(ExportData(alices_page).downloaded().read_text()) != file  # a session was used since


def test_an_account_is_deleted_after_a_proof_in_the_dialog(alices_page, alice_with_totp):
    delete = Security(alices_page).to_delete()
    assert delete.barriers() == []
    delete.confirm("bob@example.com")
    expect(delete.alert).to_have_text(f"That is not the email address of your account, {alice_with_totp.email}.")
    expect(delete.address_field).to_be_focused()
    assert delete.barriers() == []
    alice_with_totp.ages_proofs(61)
    delete.confirm(alice_with_totp.email)
    proof = Proof(alices_page)
    expect(proof.dialog).to_contain_text("This is needed to delete your account.")
    assert proof.barriers() == []
    proof.answer(alice_with_totp.phones[0].code())
    home = Home(alices_page)
    expect(alices_page.get_by_role("status")).to_have_text("Your account is deleted, with everything in it.")
    assert home.barriers() == []
    assert alice_with_totp.database.execute("select from auth.users where id = %s", [alice_with_totp.id]).rowcount == 0


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_leaving_takes_no_mouse(open_browser, alice_with_totp, comes_in, javascript):
    page = open_browser(java_script_enabled=javascript)
    alice_with_totp.forgets_used_codes()
    delete = DeleteAccount.open(comes_in(page, alice_with_totp))
    delete.reach(delete.address_field)
    delete.press(alice_with_totp.email, "Tab", "Enter")
    Home(page)
    expect(page.get_by_role("status")).to_have_text("Your account is deleted, with everything in it.")
