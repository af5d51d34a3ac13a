"""/mfa/challenge: the second step of signing in, and fresh proof before something sensitive."""

from dataclasses import replace

import flask
from flask import Blueprint, flash, g, jsonify, request, url_for
from flask_wtf import FlaskForm
from wtforms import RadioField
from wtforms.validators import DataRequired

from auth import passkey_flows
from auth.assurance import ACTIONS, NOTES, Challenge
from auth.refusals import CeremonyFailed, Refused
from auth.tokens import CLOCK_SKEW_SECONDS
from blueprints import interrupted, session
from blueprints.destination import destination
from blueprints.forms import code_field, recovery_code_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited, options_limited
from blueprints.passkeys import PasskeyForm, device
from blueprints.services import services

bp = Blueprint("step_up", __name__)


class CodeForm(FlaskForm):
    # Whether the app is theirs is for the database to say, in the statement that begins the attempt.
    factor = RadioField("Which app?", validate_choice=False, validators=[DataRequired("Choose one of your apps.")])
    code = code_field()


class RecoveryCodeForm(FlaskForm):
    code = recovery_code_field()


@bp.get("/mfa/challenge")
def show():
    who = session.signed_in()
    action = ACTIONS.get(request.args.get("action", ""), NOTES)
    # A little later than now: a database whose clock is ahead has refused already, and would send people in circles.
    soon = replace(who, now=who.now + CLOCK_SKEW_SECONDS)
    if not isinstance(soon.decision(action), Challenge):  # the back button, or another tab was faster
        return leave_for(destination())
    return _form(CodeForm(), who)


@bp.post("/mfa/challenge")
@limited
def create():
    form = CodeForm()
    if not form.validate_on_submit():
        return _form(form, session.signed_in())
    who = session.signed_in(lease=True)
    try:
        key = services().apps.answer(who.account, factor_id=form.factor.data, code=form.code.data, now=who.now)
    except Refused as refusal:
        form.code.data = ""
        return _form(form, who, refusal)
    session.renew(key, who.account.user_id)
    if not who.has_passkeys:
        flask.session["offer_passkey"] = True  # where the browser can make one without a gesture: see base.html
    return interrupted.go_on(who.account.user_id)


@bp.post("/mfa/challenge/passkey/options")
@options_limited
def passkey_options():
    who = session.signed_in()
    return jsonify(services().passkeys.request_options(made_for=who.account.id, user_id=who.account.user_id))


@bp.post("/mfa/challenge/passkey")
@limited
def with_passkey():
    form = PasskeyForm()
    try:
        if not form.validate_on_submit():
            raise CeremonyFailed
        answered = passkey_flows.answered(form.credential.data)
    except CeremonyFailed as refusal:
        return _form(CodeForm(formdata=None), session.signed_in(), refusal, of="passkey")
    who = session.signed_in(lease=True, answered=answered)
    try:
        key = services().passkeys.step_up(who.account, credential=form.credential.data, used_with=device(), now=who.now)
    except Refused as refusal:
        return _form(CodeForm(formdata=None), who, refusal, of="passkey")
    session.renew(key, who.account.user_id)
    return interrupted.go_on(who.account.user_id)


@bp.post("/mfa/challenge/recovery-code")
@limited
def with_recovery_code():
    """Whoever needs a code has lost something, so this leads to where it is replaced."""
    form = RecoveryCodeForm()
    if not form.validate_on_submit():
        return _form(CodeForm(formdata=None), session.signed_in(), of="recovery code", recovery_form=form)
    who = session.signed_in(lease=True)
    try:
        key, left = services().codes.use(who.account, form.code.data, now=who.now)
    except Refused as refusal:
        form.code.data = ""
        return _form(CodeForm(formdata=None), who, refusal, of="recovery code", recovery_form=form)
    session.renew(key, who.account.user_id)
    flash(_spent(left))
    return interrupted.go_on(who.account.user_id, url_for("account.security"))


def ask_first(action):
    """Ask for fresh proof before something goes on: see blueprints/interrupted.py."""
    who = g.who
    return interrupted.ask_first(
        action if who.factor_age is not None else None,
        "step_up.show",
        "step_up/challenge.html",
        "step_up/_dialog.html",
        _context(CodeForm(formdata=None), who, action),
    )


def _spent(left):
    if left == 0:
        return "That was your last recovery code. Make new ones before you go on, or the next loss locks you out."
    left = "" if left is None else f" {left} {'is' if left == 1 else 'are'} left."
    return f"That recovery code is spent.{left} Under Security, set up anew what was lost, and remove the lost one."


def _form(form, who, refusal=None, *, of="app", recovery_form=None):
    """The page, or its forms. `of` is the form that was refused."""
    context = _context(form, who, recovery_form=recovery_form) | {"of": of, "carried": interrupted.carried()}
    response = form_page("step_up/challenge.html", refusal=refusal, partial="step_up/_forms.html", **context)
    if recovery_form and recovery_form.errors:
        response.status_code = 422
    return response


def _context(form, who, action=None, recovery_form=None):
    form.factor.choices = [(app.id, app.name) for app in who.apps]
    if not form.factor.data and who.apps:
        form.factor.data = who.apps[-1].id
    return {
        "form": form,
        "who": who,
        "action": ACTIONS.get(action or request.values.get("action", ""), NOTES),
        "passkey_fields": PasskeyForm(formdata=None),
        "recovery_form": recovery_form or RecoveryCodeForm(formdata=None),
    }
