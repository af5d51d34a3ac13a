"""/admin: support looks after other people's accounts. Every deed has a reason, which its owner reads too."""

from flask import Blueprint, flash, url_for
from flask_wtf import FlaskForm
from wtforms import RadioField, StringField, TextAreaField
from wtforms.validators import DataRequired, Length, Regexp

from auth.administration import MOST_FOUND
from auth.assurance import ADMINISTER
from auth.refusals import AlreadyDone, OwnAccount
from blueprints import session
from blueprints.htmx import form_page, leave_for
from blueprints.services import services

bp = Blueprint("admin", __name__, url_prefix="/admin")

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class SearchForm(FlaskForm):
    part = StringField(
        "Address, or a part of it",
        filters=[lambda text: text.strip() if text else text],
        validators=[
            DataRequired("Enter at least 3 characters."),
            Length(3, 255, message="Enter 3 characters or more."),
        ],
        render_kw={"type": "search", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"},
    )


class DeedForm(FlaskForm):
    # What there is to choose from may be another by now: whether it can be done is for the database to say.
    deed = RadioField(
        "What is to be done",
        validate_choice=False,
        validators=[
            DataRequired("Choose what is to be done."),
            Regexp(rf"(sessions|codes|{UUID})\Z", message="Choose what is to be done."),
        ],
    )
    reason = TextAreaField(
        "Reason",
        description="It is kept in the log, where the owner of the account reads it too.",
        filters=[lambda text: " ".join(text.split()) if text else text],
        validators=[
            DataRequired("Say why, in 10 characters or more."),
            Length(10, 500, message="Say why, in 10 to 500 characters."),
        ],
        render_kw={"rows": 3, "maxlength": 500},
    )


@bp.get("")
def show():
    session.require(ADMINISTER)
    return _search(SearchForm())


@bp.post("")
def find():
    """Search. By POST: addresses of people do not belong into the logs of servers and the histories of browsers."""
    who = session.require(ADMINISTER)
    form = SearchForm()
    if not form.validate_on_submit():
        return _search(form)
    return _search(form, services().administration.find(who.account.user_id, form.part.data))


@bp.get("/people/<uuid:person_id>")
def person(person_id):
    return _person(DeedForm(), session.require(ADMINISTER), str(person_id))


@bp.post("/people/<uuid:person_id>")
def act(person_id):
    who = session.require(ADMINISTER)
    actor, user_id, form = who.account.user_id, str(person_id), DeedForm()
    if not form.validate_on_submit():
        return _person(form, who, user_id)
    try:
        flash(_do(actor, user_id, form.deed.data, form.reason.data, who.now))
    except (AlreadyDone, OwnAccount) as refusal:
        return _person(form, who, user_id, refusal)
    return leave_for(url_for("admin.person", person_id=person_id))


def _do(actor, user_id, deed, reason, now):
    administration = services().administration
    match deed:
        case "sessions":
            return administration.end_sessions(actor, user_id, reason)
        case "codes":
            return administration.lift(actor, user_id, reason)
        case factor_id:
            return administration.withdraw(actor, user_id, factor_id, reason, now=now)


def _deeds(seen):
    """What can be done at the moment, as (value, words)."""
    deeds = [("sessions", f"End all sessions ({len(seen.sessions)})")] if seen.sessions else []
    deeds += [("codes", "Let codes be entered again")] if any(codes.are_off for codes in seen.wrong_codes) else []
    last = " (the last one)" if len(seen.factors) == 1 else ""
    return deeds + [(one.id, f"Withdraw the {one.kind.lower()} “{one.name}”{last}") for one in seen.factors]


def _search(form, found=None):
    return form_page("admin/admin.html", form, found=found, most=MOST_FOUND)


def _person(form, who, user_id, refusal=None):
    seen = services().administration.look(who.account.user_id, user_id)
    form.deed.choices = _deeds(seen)
    return form_page(
        "admin/person.html",
        form,
        refusal,
        partial="admin/_deed_form.html",
        seen=seen,
        is_self=seen.id == who.account.user_id,
    )
