"""/account/change-email: asked for here, confirmed in both mailboxes."""

from flask import Blueprint, flash, url_for
from flask_wtf import FlaskForm
from wtforms.validators import Email

from auth.assurance import ADDRESS
from auth.gateway import nothing
from auth.refusals import MailJustSent, Refused
from blueprints import session
from blueprints.forms import ButtonForm, email_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited
from blueprints.services import services

bp = Blueprint("change_email", __name__, url_prefix="/account/change-email")


class NewAddressForm(FlaskForm):
    email = email_field(
        Email("Enter an email address, like name@example.com."), label="New email address", autocomplete="email"
    )


@bp.get("")
def show():
    return _form(NewAddressForm(), session.require(ADDRESS))


@bp.post("")
@limited
def create():
    who = session.require(ADDRESS)
    form = NewAddressForm()
    if not form.validate_on_submit():
        return _form(form, who)
    try:
        services().gateway.change_email(who.tokens, form.email.data)
    except Refused as refusal:
        return _form(form, who, refusal)
    return leave_for(url_for("change_email.show"))


@bp.post("/resend")
@limited
def resend():
    who = session.require(ADDRESS)
    try:
        services().gateway.mail_email_change_again(who.email)
        flash("We have sent the mails again.")
    except MailJustSent:
        flash("The mails were sent a moment ago. Please wait a minute before asking again.")
    return leave_for(url_for("change_email.show"))


@bp.post("/cancel")
def cancel():
    who = session.require(ADDRESS)
    services().gateway.call("cancel_email_change", nothing, p_user=who.account.user_id)
    flash(f"Nothing was changed. Your address is still {who.email}.")
    return leave_for(url_for("change_email.show"))


def _form(form, who, refusal=None):
    return form_page(
        "change_email/change_email.html",
        form,
        refusal,
        partial="change_email/_form.html",
        who=who,
        button=ButtonForm(),
        mailbox_url=services().mailbox_url,
    )
