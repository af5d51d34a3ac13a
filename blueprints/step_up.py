"""/mfa/challenge: the second step of signing in, and fresh proof before something sensitive."""

from flask import Blueprint, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField
from wtforms.validators import DataRequired

from auth.refusals import Refused, SignInRequired
from blueprints import session
from blueprints.destination import destination
from blueprints.forms import code_field
from blueprints.htmx import form_page, leave_for
from blueprints.limits import limited
from blueprints.services import services

bp = Blueprint("step_up", __name__)

JUST_PROVEN_SECONDS = 60


class CodeForm(FlaskForm):
    next = HiddenField()
    # Whether the app is theirs is for the database to say, in the statement that begins the attempt.
    factor = RadioField("Which app?", validate_choice=False, validators=[DataRequired("Choose one of your apps.")])
    code = code_field()


@bp.get("/mfa/challenge")
def show():
    who = _signed_in()
    proven = who.factor_age is not None and who.factor_age < JUST_PROVEN_SECONDS
    if not who.factors or proven:  # the back button, or another tab was faster
        return leave_for(destination())
    return _form(CodeForm(next=destination(), factor=who.factors[-1].id), who)


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
    return leave_for(destination())


def _signed_in(*, lease=False):
    who = session.current(lease=lease)
    if who is None:
        raise SignInRequired
    return who


def _form(form, who, refusal=None):
    form.factor.choices = [(app.id, app.name) for app in who.factors]
    return form_page(
        "step_up/challenge.html",
        form,
        refusal,
        partial="step_up/_code_form.html",
        who=who,
        action=url_for("step_up.create"),
    )
