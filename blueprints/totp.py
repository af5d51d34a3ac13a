"""/settings/security/totp: set up an authenticator app, and remove one."""

from flask import Blueprint, current_app, flash, request, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField, StringField
from wtforms.validators import DataRequired, Length

from auth.assurance import ADD_FACTOR, FINISH_FACTOR, REMOVE_FACTOR, REMOVE_LAST_FACTOR, SECURITY
from auth.refusals import EnrolmentGone, Refused, TooManyFactors, UnknownFactor
from auth.totp import grouped, otpauth_uri, qr_svg
from blueprints import session
from blueprints.elsewhere import elsewhere_field, sign_out_if
from blueprints.forms import ButtonForm, code_field
from blueprints.htmx import form_page, leave_for
from blueprints.interrupted import carried
from blueprints.recovery_codes import leave_with_codes
from blueprints.removal import RemoveForm, removed, said_before
from blueprints.services import services

bp = Blueprint("totp", __name__, url_prefix="/settings/security/totp")

MOST_FACTORS = 10  # Supabase's own limit; the one that stands for all passkeys is among them


class NameForm(FlaskForm):
    name = StringField(
        "Name of the app",
        description="So that you can tell several apart, for example “Phone” or “Tablet”.",
        filters=[lambda text: " ".join(text.split()) if text else text],
        validators=[DataRequired("Give the app a name."), Length(max=64, message="Use at most 64 characters.")],
        render_kw={"autocomplete": "off", "maxlength": 64},
    )


class FirstCodeForm(FlaskForm):
    factor = HiddenField(validators=[DataRequired()])
    code = code_field()
    elsewhere = elsewhere_field()


@bp.get("")
def show():
    """Set up an app: its name first, then QR code and first code. An unfinished set-up is resumed here."""
    who = session.require(ADD_FACTOR)  # this page shows the secret
    if who.account.enrolment:
        return _set_up(FirstCodeForm(factor=who.account.enrolment.factor_id), who)
    refusal = TooManyFactors() if len(who.factors) >= MOST_FACTORS else None
    return _name(NameForm(name=_next_name(who)), refusal)


@bp.post("")
def create():
    who = session.require(ADD_FACTOR)
    form = NameForm()
    if not form.validate_on_submit():
        return _name(form)
    if not who.account.enrolment:  # else another tab has begun, and its QR code may be on the phone already
        try:
            services().apps.begin_enrolment(who.account, form.name.data)
        except Refused as refusal:
            return _name(form, refusal)
    return leave_for(url_for("totp.show", next=request.values.get("next")))


@bp.post("/verify")
def verify():
    who = session.require(FINISH_FACTOR)
    form = FirstCodeForm()
    if not form.validate_on_submit():
        return _set_up(form, who)
    who = session.signed_in(lease=True)
    name = who.account.enrolment.name if who.account.enrolment else ""
    try:
        key = services().apps.finish_enrolment(
            who.account, factor_id=form.factor.data, code=form.code.data, now=who.now
        )
    except EnrolmentGone as refusal:
        flash(refusal.sentence)
        return leave_for(url_for("totp.show", next=request.values.get("next")))
    except Refused as refusal:
        form.code.data = ""
        return _set_up(form, who, refusal)
    session.renew(key, who.account.user_id)
    then = "You can sign in with its codes, too." if who.factors else "From now on, signing in takes a code from it."
    flash(f"“{name}” is set up. {then}")
    sign_out_if(form.elsewhere.data, who)
    return leave_with_codes(who, "account.security")


@bp.post("/discard")
def discard():
    who = session.require(SECURITY)
    services().apps.discard_enrolment(who.account)
    flash("The unfinished set-up was discarded.")
    return leave_for(url_for("account.security"))


@bp.get("/<uuid:factor_id>/remove")
def ask_to_remove(factor_id):
    who = session.require(REMOVE_FACTOR)
    app = _app(who, factor_id)
    kept = services().passkeys.of(who.account.user_id).passkeys
    return form_page("totp/remove.html", RemoveForm(), app=app, **said_before(who, kept, app.id))


@bp.post("/<uuid:factor_id>/remove")
def remove(factor_id):
    who = session.require(REMOVE_FACTOR)
    app = _app(who, factor_id)
    if last := len(who.factors) == 1:
        session.permit(who, REMOVE_LAST_FACTOR)
    last = services().apps.remove(who.account.user_id, app.id, even_last=last)
    return removed(who, app.name, RemoveForm(), "account.security", last=last)


def _name(form, refusal=None):
    return form_page("totp/name.html", form, refusal, partial="totp/_name_form.html", carried=carried())


def _set_up(form, who, refusal=None):
    """The page with the secret; htmx gets the code form alone. A stale session sees no secret after a wrong code."""
    enrolment = who.account.enrolment
    if enrolment is None:
        return leave_for(url_for("totp.show", next=request.values.get("next")))
    shown = {}
    if who.may(ADD_FACTOR):
        uri = otpauth_uri(enrolment.secret, email=who.email, issuer=current_app.config["NAME"])
        shown = {"uri": uri, "qr": qr_svg(uri), "secret": grouped(enrolment.secret)}
    return form_page(
        "totp/set_up.html",
        form,
        refusal,
        partial="totp/_code_form.html",
        button=ButtonForm(),
        name=enrolment.name,
        shown=shown,
        carried=carried(),
    )


def _app(who, factor_id):
    for app in who.apps:
        if app.id == str(factor_id):
            return app
    raise UnknownFactor


def _next_name(who):
    return "Phone" if not who.apps else f"App {len(who.apps) + 1}"
