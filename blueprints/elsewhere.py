"""“Sign out everywhere else”: a button of its own, and offered with every change of a factor."""

from flask import Blueprint, flash, url_for
from wtforms import BooleanField

from auth.assurance import SECURITY
from auth.refusals import Unavailable
from blueprints import session
from blueprints.htmx import leave_for

bp = Blueprint("elsewhere", __name__)


def elsewhere_field() -> BooleanField:
    """Ticked: whoever changes a factor may do so because somebody else is in."""
    return BooleanField(
        "Sign out everywhere else", name="sign_out_elsewhere", default=True, false_values=(False, "", "no")
    )


@bp.post("/settings/security/sign-out-elsewhere")
def sign_out():
    session.end_others(session.require(SECURITY))
    flash("Your other devices were signed out.")
    return leave_for(url_for("account.security"))


def sign_out_if(wanted, who):
    """After a change that has been made already, so an outage now must not read as if it had not."""
    if not wanted:
        return
    try:
        session.end_others(who)
        flash("Your other devices were signed out.")
    except Unavailable:
        flash("Your other devices could not be signed out. Please try that again, at the end of the page Security.")
