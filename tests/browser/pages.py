"""The pages as a person sees them: what can be read, what can be done, and which page comes next."""

from dataclasses import dataclass
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.people import Phone

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE = Axe().axe_script


@dataclass(frozen=True)
class Site:
    url: str
    mailbox_url: str


class Screen:
    """A page; being made waits until its heading and its scripts are there."""

    HEADING: str | None = None

    def __init__(self, page: Page, heading: str | None = None) -> None:
        self.page = page
        if heading := heading or self.HEADING:
            expect(self.heading).to_have_text(heading)
        self.page.wait_for_load_state()  # and the scripts: what is clicked before them goes its way without them

    @property
    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1)

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("main").get_by_role("alert")

    @property
    def notice(self) -> Locator:
        """Where refusals are said that are not about a field."""
        return self.page.locator("#notice")

    def barriers(self) -> list[str]:
        """What axe finds against WCAG 2.2 AA and good practice, and whether one has to scroll sideways."""
        self.page.wait_for_load_state()  # without its style sheet, everything is too small
        self.page.evaluate(AXE)
        found = _violations(self.page, WCAG)
        self.page.emulate_media(color_scheme="dark")
        found += [f"in the dark, {violation}" for violation in _violations(self.page, ["cat.color"])]
        self.page.emulate_media(color_scheme="light")
        width, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        return found + ([f"{width} px wide in a window of {window}"] if width > window else [])

    def to_sign_out(self) -> "SignOut":
        self._menu("Sign out").click()
        return SignOut(self.page)

    def reach(self, target: Locator) -> None:
        """Go on with the Tab key until `target` has the focus."""
        expect(target).to_be_visible()
        for _ in range(20):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {target}")

    def press(self, *keys: str) -> None:
        """Type with the keyboard alone; the names of keys as in Playwright, and text as it is."""
        for key in keys:
            if key in ("Tab", "Shift+Tab", "Enter", "Space"):
                self.page.keyboard.press(key)
            else:
                self.page.keyboard.type(key)

    def _button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def _link(self, name: str) -> Locator:
        return self.page.get_by_role("main").get_by_role("link", name=name, exact=True)

    def _menu(self, name: str) -> Locator:
        return self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True)


class Home(Screen):
    HEADING = "Your notes, behind a second factor"

    @staticmethod
    def open(page: Page) -> "Home":
        page.goto("/")
        return Home(page)

    def sign_up(self) -> "SignUp":
        self._link("Create an account").click()
        return SignUp(self.page)


class SignUp(Screen):
    HEADING = "Create an account"

    def create(self, email: str, password: str) -> None:
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(password)
        self._button("Create account").click()


class CheckMail(Screen):
    HEADING = "Check your mail"

    def open_mailbox(self) -> "Mailbox":
        self._link("Read it in the mailbox").click()
        return Mailbox(self.page)


class Mailbox(Screen):
    HEADING = "Mailbox"

    def open_mail_to(self, email: str) -> "Mail":
        """Open the newest one."""
        self.page.get_by_role("listitem").filter(has_text=email).get_by_role("link").first.click()
        return Mail(self.page)


class Mail(Screen):
    def follow_link(self) -> "Confirm":
        with self.page.expect_popup() as tab:
            self.page.frame_locator("iframe").get_by_role("link").click()
        return Confirm(tab.value)


class Confirm(Screen):
    HEADING = "Confirm that this is your address"

    def confirm(self) -> None:
        self._button("Confirm and go on").click()


class Account(Screen):
    HEADING = "Your notes"

    @property
    def notes(self) -> Locator:
        return self.page.get_by_role("main").get_by_role("listitem")

    @property
    def note_field(self) -> Locator:
        return self.page.get_by_label("New note")

    def add_note(self, body: str) -> None:
        self.note_field.fill(body)
        self._button("Add note").click()

    def to_security(self) -> "Security":
        self._menu("Security").click()
        return Security(self.page)


