"""/mfa/challenge: the second step of signing in, and fresh proof before something sensitive."""

import flask
from flask import Blueprint, flash, jsonify, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField
from wtforms.validators import DataRequired

from auth import passkey_flows
from auth.refusals import CeremonyFailed, Refused, SignInRequired
from blueprints import session
from blueprints.destination import destination
from blueprints.forms import code_field, recovery_code_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited, options_limited
from blueprints.passkeys import PasskeyForm, device
from blueprints.services import services

bp = Blueprint("step_up", __name__)

JUST_PROVEN_SECONDS = 60


class CodeForm(FlaskForm):
    next = HiddenField()
    # Whether the app is theirs is for the database to say, in the statement that begins the attempt.
    factor = RadioField("Which app?", validate_choice=False, validators=[DataRequired("Choose one of your apps.")])
    code = code_field()


class RecoveryCodeForm(FlaskForm):
    next = HiddenField()
    code = recovery_code_field("Recovery code", autofocus=True)


@bp.get("/mfa/challenge")
def show():
    who = _signed_in()
    if _has_nothing_to_prove(who):
        return leave_for(destination())
    return _form(CodeForm(next=destination(), factor=who.apps[-1].id if who.apps else None), who)


@bp.post("/mfa/challenge")
@limited
def create():
    form = CodeForm()
    if not form.validate_on_submit():
        return _form(form, _signed_in())
    who = _signed_in(lease=True)
    try:
        key = services().apps.answer(who.account, factor_id=form.factor.data, code=form.code.data, now=who.now)
    except Refused as refusal:
        form.code.data = ""
        return _form(form, who, refusal)
    session.renew(key)
    if not who.has_passkeys:
        flask.session["offer_passkey"] = True  # where the browser can make one without a gesture: see base.html
    return leave_for(destination())


@bp.post("/mfa/challenge/passkey/options")
@options_limited
def passkey_options():
    who = _signed_in()
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
        return _form(CodeForm(formdata=None, next=destination()), _signed_in(), refusal, of_passkey=True)
    who = _signed_in(lease=True, answered=answered)
    try:
        key = services().passkeys.step_up(who.account, credential=form.credential.data, used_with=device())
    except Refused as refusal:
        return _form(CodeForm(formdata=None, next=destination()), who, refusal, of_passkey=True)
    session.renew(key)
    return leave_for(destination())


@bp.get("/mfa/challenge/recovery-code")
def ask_for_recovery_code():
    who = _signed_in()
    if _has_nothing_to_prove(who):
        return leave_for(destination())
    return _recovery_form(RecoveryCodeForm(next=destination()), who)


@bp.post("/mfa/challenge/recovery-code")
@limited
def with_recovery_code():
    """Whoever needs a code has lost something, so this leads to where it is replaced."""
    form = RecoveryCodeForm()
    if not form.validate_on_submit():
        return _recovery_form(form, _signed_in())
    who = _signed_in(lease=True)
    try:
        key, left = services().codes.use(who.account, form.code.data, now=who.now)
    except Refused as refusal:
        form.code.data = ""
        return _recovery_form(form, who, refusal)
    session.renew(key)
    flash(_spent(left))
    return leave_for(url_for("account.security"))


def _spent(left):
    if left == 0:
        return "That was your last recovery code. Make new ones before you go on, or the next loss locks you out."
    left = "" if left is None else f" {left} {'is' if left == 1 else 'are'} left."
    return f"That recovery code is spent.{left} Set up anew here what you have lost, and remove the lost one."


def _has_nothing_to_prove(who):
    """The back button, or another tab was faster."""
    return not who.factors or (who.factor_age is not None and who.factor_age < JUST_PROVEN_SECONDS)


def _recovery_form(form, who, refusal=None):
    return form_page("step_up/recovery.html", form, refusal, partial="step_up/_recovery_form.html", who=who)


def _signed_in(*, lease=False, answered=None):
    who = session.current(lease=lease, answered=answered)
    if who is None:
        raise SignInRequired
    return who


def _form(form, who, refusal=None, *, of_passkey=False):
    form.factor.choices = [(app.id, app.name) for app in who.apps]
    if not form.factor.data and who.apps:
        form.factor.data = who.apps[-1].id
    return form_page(
        "step_up/challenge.html",
        form,
        refusal,
        partial="step_up/_forms.html",
        who=who,
        refused_passkey=of_passkey,
        passkey_fields=PasskeyForm(formdata=None, next=form.next.data),
    )
