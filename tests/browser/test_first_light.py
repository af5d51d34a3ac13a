"""The opening journey, as a person makes it: from a stranger to a note that only their second factor opens."""

import os
from uuid import uuid4

import httpx
import pyotp
import pytest
from playwright.sync_api import expect

from tests.browser.pages import (
    Account,
    Challenge,
    CheckMail,
    ConnectApp,
    Home,
    RecoveryCodes,
    Security,
)

pytestmark = pytest.mark.browser

DESKTOP, MOBILE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.mark.parametrize("viewport", [DESKTOP, MOBILE], ids=["desktop", "mobile"])
@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_from_sign_up_to_a_note_that_only_aal2_can_read(open_browser, javascript, viewport):
    def look_at(screen):
        if javascript:  # axe is a script itself; test_forms.py has it look at plain pages
            assert screen.barriers() == []
        return screen

    page = open_browser(java_script_enabled=javascript, viewport=viewport)
    email, password = f"new-{uuid4().hex[:12]}@example.com", f"correct horse {uuid4().hex[:8]}"

    home = look_at(Home.open(page))
    sign_up = look_at(home.sign_up())
    sign_up.create(email, password)
    check_mail = look_at(CheckMail(page))
    mailbox = look_at(check_mail.open_mailbox())
    mail = look_at(mailbox.open_mail_to(email))
    confirm = look_at(mail.follow_link())
    confirm.confirm()
    account = look_at(Account(confirm.page))

    security = look_at(account.to_security())
    name_app = look_at(security.set_up_app())
    name_app.name("Phone")
    connect = look_at(ConnectApp(name_app.page))
    phone = connect.phone()
    shown = pyotp.parse_uri(connect.link.get_attribute("href"))
    assert (shown.secret, shown.name, shown.issuer) == (phone.secret, email, "Stepup")
    connect.finish(phone.code())
    sheet = look_at(look_at(RecoveryCodes(connect.page)).show_codes())
    codes = sheet.codes
    if javascript:
        assert codes[0] in sheet.downloaded()[1]
    sheet.confirm(codes[0])
    security = look_at(Security(connect.page))
    expect(security.apps).to_contain_text(["Phone"])

    account = security.to_notes()
    account.add_note("The spare key is under the third pot.")
    expect(account.notes).to_contain_text(["The spare key is under the third pot."])
    sign_out = look_at(look_at(account).to_sign_out())
    sign_in = look_at(sign_out.sign_out())

    sign_in.sign_in(email, password)
    challenge = look_at(Challenge(sign_in.page))
    assert _notes_read_past_the_app(email, password) == []
    challenge.answer(phone.code())
    account = Account(challenge.page)
    expect(account.notes).to_contain_text(["The spare key is under the third pot."])


def _notes_read_past_the_app(email: str, password: str) -> list[object]:
    """What the data API gives to whoever has the password and the publishable key, which everybody has."""
    supabase, key = os.environ["SUPABASE_URL"], os.environ["SUPABASE_PUBLISHABLE_KEY"]
    signed_in = httpx.post(
        f"{supabase}/auth/v1/token?grant_type=password",
        headers={"apikey": key},
        json={"email": email, "password": password},
    ).raise_for_status()
    headers = {"apikey": key, "Authorization": f"Bearer {signed_in.json()['access_token']}"}
    notes = httpx.get(f"{supabase}/rest/v1/notes?select=body", headers=headers)
    return notes.raise_for_status().json()
