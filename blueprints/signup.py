"""/signup and /auth/confirm: an account, and the proof that its address can be read."""

from flask import Blueprint, request
from flask_wtf import FlaskForm
from wtforms import HiddenField
from wtforms.validators import DataRequired, Email

from auth.refusals import MailJustSent, Refused
from blueprints import session
from blueprints.destination import destination
from blueprints.forms import email_field, new_password_field
from blueprints.htmx import form_page, leave_for, page_or_partial
from blueprints.services import services

bp = Blueprint("signup", __name__)


class SignUpForm(FlaskForm):
    email = email_field(Email("Enter an email address, like name@example.com."))
    password = new_password_field()


class ConfirmForm(FlaskForm):
    token_hash = HiddenField(validators=[DataRequired("This link is not complete.")])


@bp.get("/signup")
def show():
    return form_page("signup/signup.html", SignUpForm())


@bp.post("/signup")
def create():
    form = SignUpForm()
    if not form.validate_on_submit():
        return _form(form)
    try:
        tokens = services().gateway.sign_up(form.email.data, form.password.data)
    except MailJustSent:
        tokens = None
    except Refused as refusal:
        return _form(form, refusal)
    if tokens:  # the project does not ask for confirmation
        session.start(tokens, signed_in_with="password")
        return leave_for(destination())
    return page_or_partial("signup/check_mail.html", "signup/_check_mail.html", mailbox_url=services().mailbox_url)


def _form(form, refusal=None):
    return form_page("signup/signup.html", form, refusal, partial="signup/_form.html")


@bp.get("/auth/confirm")
def confirm():
    """Ask for a click. Mail scanners open links, and the token works once."""
    return form_page("signup/confirm.html", ConfirmForm(token_hash=request.args.get("token_hash")))


@bp.post("/auth/confirm")
def confirmed():
    form = ConfirmForm()
    if not form.validate_on_submit():
        return form_page("signup/confirm.html", form, partial="signup/_confirm_form.html")
    try:
        tokens = services().gateway.confirm(form.token_hash.data)
    except Refused as refusal:
        return form_page("signup/confirm.html", form, refusal, partial="signup/_confirm_form.html")
    session.start(tokens, signed_in_with="signup")
    return leave_for(destination())
