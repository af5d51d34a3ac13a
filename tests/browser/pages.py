"""The pages as a person sees them: what can be read, what can be done, and which page comes next."""

from dataclasses import dataclass

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
    """A page; being made waits until its heading is there."""

    HEADING: str | None = None

    def __init__(self, page: Page, heading: str | None = None) -> None:
        self.page = page
        if heading := heading or self.HEADING:
            expect(self.heading).to_have_text(heading)

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
        self.page.get_by_role("listitem").filter(has_text=email).get_by_role("link").click()
        return Mail(self.page)


class Mail(Screen):
    HEADING = "Confirm your e-mail address"

    def follow_link(self) -> "Confirm":
        with self.page.expect_popup() as tab:
            self.page.frame_locator("iframe").get_by_role("link").click()
        return Confirm(tab.value)


class Confirm(Screen):
    HEADING = "Confirm that this is your address"

    def confirm(self) -> "Account":
        self._button("Confirm and go on").click()
        return Account(self.page)


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

    def to_sign_out(self) -> "SignOut":
        self._menu("Sign out").click()
        return SignOut(self.page)


class Security(Screen):
    HEADING = "Security"

    @property
    def apps(self) -> Locator:
        return self.page.get_by_role("region", name="Authenticator apps").get_by_role("listitem")

    def set_up_app(self) -> "NameApp":
        self._link("Set up an authenticator app").click()
        return NameApp(self.page)

    def to_notes(self) -> Account:
        self._menu("Notes").click()
        return Account(self.page)

    def to_sign_out(self) -> "SignOut":
        self._menu("Sign out").click()
        return SignOut(self.page)


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

    def sign_in(self, email: str, password: str) -> None:
        self.email_field.fill(email)
        self.password_field.fill(password)
        self.submit_button.click()


class Challenge(Screen):
    HEADING = "Confirm that it is you"

    @property
    def code_field(self) -> Locator:
        return self.page.get_by_label("6-digit code")

    @property
    def submit_button(self) -> Locator:
        return self._button("Verify")

    def answer(self, code: str) -> None:
        self.code_field.fill(code)
        self.submit_button.click()


def _violations(page: Page, tags: list[str]) -> list[str]:
    found = page.evaluate("tags => axe.run({runOnly: tags, resultTypes: ['violations']})", tags)["violations"]
    return [f"{violation['id']}: {node['html']}" for violation in found for node in violation["nodes"]]
