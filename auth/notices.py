"""Mails that the app itself sends: what people have to know, in plain text, with nothing to click that acts."""

import logging
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import unquote, urlsplit

TIMEOUT_SECONDS = 3
THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notices:
    """One way to send, and every notice there is. Times are Unix time.

    Sending never fails for the caller: what a notice tells about has happened, whether or not a mail server is there.
    """

    mail_url: str | None = field(repr=False)  # with a password in it
    sender: str
    app_name: str
    public_url: str

    def removed_last_factor(self, email: str, name: str, when: float) -> None:
        self._send(
            email,
            "Your last second factor was removed",
            f"“{name}” was removed from your account on {_said(when)}. It was your last second factor: from now on "
            "your password, or a link sent to this address, is enough to sign in.",
        )

    def withdrawn_by_support(self, email: str, name: str, when: float, *, last: bool) -> None:
        rest = (
            " It was your last second factor: from now on your password, or a link sent to this address, is enough to "
            "sign in. Please set up a new one."
        )
        self._send(
            email,
            "Support has removed one of your second factors",
            f"Our support has removed “{name}” from your account on {_said(when)}.{rest if last else ''}",
        )

    def intercepted(self, email: str, when: float) -> None:
        self._send(
            email,
            "Somebody knows your password",
            f"On {_said(when)} you entered a code to sign in, and somebody else who knows your password tried to use "
            "the same moment. We have stopped it. Please change your password, which nobody else should know.",
        )

    def deleted_account(self, email: str, when: float) -> None:
        self._send(
            email,
            "Your account was deleted",
            f"Your account was deleted on {_said(when)}, with everything in it.",
            "If that was not you, somebody could sign in as you. Change the password wherever else you use it.",
        )

    def _send(self, email: str, subject: str, text: str, advice: str | None = None) -> None:
        if not self.mail_url:
            return
        try:
            message = EmailMessage(SMTP)
            message["Subject"] = f"{subject} ({self.app_name})"
            message["From"] = self.sender
            # One address and no more: text that would begin a second one, or another header, is an error.
            message["To"] = Address(addr_spec=email)
            message.set_content(f"{text}\n\n{advice or self._look_here}\n")
            with _connection(self.mail_url) as connection:
                connection.send_message(message, to_addrs=[email])
        except Exception as error:  # whatever it is, it must not undo, or hide, what has happened
            log.warning("a mail could not be sent: %s", type(error).__name__)  # the text may hold the address

    @property
    def _look_here(self) -> str:
        return f"If that was not you, or not what you expected, look here:\n{self.public_url}/settings/security"


def _connection(mail_url: str) -> smtplib.SMTP:
    """Connect to smtps://, or to smtp:// with STARTTLS. Without TLS only to this machine, and with no exception: who
    sits in between could take the offer of STARTTLS out of the answer, and read the password."""
    url = urlsplit(mail_url)
    host = url.hostname or ""
    connection: smtplib.SMTP
    if url.scheme == "smtps":
        connection = smtplib.SMTP_SSL(
            host, url.port or 465, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = smtplib.SMTP(host, url.port or 587, timeout=TIMEOUT_SECONDS)
    try:
        if url.scheme == "smtp" and host not in THIS_MACHINE:
            connection.starttls(context=ssl.create_default_context())
        if url.username:
            connection.login(unquote(url.username), unquote(url.password or ""))
    except BaseException:
        connection.close()
        raise
    return connection


def _said(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y at %H:%M UTC")
