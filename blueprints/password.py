"""/forgot-password, /reset-password and /settings/security/password."""

from flask import Blueprint, flash, redirect, request, url_for
from flask_wtf import FlaskForm

from auth.assurance import PASSWORD
from auth.refusals import Refused
from blueprints import session
from blueprints.forms import new_password_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited
from blueprints.mailed import AddressForm, mailed
from blueprints.services import services

bp = Blueprint("password", __name__)


class NewPasswordForm(FlaskForm):
    password = new_password_field("New password", lambda form: form.email)

    def __init__(self, email: str) -> None:
        self.email = email
        super().__init__()


@bp.get("/forgot-password")
def ask():
    return form_page("password/forgot.html", AddressForm())


@bp.post("/forgot-password")
@limited
def mail_link():
    form = AddressForm()
    if not form.validate_on_submit():
        return form_page("password/forgot.html", form, partial="password/_forgot_form.html")
    return mailed(services().gateway.mail_reset_link, form, "password/forgot.html", "password/_forgot_form.html")


@bp.get("/reset-password")
def reset():
    """Lead the link in the mail to its confirmation, which signs in; a bare visit to asking for a mail."""
    if "token_hash" not in request.args:
        return redirect(url_for("password.ask"))
    return redirect(url_for("confirm.show", token_hash=request.args["token_hash"], type="recovery"))


@bp.get("/settings/security/password")
def change():
    who = session.require(PASSWORD)
    return _form(NewPasswordForm(who.email), who)


@bp.post("/settings/security/password")
def update():
    """Set a new password, the first one too. A link from a mail proves less than a factor: see require()."""
    who = session.require(PASSWORD)
    form = NewPasswordForm(who.email)
    if not form.validate_on_submit():
        return _form(form, who)
    who = session.signed_in(lease=True)
    try:
        with services().vault.lease_of(who.account):
            services().gateway.change_password(who.tokens, form.password.data)
            key = services().vault.renew(who.account, who.tokens)
    except Refused as refusal:
        return _form(form, who, refusal)
    session.renew(key, who.account.user_id)
    flash("Your password was changed, and your other devices were signed out.")
    return leave_for(url_for("account.security"))


def _form(form, who, refusal=None):
    return form_page("password/change.html", form, refusal, partial="password/_change_form.html", who=who)
