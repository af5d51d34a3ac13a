"""The app's own mails: they arrive, say what happened, hold nothing that acts, and never stand in the way."""

import socket
import ssl
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from app import Settings, create_app
from auth import notices
from auth.notices import Notices
from tests.ceremonies import before_request
from tests.mailbox import mails_to
from tests.people import form
from tests.stranger import Stranger
from tests.test_attacks import factors_of

# A name that leads to this machine everywhere, and that the app takes for another one's.
ELSEWHERE = "127.1"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def sent(app):
    """What the app sends with: the embedded stack takes it."""
    return app.extensions["stepup"].notices


def free_address():
    return f"notices-{time.time_ns()}@example.com"


def test_a_notice_says_what_and_when_and_where_to_look(sent):
    email = free_address()
    sent.removed_last_factor(email, "Phone", NOON)
    (mail,) = mails_to(email)
    assert mail["subject"] == "Your last second factor was removed (Stepup)"
    assert "“Phone” was removed from your account on 22 November 2026 at 12:00 UTC" in mail["html"]
    assert mail["links"] == ["http://localhost:5000/settings/security"]


@pytest.mark.parametrize("last", [True, False])
def test_support_says_whether_it_was_the_last_one(sent, last):
    email = free_address()
    sent.withdrawn_by_support(email, "Phone", NOON, last=last)
    (mail,) = mails_to(email)
    assert "Our support has removed “Phone”" in mail["html"]
    assert ("It was your last second factor" in mail["html"]) is last


def test_the_mailbox_shows_what_is_in_a_mail_as_text(sent):
    email = free_address()
    sent.removed_last_factor(email, '<script>"x"</script> https://evil.test/"onclick=', NOON)
    (mail,) = mails_to(email)
    assert "<script>" not in mail["html"]
    assert '"onclick' not in mail["html"]


def test_whoever_is_robbed_of_a_grant_is_told_once_an_hour(alice_with_totp, database):
    """The mail goes to the owner, also when it is the thief who has entered the code."""
    stolen = robbed(alice_with_totp)
    assert "Somebody else who knows your password" in stolen
    (mail,) = mails_to(alice_with_totp.email)
    assert mail["subject"] == "Somebody knows your password (Stepup)"
    database.execute("delete from public.mfa_attempts where user_id = %s", [alice_with_totp.id])
    robbed(alice_with_totp)
    assert len(mails_to(alice_with_totp.email)) == 1
    database.execute(
        "update public.security_events set at = at - interval '61 minutes' where user_id = %s", [alice_with_totp.id]
    )
    database.execute("delete from public.mfa_attempts where user_id = %s", [alice_with_totp.id])
    robbed(alice_with_totp)
    assert len(mails_to(alice_with_totp.email)) == 2
    events = database.execute(
        "select from public.security_events where user_id = %s and event = 'intercepted'", [alice_with_totp.id]
    )
    assert events.rowcount == 3


HOSTILE = "a\r\nBcc: mallory@example.com\r\n\r\n.\r\nMAIL FROM:<x>\r\n"


def test_a_name_cannot_write_headers_or_end_the_mail():
    with server() as taken:
        notices_to(taken.url).removed_last_factor("alice@example.com", HOSTILE, NOON)
    (envelope,) = taken.mails
    assert envelope.rcpt_tos == ["alice@example.com"]
    header, _, body = envelope.content.partition(b"\r\n\r\n")
    assert b"Bcc" not in header
    assert b"/settings/security" in body  # all of it is one mail


@pytest.mark.parametrize(
    "email",
    [
        "alice@example.com, mallory@example.com",
        "alice@example.com\r\nBcc: mallory@example.com",
        "alice@example.com\nmallory@example.com",
        "<mallory@example.com>",
        "alice@example.com> NOTIFY=SUCCESS",
        "",
        "@",
    ],
)
def test_an_address_that_is_more_than_one_is_not_written_to(email, caplog):
    with server() as taken:
        notices_to(taken.url).removed_last_factor(email, "Phone", NOON)
    assert taken.mails == []
    assert "a mail could not be sent" in caplog.text


def test_app_names_and_senders_with_line_breaks_write_no_headers(caplog):
    with server() as taken:
        notices_to(taken.url, app_name=HOSTILE).removed_last_factor("alice@example.com", "Phone", NOON)
    assert taken.mails == []


def test_the_password_of_the_mail_server_is_used_and_not_shown():
    with server(with_login=True, auth_require_tls=False) as taken:
        url = taken.url.replace("smtp://", "smtp://us%40er:p%2Fss@")
        told = notices_to(url)
        told.removed_last_factor("alice@example.com", "Phone", NOON)
    assert len(taken.mails) == 1
    assert taken.logins == [(b"us@er", b"p/ss")]
    assert "p%2Fss" not in repr(told)
    assert "p%2Fss" not in repr(Settings(mail_url=url))


