"""/settings/security/passkeys: add, rename and remove passkeys. And what signing in with one shares with it."""

import base64

from flask import Blueprint, Response, abort, current_app, flash, jsonify, request, url_for
from flask_wtf import FlaskForm
from ua_parser import parse
from webauthn.helpers import bytes_to_base64url
from wtforms import BooleanField, HiddenField, StringField
from wtforms.validators import AnyOf, DataRequired, Length, Optional

from auth import passkeys
from auth.assurance import ADD_FACTOR, REMOVE_FACTOR, REMOVE_LAST_FACTOR, SECURITY
from auth.passkey_flows import MOST_PASSKEYS
from auth.refusals import Refused, TooManyPasskeys, UnknownPasskey
from blueprints import session
from blueprints.destination import destination
from blueprints.elsewhere import elsewhere_field, sign_out_if
from blueprints.htmx import form_page, leave_for
from blueprints.interrupted import carried
from blueprints.recovery_codes import leave_with_codes
from blueprints.removal import RemoveForm, is_last, removed, said_before
from blueprints.services import services

bp = Blueprint("passkeys", __name__, url_prefix="/settings/security/passkeys")


class PasskeyForm(FlaskForm):
    """`credential` is filled in by static/passkeys.js: the toJSON() of what the browser made."""

    credential = HiddenField(validators=[DataRequired("Your browser sent no passkey. Please try again.")])


class AddForm(PasskeyForm):
    elsewhere = elsewhere_field()


class KindForm(FlaskForm):
    kind = HiddenField(validators=[Optional(), AnyOf(["platform", "cross-platform"])])
    conditional = BooleanField()


class RenameForm(FlaskForm):
    name = StringField(
        "Name",
        filters=[lambda text: " ".join(text.split()) if text else text],
        validators=[DataRequired("Give the passkey a name."), Length(max=64, message="Use at most 64 characters.")],
        render_kw={"autocomplete": "off", "maxlength": 64},
    )


@bp.get("")
def show():
    return _page(AddForm(), session.require(SECURITY))


@bp.post("/options")
def options():
    """What the browser is to make. JSON, because only a script can ask."""
    who = session.require(ADD_FACTOR)
    form = KindForm()
    if not form.validate_on_submit():
        abort(400)
    kind = form.kind.data or None
    return jsonify(
        services().passkeys.creation_options(who.account, email=who.email, kind=kind, conditional=form.conditional.data)
    )


@bp.post("")
def create():
    who = session.require(ADD_FACTOR)
    form = AddForm()
    if not form.validate_on_submit():
        return _page(form, who)
    who = session.signed_in(lease=True)
    try:
        key, name = services().passkeys.register(
            who.account, credential=form.credential.data, used_with=device(), now=who.now
        )
    except Refused as refusal:
        return _page(form, who, refusal)
    session.renew(key, who.account.user_id)
    flash(f"“{name}” was added. From now on you can sign in with it.")
    sign_out_if(form.elsewhere.data, who)
    if "conditional" in request.form:  # made along the way, without a gesture
        return leave_for(destination())
    return leave_with_codes(who, "passkeys.show")


@bp.get("/<uuid:passkey_id>")
def edit(passkey_id):
    who = session.require(SECURITY)
    owned = _passkeys(who)
    kept = _kept(owned, passkey_id)
    return _edit(RenameForm(name=kept.name), who, owned, kept)


@bp.post("/<uuid:passkey_id>")
def rename(passkey_id):
    who = session.require(SECURITY)
    owned = _passkeys(who)
    kept = _kept(owned, passkey_id)
    form = RenameForm()
    if not form.validate_on_submit():
        return _edit(form, who, owned, kept)
    services().passkeys.rename(who.account.user_id, kept.id, form.name.data)
    return leave_for(url_for("passkeys.show"))


@bp.post("/<uuid:passkey_id>/remove")
def remove(passkey_id):
    who = session.require(REMOVE_FACTOR)
    owned = _passkeys(who)
    kept = _kept(owned, passkey_id)
    if last := is_last(who, owned):
        session.permit(who, REMOVE_LAST_FACTOR)
    last = services().passkeys.remove(who.account.user_id, kept.id, even_last=last)
    return removed(who, kept.name, RemoveForm(), "passkeys.show", last=last)


@bp.get("/icons/<uuid:aaguid>/<any(light, dark):theme>")
def icon(aaguid, theme):
    """A provider's icon, from here and not as data: in the page, so that the CSP need not allow data:."""
    found = passkeys.provider_icon(str(aaguid))
    if found is None:
        abort(404)
    kind, _, content = (found.light if theme == "light" else found.dark).removeprefix("data:").partition(";base64,")
    response = Response(base64.b64decode(content), mimetype=kind)
    # An SVG opened on its own could run scripts; here it runs none.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return response


def device() -> str:
    """Name the browser and the system of this request, for its owner to recognise."""
    found = parse(request.user_agent.string[:500])
    names = [part.family for part in (found.user_agent, found.os) if part and part.family != "Other"]
    return " on ".join(names) or "an unknown browser"


def signals(kept, email):
    """What static/passkeys.js tells the authenticators of this browser: which passkeys there are, and whose."""
    if not kept.handle:
        return []
    rp_id, handle = services().passkeys.rp.id, bytes_to_base64url(kept.handle)
    return [
        {
            "method": "signalAllAcceptedCredentials",
            "args": {
                "rpId": rp_id,
                "userId": handle,
                "allAcceptedCredentialIds": [bytes_to_base64url(passkey.credential_id) for passkey in kept.credentials],
            },
        },
        {
            "method": "signalCurrentUserDetails",
            "args": {"rpId": rp_id, "userId": handle, "name": email, "displayName": email},
        },
    ]


def _passkeys(who):
    return services().passkeys.of(who.account.user_id).passkeys


def _kept(owned, passkey_id):
    for kept in owned:
        if kept.id == str(passkey_id):
            return kept
    raise UnknownPasskey("")


def _page(form, who, refusal=None):
    kept = services().passkeys.of(who.account.user_id)
    if len(kept.passkeys) >= MOST_PASSKEYS:
        refusal = TooManyPasskeys()
    return form_page(
        "passkeys/passkeys.html",
        form,
        refusal,
        partial="passkeys/_add.html",
        who=who,
        kept=kept.passkeys,
        open=services().policy.enrolment,
        signals=signals(kept, who.email),
        carried=carried(),
        prefers_key=bool(who.claims.roles & current_app.config["SECURITY_KEY_ROLES"]),
        provider=passkeys.provider_name,
    )


def _edit(form, who, owned, kept):
    said = said_before(who, owned, kept.id)
    return form_page("passkeys/passkey.html", form, kept=kept, removal=RemoveForm(formdata=None), **said)
