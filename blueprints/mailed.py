"""What the pages that send a mail share: an address comes in, and the answer is the same whoever has it."""

from collections.abc import Callable

from flask import Response
from flask_wtf import FlaskForm

from auth.refusals import MailJustSent, NoSuchAccount, Refused
from blueprints.forms import email_field
from blueprints.htmx import form_page, page_or_partial
from blueprints.services import services


class AddressForm(FlaskForm):
    email = email_field()


def mailed(send: Callable[[str], None], form: AddressForm, page: str, partial: str) -> Response:
    """Call `send` with the form's address and answer "check your mail", or show the form with a refusal."""
    try:
        send(form.email.data)
    except (MailJustSent, NoSuchAccount):
        pass  # Supabase says these about addresses alone that it knows, or does not: nobody is told
    except Refused as refusal:
        return form_page(page, form, refusal, partial=partial)
    return check_mail(form.email.data)


def check_mail(email: str) -> Response:
    return page_or_partial("check_mail.html", "_check_mail.html", email=email, mailbox_url=services().mailbox_url)
