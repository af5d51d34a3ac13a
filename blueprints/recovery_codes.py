"""/settings/security/recovery-codes: make a sheet of codes, confirm that it was kept, replace it."""

from flask import Blueprint, flash, request, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField

from auth.assurance import RECOVERY_CODES
from auth.refusals import CodesChanged, Refused
from blueprints import session
from blueprints.destination import destination
from blueprints.forms import recovery_code_field
from blueprints.htmx import form_page, leave_for
from blueprints.interrupted import carried
from blueprints.limits import limited
from blueprints.services import services

bp = Blueprint("recovery_codes", __name__, url_prefix="/settings/security/recovery-codes")


class MakeForm(FlaskForm):
    replaces = HiddenField()  # the sheet that was there when the form was, or 0


class ConfirmForm(FlaskForm):
    code = recovery_code_field("One of your codes")


def leave_with_codes(who, default):
    """Go on to where the request leads, or the endpoint `default`. After the first factor, which `who` did not have
    yet, by way of codes: a factor alone can be lost."""
    if who.factors:
        return leave_for(destination(default))
    return leave_for(url_for("recovery_codes.show", next=request.values.get("next")))


@bp.get("")
def show():
    return _page(ConfirmForm(), session.require(RECOVERY_CODES))


@bp.post("")
@limited
def create():
    """Make a sheet and show it, this once: nobody could show it again, as only hashes are kept.

    Reloading that page sends the form again, and must not end the sheet that was printed a moment ago.
    """
    who = session.require(RECOVERY_CODES)
    if MakeForm().replaces.data != _label(who):
        raise CodesChanged
    sheet = services().codes.make(who.account)
    form = ConfirmForm(formdata=None)
    return form_page("recovery_codes/sheet.html", form, who=who, sheet=sheet, carried=carried(), later=_later())


@bp.post("/confirm")
@limited
def confirm():
    who = session.require(RECOVERY_CODES)
    if not who.account.codes:  # they have gone with the last factor
        raise CodesChanged
    form = ConfirmForm()
    if not form.validate_on_submit():
        return _page(form, who)
    try:
        services().codes.confirm(who.account, form.code.data)
    except Refused as refusal:
        return _page(form, who, refusal)
    flash("Confirmed: you have your recovery codes. The one you entered is still good.")
    return leave_for(_later())


def _later():
    return destination("account.security")


def _page(form, who, refusal=None):
    return form_page(
        "recovery_codes/recovery_codes.html",
        form,
        refusal,
        partial="recovery_codes/_confirm_form.html",
        who=who,
        making=MakeForm(formdata=None, replaces=_label(who)),
        carried=carried(),
        later=_later(),
    )


def _label(who):
    return str(who.account.codes.label if who.account.codes else 0)
