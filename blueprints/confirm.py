"""/auth/confirm: where the links in mails lead."""

from typing import get_args

import flask
from flask import Blueprint, flash, request, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField
from wtforms.validators import AnyOf, DataRequired

from auth.gateway import MailKind
from auth.refusals import Refused
from blueprints import session
from blueprints.htmx import form_page, leave_for, page_or_partial
from blueprints.limits import limited
from blueprints.services import services

bp = Blueprint("confirm", __name__)

INCOMPLETE = "This link is not complete. Open it from the mail again, or copy all of it."


class ConfirmForm(FlaskForm):
    token_hash = HiddenField(validators=[DataRequired(INCOMPLETE)])
    type = HiddenField(validators=[AnyOf(get_args(MailKind), message=INCOMPLETE)])


@bp.get("/auth/confirm")
def show():
    """Ask for a click. Mail scanners open links, and the token works once."""
    return _form(ConfirmForm(token_hash=request.args.get("token_hash"), type=request.args.get("type")))


@bp.post("/auth/confirm")
@limited
def create():
    form = ConfirmForm()
    if not form.validate_on_submit():
        return _form(form)
    try:
        tokens = services().gateway.confirm(form.token_hash.data, form.type.data)
    except Refused as refusal:
        return _form(form, refusal)
    if tokens is None:
        return page_or_partial("confirm/half.html", "confirm/_half.html")
    match form.type.data:
        case "email_change":
            return _address_changed(tokens)
        case "recovery" | "invite":
            session.start(tokens, signed_in_with=form.type.data)
            return leave_for(url_for("password.change"))
        case kind:
            session.start(tokens, signed_in_with=kind)
            return leave_for(url_for("account.show"))


def _address_changed(tokens):
    """Go on with the session this browser has: the mail's own has proven less. Without one, that one begins."""
    who = session.current()
    claims = session.claims_of(tokens)
    services().vault.expire(claims.user_id)
    if who and who.account.user_id == claims.user_id:
        services().gateway.end_session(tokens)
    else:
        session.start(tokens, signed_in_with="email_change")
    flash(f"Your address is now {claims.email}.")
    flask.session["address_changed"] = True  # passkeys here still name the old one: see account.show
    return leave_for(url_for("account.show"))


def _form(form, refusal=None):
    return form_page("confirm/confirm.html", form, refusal, partial="confirm/_form.html")
