"""What people see when a form is refused, sent twice, or not answered at all."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Account, Challenge, ConnectApp, NameApp, Screen, SignIn, SignUp

pytestmark = pytest.mark.browser

MOBILE = {"width": 360, "height": 740}
NO_ANSWER = "No answer came back."


@pytest.fixture(params=["htmx", "plain"])
def page(open_browser, request):
    """A phone; "plain" is one that the scripts never reach (axe could not look at one without scripts)."""
    page = open_browser(viewport=MOBILE)
    if request.param == "plain":
        page.context.route("**/*.js", lambda route: route.abort())
    return page


def test_every_refusal_is_said_where_it_helps_and_nothing_is_in_the_way(page, alice_with_totp):
    alice, phone = alice_with_totp, alice_with_totp.phones[0]
    page.goto("/signup")
    sign_up = SignUp(page)
    sign_up.create("nonsense", "short")
    expect(sign_up.alert).to_have_count(2)
    expect(page.get_by_label("Email")).to_be_focused()
    expect(page.get_by_label("Email")).to_have_accessible_description("Enter an email address, like name@example.com.")
    assert sign_up.barriers() == []

    sign_in = SignIn.open(page)
    sign_in.submit_button.click()
    expect(sign_in.alert).to_have_text(["Enter your email address.", "Enter your password."])
    expect(sign_in.email_field).to_be_focused()
    assert sign_in.barriers() == []
    sign_in.sign_in(alice.email, "not the password")
    expect(sign_in.alert).to_have_text(["Email or password is incorrect."])
    expect(sign_in.alert).to_be_focused()
    expect(sign_in.email_field).to_have_value(alice.email)
    assert sign_in.barriers() == []

    sign_in.sign_in(alice.email, alice.password)
    challenge = Challenge(page)
    challenge.submit_button.click()
    expect(challenge.alert).to_have_text("Enter the code.")
    challenge.answer(phone.wrong_code())
    expect(challenge.alert).to_contain_text(["That code is not right."])
    expect(challenge.code_field).to_be_focused()
    expect(challenge.code_field).to_have_value("")
    expect(challenge.code_field).to_have_accessible_description(challenge.alert.inner_text())
    assert challenge.barriers() == []

    alice.forgets_used_codes()
    challenge.answer(phone.code())
    account = Account(page)
    account.add_note("  ")
    expect(account.alert).to_have_text("Write something first.")
    expect(account.note_field).to_be_focused()
    assert account.barriers() == []

    name_app = NameApp.open(page)
    name_app.name("")
    expect(name_app.alert).to_have_text("Give the app a name.")
    assert name_app.barriers() == []
    name_app.name("Tablet")
    connect = ConnectApp(page, "Connect “Tablet”")
    connect.finish("000 000")
    expect(connect.alert).to_contain_text("That code is not right.")
    expect(connect.code_field).to_be_focused()
    expect(connect.link).to_be_visible()
    assert connect.barriers() == []


def test_error_pages_have_no_barriers_and_a_way_on(page):
    page.goto("/nowhere")
    error = Screen(page)
    expect(error.alert).to_have_text("There is no page at this address.")
    expect(page.get_by_role("link", name="To the start page")).to_be_visible()
    assert error.barriers() == []


def test_a_code_field_asks_for_the_right_keyboard_and_the_code_from_the_phone(page, alice_with_totp):
    SignIn.open(page).sign_in(alice_with_totp.email, alice_with_totp.password)
    field = Challenge(page).code_field
    expect(field).to_have_attribute("autocomplete", "one-time-code")
    expect(field).to_have_attribute("inputmode", "numeric")
    expect(field).to_be_focused()


def test_a_double_click_sends_a_form_once(open_browser, alice_with_totp):
    page, phone = open_browser(), alice_with_totp.phones[0]
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    sign_in = SignIn.open(page)
    sign_in.email_field.fill(alice_with_totp.email)
    sign_in.password_field.fill(alice_with_totp.password)
    sign_in.submit_button.dblclick()
    challenge = Challenge(page)
    challenge.code_field.fill(phone.code())
    challenge.submit_button.dblclick()
    account = Account(page)
    account.note_field.fill("Only once")
    page.get_by_role("button", name="Add note").dblclick()
    expect(account.notes).to_have_count(1)
    # Beside the three forms, pages have asked on their own what a passkey would have to answer.
    assert len([url for url in sent if not url.endswith("/options")]) == 3


def test_without_a_connection_a_sentence_says_so_and_what_was_typed_stays(open_browser, alice):
    page = open_browser()
    sign_in = SignIn.open(page)
    page.context.set_offline(True)
    sign_in.sign_in(alice.email, alice.password)
    expect(sign_in.notice).to_contain_text(NO_ANSWER)
    expect(sign_in.notice.locator("p")).to_be_focused()
    expect(sign_in.password_field).to_have_value(alice.password)
    assert sign_in.barriers() == []
    page.context.set_offline(False)
    sign_in.submit_button.click()
    Account(page)


def test_an_answer_that_takes_too_long_reads_the_same(open_browser, alice):
    page = open_browser()
    page.clock.install()
    sign_in = SignIn.open(page)
    page.route("**/login", lambda route: None)
    with page.expect_request("**/login"):
        sign_in.sign_in(alice.email, alice.password)
    page.clock.run_for(15_001)
    expect(sign_in.notice).to_contain_text(NO_ANSWER)


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxys_error_page_does_not_take_the_place_of_a_form(open_browser, alice, status):
    page = open_browser()
    sign_in = SignIn.open(page)
    page.route("**/login", lambda route: route.fulfill(status=status, body="<h1>Bad gateway</h1>"))
    sign_in.sign_in(alice.email, "not the password")
    expect(sign_in.notice).to_contain_text(NO_ANSWER)
    page.unroute("**/login")
    sign_in.submit_button.click()
    expect(sign_in.alert).to_have_text("Email or password is incorrect.")
    expect(sign_in.notice).to_be_empty()


def test_the_secret_can_be_copied(open_browser, site, alice):
    page = open_browser()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    SignIn.open(page).sign_in(alice.email, alice.password)
    Account(page)
    NameApp.open(page).name("Phone")
    connect = ConnectApp(page)
    connect.copy_button.click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == connect.secret
