"""/ and /account and /settings/security: what a person sees and may do."""

import flask
from flask import Blueprint, flash, render_template, request, url_for
from flask_wtf import FlaskForm
from wtforms import TextAreaField
from wtforms.validators import DataRequired, Length

from auth.assurance import ACTIONS, NOTES, SECURITY
from auth.forecast import of_loss
from auth.gateway import nothing
from auth.passkeys import provider_name
from auth.refusals import Refused
from blueprints import session
from blueprints.forms import ButtonForm
from blueprints.htmx import form_page, leave_for
from blueprints.passkeys import signals
from blueprints.removal import ways
from blueprints.services import services

bp = Blueprint("account", __name__)


class NoteForm(FlaskForm):
    body = TextAreaField(
        "New note",
        validators=[DataRequired("Write something first."), Length(max=2000, message="Use at most 2000 characters.")],
        render_kw={"maxlength": 2000, "rows": 3},
    )


@bp.get("/")
def home():
    return render_template("account/home.html", who=session.current(), open=services().policy.enrolment)


@bp.get("/account")
def show():
    return _notes(session.require(NOTES), NoteForm())


@bp.post("/account")
def add_note():
    who = session.require(NOTES)
    form = NoteForm()
    if not form.validate_on_submit():
        return _notes(who, form)
    try:
        # The person's own token: row-level security decides, and would refuse aal1 even if require() did not.
        services().gateway.add_note(who.tokens, form.body.data)
    except Refused as refusal:
        return _notes(who, form, refusal)
    return leave_for(url_for("account.show"))


@bp.post("/account/notes/<uuid:note_id>/delete")
def delete_note(note_id):
    services().gateway.delete_note(session.require(NOTES).tokens, str(note_id))
    flash("The note was deleted.")
    return leave_for(url_for("account.show"))


@bp.post("/settings/security/not-now")
def not_now():
    """Send the prompt for a second factor away, for a while."""
    who = session.require(NOTES)
    services().gateway.call("mfa_not_now", nothing, p_user=who.account.user_id)
    return leave_for(url_for("account.show"))


@bp.get("/settings/security")
def security():
    who = session.require(SECURITY)
    kept = services().passkeys.of(who.account.user_id)
    return render_template(
        "account/security.html",
        who=who,
        kept=kept.passkeys,
        open=services().policy.enrolment,
        wanted=ACTIONS.get(request.args.get("action", "")),
        next=request.args.get("next"),
        forecast=of_loss(ways(who, kept.passkeys), who.codes_left),
        button=ButtonForm(),
        signals=signals(kept, who.email),
        provider=provider_name,
    )


def _notes(who, form, refusal=None):
    notes = services().gateway.notes(who.tokens)
    return form_page(
        "account/account.html",
        form,
        refusal,
        partial="account/_note_form.html",
        who=who,
        notes=notes,
        open=services().policy.enrolment,
        button=ButtonForm(),
        signals=_signals_due(who),
    )


def _signals_due(who):
    """Once after a change of address: the authenticators of this browser still show people the old one."""
    if "address_changed" not in flask.session:
        return []
    kept = services().passkeys.of(who.account.user_id)
    del flask.session["address_changed"]
    return signals(kept, who.email)
