"""The mails Supabase Auth sends: a template per kind, filled in, and put into the mailbox."""

import html
import re
from urllib.parse import urlencode

from psycopg.rows import DictRow

from local_supabase import mailbox
from local_supabase.auth_api.call import Call
from local_supabase.platform import MailTemplate

_VARIABLE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_LINK = MailTemplate("Your link", '<p><a href="{{ .ConfirmationURL }}">Continue</a>, or enter {{ .Token }}.</p>')


def send_link(
    call: Call, *, user: DictRow, kind: str, verify_type: str, token: str, token_hash: str, redirect_to: str
) -> None:
    """Send the mail of `kind` (confirmation, recovery, …) with its link and digits to the user's address.

    Written in the caller's transaction: a request that fails sends nothing.

    Raises:
        KeyError: the template names a variable there is none of.
    """
    query = urlencode({"token": token_hash, "type": verify_type, "redirect_to": redirect_to})
    variables = {
        "SiteURL": call.platform.config.site_url,
        "ConfirmationURL": f"{call.platform.issuer}/verify?{query}",
        "Email": user["email"],
        "Token": token,
        "TokenHash": token_hash,
        "RedirectTo": redirect_to,
    }
    template = call.platform.config.mail_templates.get(kind, _LINK)
    mailbox.post(
        call.connection,
        to=user["email"],
        subject=_VARIABLE.sub(lambda name: variables[name[1]], template.subject),
        # Escaped, or a name or an address chosen by the sender writes HTML into somebody's mail.
        html=_VARIABLE.sub(lambda name: html.escape(variables[name[1]]), template.body),
        kind=kind,
    )