class Security(Screen):
    HEADING = "Security"

    @property
    def apps(self) -> Locator:
        return self.page.get_by_role("region", name="Authenticator apps").get_by_role("listitem")

    @property
    def passkeys(self) -> Locator:
        return self.page.get_by_role("region", name="Passkeys").get_by_role("listitem")

    def to_passkeys(self) -> "Passkeys":
        self.page.get_by_role("region", name="Passkeys").get_by_role("link", name="Add").click()
        return Passkeys(self.page)

    def change_password(self) -> "NewPassword":
        self._link("Change your password").click()
        return NewPassword(self.page)

    def change_address(self) -> "ChangeAddress":
        self._link("Change your address").click()
        return ChangeAddress(self.page)

    def remove_app(self, name: str) -> "Security":
        self._link(f"Remove {name}").click()
        self._button("Remove").click()
        return Security(self.page)

    def to_export(self) -> "ExportData":
        self._link("Download your data").click()
        return ExportData(self.page)

    def to_delete(self) -> "DeleteAccount":
        self._link("Delete your account").click()
        return DeleteAccount(self.page)

    def set_up_app(self) -> "NameApp":
        self._link("Set up an authenticator app").click()
        return NameApp(self.page)

    def to_notes(self) -> Account:
        self._menu("Notes").click()
        return Account(self.page)


class Billing(Screen):
    HEADING = "Billing"

    @staticmethod
    def open(page: Page) -> "Billing":
        page.goto("/settings/billing")
        return Billing(page)

    @property
    def saved(self) -> Locator:
        return self.page.get_by_text("Your billing details are saved.")

    @property
    def save_button(self) -> Locator:
        return self._button("Save")

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def plan(self, name: str) -> Locator:
        return self.page.get_by_role("radio", name=name)

    def fill(self, address: dict[str, str], plan: str = "Personal") -> None:
        self.plan(plan).check()
        for label, text in address.items():
            self.field(label).fill(text)

    def save(self) -> None:
        self.save_button.click()


class ExportData(Screen):
    HEADING = "Download your data"

    @property
    def button(self) -> Locator:
        return self._button("Download")

    def downloaded(self) -> Path:
        with self.page.expect_download() as download:
            self.button.click()
        return download.value.path()


class DeleteAccount(Screen):
    HEADING = "Delete your account"

    @staticmethod
    def open(page: Page) -> "DeleteAccount":
        page.goto("/account/delete")
        return DeleteAccount(page)

    @property
    def address_field(self) -> Locator:
        return self.page.get_by_label("Type your email address to confirm")

    def confirm(self, address: str) -> None:
        self.address_field.fill(address)
        self._button("Delete my account").click()


class Passkeys(Screen):
    HEADING = "Passkeys"

    @staticmethod
    def open(page: Page) -> "Passkeys":
        page.goto("/settings/security/passkeys")
        return Passkeys(page)

    @property
    def cards(self) -> Locator:
        return self.page.get_by_role("main").get_by_role("listitem")

    @property
    def add_button(self) -> Locator:
        return self._button("Add a passkey on this device")

    @property
    def key_button(self) -> Locator:
        return self._button("Security key or another device")

    @property
    def said(self) -> Locator:
        """What is said beside the buttons."""
        return self.page.get_by_role("region", name="Add").get_by_role("status").filter(has_text=".")

    @property
    def shared_device_warning(self) -> Locator:
        return self.page.get_by_text("a device that others use too")

    def add(self) -> None:
        """Add a passkey on this device."""
        before = self.cards.count()
        self.add_button.click()
        if before == 0:  # the first factor of all leads to recovery codes
            expect(self.page.get_by_text("was added")).to_be_visible()
            if self.heading.inner_text() == RecoveryCodes.HEADING:
                Passkeys.open(self.page)
        expect(self.cards).to_have_count(before + 1)

    def change(self, name: str) -> "Passkey":
        self._link(f"Change {name}").click()
        return Passkey(self.page, f"Change “{name}”")


