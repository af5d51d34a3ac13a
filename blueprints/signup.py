"""/signup: an account, once its address has been confirmed."""

from flask import Blueprint, request
from flask_wtf import FlaskForm
from wtforms.validators import Email

from auth.refusals import MailJustSent, Refused
from blueprints import session
from blueprints.destination import destination
from blueprints.forms import email_field, new_password_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited
from blueprints.mailed import AddressForm, check_mail, mailed
from blueprints.services import services

bp = Blueprint("signup", __name__)


class SignUpForm(FlaskForm):
    email = email_field(Email("Enter an email address, like name@example.com."))
    password = new_password_field("Password", lambda form: form.email.data)


@bp.get("/signup")
def show():
    return form_page("signup/signup.html", SignUpForm())


@bp.post("/signup")
@limited
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
    return check_mail(form.email.data)


@bp.get("/signup/resend")
def ask_again():
    return form_page("signup/resend.html", AddressForm(email=request.args.get("email")))


@bp.post("/signup/resend")
@limited
def resend():
    form = AddressForm()
    if not form.validate_on_submit():
        return form_page("signup/resend.html", form, partial="signup/_resend_form.html")
    return mailed(services().gateway.mail_confirmation_again, form, "signup/resend.html", "signup/_resend_form.html")


def _form(form, refusal=None):
    return form_page("signup/signup.html", form, refusal, partial="signup/_form.html")