@pytest.mark.parametrize("password", ["", "user:secret@"])
def test_nothing_leaves_this_machine_without_tls(password, caplog):
    """Somebody in between takes the offer of STARTTLS out of the answer."""
    with server(name=ELSEWHERE) as taken:
        notices_to(taken.url.replace("smtp://", f"smtp://{password}")).removed_last_factor("a@b.test", "Phone", NOON)
    assert taken.mails == taken.logins == []
    assert "SMTPNotSupportedError" in caplog.text


def test_a_server_with_a_certificate_of_its_own_making_is_not_believed(self_signed, caplog):
    with server(name=ELSEWHERE, tls_context=self_signed) as taken:
        notices_to(taken.url).removed_last_factor("a@b.test", "Phone", NOON)
    assert taken.mails == []
    assert "SSLCertVerificationError" in caplog.text


def test_with_tls_that_is_believed_it_goes(self_signed, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed.certificate))
    with server(name=ELSEWHERE, tls_context=self_signed, require_starttls=True) as taken:
        notices_to(taken.url).removed_last_factor("a@b.test", "Phone", NOON)
    assert len(taken.mails) == 1


def test_a_mail_server_that_is_away_stops_nothing_and_the_log_names_nobody(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"smtp://127.0.0.1:{taken.getsockname()[1]}"
    notices_to(url).removed_last_factor("alice@example.com", "Phone", NOON)
    assert "a mail could not be sent: ConnectionRefusedError" in caplog.text
    assert "alice" not in caplog.text


def test_a_mail_server_that_says_nothing_is_waited_for_for_three_seconds(caplog):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        notices_to(f"smtp://127.0.0.1:{mute.getsockname()[1]}").removed_last_factor("alice@example.com", "x", NOON)
    assert time.monotonic() - begun < 2 * notices.TIMEOUT_SECONDS
    assert "a mail could not be sent" in caplog.text


def test_a_mail_server_that_refuses_stops_nothing(caplog):
    with server(refuses=True) as taken:
        notices_to(taken.url).removed_last_factor("alice@example.com", "Phone", NOON)
    assert taken.mails == []
    assert "alice" not in caplog.text


def test_without_a_mail_server_none_is_sent_and_the_start_says_so(caplog):
    app = create_app(Settings(mail_url=""))
    assert "MAIL_URL is empty" in caplog.text
    app.extensions["stepup"].notices.removed_last_factor("alice@example.com", "Phone", NOON)
    app.extensions["stepup"].gateway.close()


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://:25", "smtp://a:0"])
def test_a_mail_url_that_is_none_stops_the_start(url):
    with pytest.raises(ValidationError, match="the name of a mail server"):
        Settings(mail_url=url)


@pytest.mark.parametrize("sender", ["nobody", "a@b.test, c@d.test", "a@b.test\r\nBcc: c@d.test", "Stepup <>", "<"])
def test_a_sender_that_is_not_one_address_stops_the_start(sender):
    with pytest.raises(ValidationError):
        Settings(mail_from=sender)


def test_who_a_mail_is_from():
    for settings, sender in (
        (Settings(public_url="https://stepup.test"), "no-reply@stepup.test"),
        (Settings(mail_from="Stepup <hello@stepup.test>"), "Stepup <hello@stepup.test>"),
    ):
        app = create_app(settings)
        assert app.extensions["stepup"].notices.sender == sender
        app.extensions["stepup"].gateway.close()


def robbed(person):
    """Enter a code while a stranger with the password takes the grant that was made for it."""
    person.forgets_used_codes()
    stranger = Stranger().signs_in_as(person)
    (factor,) = factors_of(person)
    browser = person.browser()
    person.submits_password(browser)
    challenge = form(browser.get("/mfa/challenge"), "/mfa/challenge")
    challenge["code"] = person.phones[0].code()
    with before_request(person.app, f"/auth/v1/factors/{factor}/challenge", lambda: stranger.challenges(factor)):
        return challenge.submit()


def notices_to(url, app_name="Stepup"):
    return Notices(mail_url=url, sender="no-reply@example.com", app_name=app_name, public_url="http://localhost")


@contextmanager
def server(name="127.0.0.1", *, refuses=False, with_login=False, **options):
    """A mail server that keeps what it is given, under this name."""
    kept = SimpleNamespace(mails=[], logins=[])

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            if refuses:
                return "554 alice@example.com is not wanted here"
            kept.mails.append(envelope)
            return "250 OK"

    def authenticator(server, session, envelope, mechanism, login):
        kept.logins.append((login.login, login.password))
        return AuthResult(success=True)

    if with_login:
        options["authenticator"] = authenticator
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        kept.url = f"smtp://{name}:{port}"
        yield kept
    finally:
        controller.stop()


@pytest.fixture
def self_signed(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ELSEWHERE)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(ELSEWHERE)]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.certificate = file
    return context