class Passkey(Screen):
    @property
    def name_field(self) -> Locator:
        return self.page.get_by_label("Name")

    def rename(self, name: str) -> None:
        self.name_field.fill(name)
        self._button("Save the name").click()

    def remove(self) -> Passkeys:
        self._button("Remove the passkey").click()
        return Passkeys(self.page)


class NewPassword(Screen):
    HEADING = "Choose a new password"

    def choose(self, password: str) -> None:
        self.page.get_by_label("New password").fill(password)
        self._button("Set the password").click()


class ChangeAddress(Screen):
    HEADING = "Change your address"

    @staticmethod
    def open(page: Page) -> "ChangeAddress":
        page.goto("/account/change-email")
        return ChangeAddress(page)

    @property
    def waiting(self) -> Locator:
        return self.page.get_by_role("region", name="Waiting for both mailboxes")

    def ask_for(self, email: str) -> None:
        self.page.get_by_label("New email address").fill(email)
        self._button("Send two mails").click()

    def cancel(self) -> None:
        self._button("Cancel the change").click()

    def open_mailbox(self) -> Mailbox:
        self._link("Read them in the mailbox").click()
        return Mailbox(self.page)


class NameApp(Screen):
    HEADING = "Set up an authenticator app"

    @staticmethod
    def open(page: Page) -> "NameApp":
        page.goto("/settings/security/totp")
        return NameApp(page)

    def name(self, name: str) -> None:
        self.page.get_by_label("Name of the app").fill(name)
        self._button("Go on").click()


class ConnectApp(Screen):
    HEADING = "Connect “Phone”"

    @property
    def secret(self) -> str:
        return self.page.locator("#secret").inner_text().replace(" ", "")

    def phone(self) -> Phone:
        """A phone that has typed in the secret."""
        return Phone(self.secret)

    @property
    def link(self) -> Locator:
        return self._link("Open it in your authenticator app")

    @property
    def qr_code(self) -> Locator:
        return self.page.get_by_role("img", name="QR code")

    @property
    def copy_button(self) -> Locator:
        return self._button("Copy the secret")

    @property
    def code_field(self) -> Locator:
        return self.page.get_by_label("6-digit code")

    def finish(self, code: str) -> None:
        self.code_field.fill(code)
        self._button("Finish").click()


class RecoveryCodes(Screen):
    HEADING = "Recovery codes"

    @staticmethod
    def open(page: Page) -> "RecoveryCodes":
        page.goto("/settings/security/recovery-codes")
        return RecoveryCodes(page)

    def show_codes(self, button: str = "Show my codes") -> "Sheet":
        self._button(button).click()
        return Sheet(self.page)


class Sheet(Screen):
    HEADING = "Your recovery codes"

    @property
    def codes(self) -> list[str]:
        return self.page.locator("#codes").inner_text().split()

    @property
    def paper(self) -> Locator:
        """What is printed."""
        return self.page.get_by_role("region", name="Your recovery codes")

    @property
    def copy_button(self) -> Locator:
        return self._button("Copy the codes")

    def downloaded(self) -> tuple[str, str]:
        """The name of the file, and what it holds."""
        with self.page.expect_download() as download:
            self._button("Download as text").click()
        return download.value.suggested_filename, download.value.path().read_text()

    def confirm(self, code: str) -> None:
        self.page.get_by_label("One of your codes").fill(code)
        self._button("Confirm").click()


class Accounts(Screen):
    """What administrators see of others."""

    HEADING = "Accounts"

    @staticmethod
    def open(page: Page) -> "Accounts":
        page.goto("/admin")
        return Accounts(page)

    @property
    def part_field(self) -> Locator:
        return self.page.get_by_label("Address, or a part of it")

    @property
    def found(self) -> Locator:
        return self.page.get_by_role("region", name="Found").get_by_role("link")

    def search(self, part: str) -> None:
        self.part_field.fill(part)
        self._button("Search").click()

    def look_at(self, email: str) -> "SomebodysAccount":
        self._link(email).click()
        return SomebodysAccount(self.page, email)


