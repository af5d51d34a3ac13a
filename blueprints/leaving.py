"""/account/export and /account/delete: everything to take along, and nothing that stays behind."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import flask
from flask import Blueprint, Response, current_app, flash, url_for
from flask_wtf import FlaskForm
from wtforms import ValidationError

from auth.assurance import DELETE, EXPORT
from auth.refusals import Refused, Unavailable
from blueprints import session
from blueprints.forms import ButtonForm, email_field
from blueprints.htmx import form_page, leave_for
from blueprints.services import services

bp = Blueprint("leaving", __name__, url_prefix="/account")


class DeleteForm(FlaskForm):
    email = email_field(label="Type your email address to confirm", autocomplete="off")

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def validate_email(self, field):
        if field.data.casefold() != self._address.casefold():
            raise ValidationError(f"That is not the email address of your account, {self._address}.")


@bp.get("/export")
def show_export():
    session.require(EXPORT)
    return form_page("leaving/export.html", ButtonForm())


@bp.post("/export")
def export():
    who = session.require(EXPORT)
    try:
        kept = services().gateway.call("export_account", dict, p_user=who.account.user_id)
    except Refused as refusal:
        return form_page("leaving/export.html", ButtonForm(), refusal)
    response = Response(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", mimetype="application/json")
    name = f"{current_app.config['NAME']}-{datetime.fromtimestamp(who.now, UTC):%Y-%m-%d}.json"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


@bp.get("/delete")
def show_delete():
    if _is_done():
        return _goodbye()
    who = session.require(DELETE)
    return _ask(DeleteForm(who.email), who)


@bp.post("/delete")
def delete():
    if _is_done():
        return _goodbye()
    who = session.require(DELETE)
    form = DeleteForm(who.email)
    if not form.validate_on_submit():
        return _ask(form, who)
    flask.session["deleting"] = {"id": who.account.user_id, "email": who.email}
    # What came of it is asked in any case: the answer may be lost, or be a proxy's, and "deleted" has to be true.
    by_this = True
    with suppress(Unavailable):
        by_this = services().gateway.delete_account(who.account.user_id)
    with suppress(Unavailable):
        if _is_done():
            return _goodbye(mail=by_this)
    return _ask(form, who, Unavailable())


def _is_done():
    """Whether an account is gone that this browser was deleting when the answer was lost.

    Nobody is signed in then, and to ask the person to sign in would be asking for what cannot be.
    """
    deleting = flask.session.get("deleting")
    return deleting is not None and not services().gateway.has_account(deleting["id"])


def _goodbye(*, mail=True):
    if mail:  # of two tabs, one
        services().notices.deleted_account(flask.session["deleting"]["email"], services().clock())
    session.forget()
    flash("Your account is deleted, with everything in it.")
    return leave_for(url_for("account.home"))


def _ask(form, who, refusal=None):
    return form_page("leaving/delete.html", form, refusal, partial="leaving/_delete_form.html", who=who)
