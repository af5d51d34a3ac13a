"""The mails Supabase Auth sends: a template per kind, filled in, and put into the mailbox."""

import html
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from psycopg.rows import DictRow

from local_supabase import mailbox
from local_supabase.auth_api import one_time_tokens, pkce, redirects
from local_supabase.auth_api.call import Call
from local_supabase.auth_api.one_time_tokens import Kind, Made
from local_supabase.auth_api.pkce import Challenge
from local_supabase.platform import MailTemplate

_VARIABLE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_LINK = MailTemplate("Your link", '<p><a href="{{ .ConfirmationURL }}">Continue</a>, or enter {{ .Token }}.</p>')
_DIGITS = MailTemplate("Your code", "<p>Enter the code {{ .Token }}.</p>")


@dataclass(frozen=True)
class Mail:
    """What a mail is for."""

    template: str  # its name in config.toml
    verify_type: str  # what its link is verified as
    kind: Kind  # of its token
    flow: str = ""  # what PKCE calls the proof of having followed its link


CONFIRMATION = Mail("confirmation", "signup", one_time_tokens.CONFIRMATION, "email/signup")
INVITATION = Mail("invite", "invite", one_time_tokens.CONFIRMATION)
RECOVERY = Mail("recovery", "recovery", one_time_tokens.RECOVERY, "recovery")
MAGIC_LINK = Mail("magic_link", "magiclink", one_time_tokens.RECOVERY, "magiclink")
EMAIL_CHANGE = Mail("email_change", "email_change", one_time_tokens.EMAIL_CHANGE_NEW, "email_change")
REAUTHENTICATION = Mail("reauthentication", "reauthentication", one_time_tokens.REAUTHENTICATION)  # digits only


def send_link(call: Call, user: DictRow, mail: Mail, challenge: Challenge | None = None) -> None:
    """Make a token and mail it to the user; with a PKCE challenge its link gives a code instead of a session.

    Raises:
        Refused: 429 over_email_send_rate_limit if the last one was sent too recently.
    """
    one_time_tokens.check_interval(call, user, mail.kind)
    if challenge:
        pkce.begin(call, user, challenge, method=mail.flow)
    send(call, user, mail, one_time_tokens.make(call, user, mail.kind, with_code=challenge is not None))


def send(call: Call, user: DictRow, mail: Mail, made: Made, *, to: str | None = None, new_email: str = "") -> None:
    """Send `mail` with the link and digits of `made`, to the user's own address by default.

    Written in the caller's transaction: a request that fails sends nothing.

    Raises:
        Refused: 429 over_email_send_rate_limit if the server has sent too many this hour.
        KeyError: the template names a variable there is none of.
    """
    call.limiter.check_mail()
    to = to or user["email"]
    redirect_to = redirects.target(call.platform.config, call.request)
    variables = {
        "SiteURL": call.platform.config.site_url,
        "ConfirmationURL": link(call, mail.verify_type, made.token_hash, redirect_to),
        "Email": user["email"],
        "NewEmail": new_email,
        "SendingTo": to,
        "Token": made.digits,
        "TokenHash": made.token_hash,
        "RedirectTo": redirect_to,
    }
    template = call.platform.config.mail_templates.get(mail.template, _DIGITS if mail is REAUTHENTICATION else _LINK)
    mailbox.post(
        call.connection,
        to=to,
        subject=_VARIABLE.sub(lambda name: variables[name[1]], template.subject),
        # Escaped, or a name or an address chosen by the sender writes HTML into somebody's mail.
        html=_VARIABLE.sub(lambda name: html.escape(variables[name[1]]), template.body),
        kind=mail.template,
    )


def link(call: Call, verify_type: str, token_hash: str, redirect_to: str) -> str:
    """Return the address that verifies a token by GET and leads to `redirect_to`."""
    query = urlencode({"token": token_hash, "type": verify_type, "redirect_to": redirect_to})
    return f"{call.platform.issuer}/verify?{query}"