class SomebodysAccount(Screen):
    @property
    def reason_field(self) -> Locator:
        return self.page.get_by_label("Reason")

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("region", name="What happened").get_by_role("listitem")

    @property
    def do_button(self) -> Locator:
        return self._button("Do it")

    def deed(self, words: str) -> Locator:
        return self.page.get_by_role("radio", name=words)


class SignOut(Screen):
    HEADING = "Sign out of this browser?"

    def sign_out(self) -> "SignIn":
        self._button("Sign out").click()
        return SignIn(self.page)


class SignIn(Screen):
    HEADING = "Sign in"

    @staticmethod
    def open(page: Page) -> "SignIn":
        page.goto("/login")
        return SignIn(page)

    @property
    def email_field(self) -> Locator:
        return self.page.get_by_label("Email")

    @property
    def password_field(self) -> Locator:
        return self.page.get_by_label("Password")

    @property
    def submit_button(self) -> Locator:
        return self._button("Sign in")

    @property
    def passkey_button(self) -> Locator:
        return self._button("Sign in with a passkey")

    @property
    def said(self) -> Locator:
        """What is said beside the button for passkeys."""
        return self.page.locator("#passkey-form").get_by_role("status")

    def forgot_password(self) -> "AskForMail":
        self._link("Forgot your password?").click()
        return AskForMail(self.page, "Forgot your password?")

    def by_mail(self) -> "AskForMail":
        self._link("Sign in by mail").click()
        return AskForMail(self.page, "Sign in by mail")

    def sign_in(self, email: str, password: str) -> None:
        self.email_field.fill(email)
        self.password_field.fill(password)
        self.submit_button.click()


class AskForMail(Screen):
    def ask(self, email: str) -> CheckMail:
        self.page.get_by_label("Email").fill(email)
        self._button("Send the link").click()
        return CheckMail(self.page)


class Challenge(Screen):
    HEADING = "Confirm that it is you"

    @property
    def recovery_code_field(self) -> Locator:
        return self.page.get_by_label("Recovery code", exact=True)

    def use_recovery_code(self, code: str) -> None:
        if not self.recovery_code_field.is_visible():
            self.page.get_by_text("Use a recovery code").click()
        self.recovery_code_field.fill(code)
        self._button("Use this code").click()

    @property
    def passkey_button(self) -> Locator:
        return self._button("Use a passkey")

    @property
    def said(self) -> Locator:
        """What is said beside the button for passkeys."""
        return self.page.locator("#passkey-form").get_by_role("status")

    @property
    def code_field(self) -> Locator:
        return self.page.get_by_label("6-digit code")

    @property
    def submit_button(self) -> Locator:
        return self._button("Verify")

    def answer(self, code: str) -> None:
        self.code_field.fill(code)
        self.submit_button.click()


class Proof(Challenge):
    """The dialog that asks for a proof over a page, which keeps its own heading."""

    HEADING = None

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        expect(self.dialog).to_be_visible()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def alert(self) -> Locator:
        return self.dialog.get_by_role("alert")

    @property
    def password_field(self) -> Locator:
        return self.dialog.get_by_label("Password")

    def sign_in(self, password: str) -> None:
        self.password_field.fill(password)
        self.dialog.get_by_role("button", name="Sign in", exact=True).click()

    def cancel(self) -> None:
        self._button("Not now").click()


def _violations(page: Page, tags: list[str]) -> list[str]:
    found = page.evaluate("tags => axe.run({runOnly: tags, resultTypes: ['violations']})", tags)["violations"]
    return [f"{violation['id']}: {node['html']}" for violation in found for node in violation["nodes"]]
