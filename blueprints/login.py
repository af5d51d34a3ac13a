"""/login and /logout: the password, which is step 1, and the way out."""

import secrets

import flask
from flask import Blueprint, flash, g, jsonify, render_template, request, url_for
from flask_wtf import FlaskForm
from wtforms import PasswordField
from wtforms.validators import DataRequired, Length

from auth.assurance import ACTIONS
from auth.refusals import CeremonyFailed, Refused, UnknownPasskey
from blueprints import interrupted, session
from blueprints.forms import ButtonForm, email_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited, options_limited
from blueprints.mailed import AddressForm, mailed
from blueprints.passkeys import PasskeyForm, device
from blueprints.services import services

bp = Blueprint("login", __name__)


class SignInForm(FlaskForm):
    email = email_field(autocomplete="username webauthn")  # passkeys are offered where the address is typed
    password = PasswordField(
        "Password",
        validators=[DataRequired("Enter your password."), Length(max=1000)],
        render_kw={"autocomplete": "current-password"},
    )


@bp.get("/login")
def show():
    who = session.current()
    return _form(SignInForm(email=who.email if who else None), who=who)


@bp.post("/login")
@limited
def create():
    form = SignInForm()
    if not form.validate_on_submit():
        return _form(form)
    try:
        tokens = services().gateway.sign_in_with_password(form.email.data, form.password.data)
    except Refused as refusal:
        return _form(form, refusal)
    # Whoever has a second factor is led on to the challenge by the page they arrive at: see session.require().
    return interrupted.go_on(session.start(tokens, signed_in_with="password").user_id)


def ask_first(action):
    """Ask for the password before something goes on: see blueprints/interrupted.py."""
    who = g.get("who")
    form = SignInForm(formdata=None, email=who.email if who else None)
    context = _context(form, who=who, action=action) | {"interrupted": True}
    return interrupted.ask_first(
        action if who else None, "login.show", "login/login.html", "login/_dialog.html", context
    )


def _form(form, refusal=None, who=None):
    context = _context(form, refusal, who) | {"carried": interrupted.carried()}
    return form_page("login/login.html", partial="login/_forms.html", **context)


def _context(form, refusal=None, who=None, action=None):
    unknown = {
        "method": "signalUnknownCredential",
        "args": {"rpId": services().passkeys.rp.id, "credentialId": getattr(refusal, "credential_id", None)},
    }
    return {
        "form": form,
        "refusal": refusal,
        "who": who,
        "action": ACTIONS.get(action or request.values.get("action", "")),
        "passkey_fields": PasskeyForm(formdata=None),
        "signals": [unknown] if isinstance(refusal, UnknownPasskey) else [],
    }


@bp.post("/login/passkey/options")
@options_limited
def passkey_options():
    """The same for everybody: it says nothing about who has an account. Bound to this browser by Flask's session."""
    flask.session.setdefault("browser", secrets.token_urlsafe(16))
    return jsonify(services().passkeys.request_options(made_for=flask.session["browser"], user_id=None))


@bp.post("/login/passkey")
@limited
def with_passkey():
    form = PasskeyForm()
    try:
        if not form.validate_on_submit():
            raise CeremonyFailed
        tokens = services().passkeys.sign_in(
            browser=flask.session.get("browser", ""),
            credential=form.credential.data,
            used_with=device(),
            now=services().clock(),
        )
    except Refused as refusal:
        return _form(SignInForm(formdata=None), refusal)
    return interrupted.go_on(session.start(tokens, signed_in_with="passkey").user_id)


@bp.get("/login/mail")
def ask_for_link():
    return form_page("login/mail.html", AddressForm())


@bp.post("/login/mail")
@limited
def mail_link():
    """Mail a sign-in link: for those who have no password, or who have to prove the mailbox again."""
    form = AddressForm()
    if not form.validate_on_submit():
        return form_page("login/mail.html", form, partial="login/_mail_form.html")
    return mailed(services().gateway.mail_sign_in_link, form, "login/mail.html", "login/_mail_form.html")


@bp.get("/logout")
def ask():
    return render_template("login/logout.html", form=ButtonForm(), who=session.current())


@bp.post("/logout")
def destroy():
    session.end()
    flash("You are signed out.")
    return leave_for(url_for("login.show"))
