"""What removing an app and removing a passkey share: what is left is said before, and the last one takes more."""

from flask import flash, url_for
from flask_wtf import FlaskForm

from auth import forecast
from auth.assurance import REMOVE_LAST_FACTOR, Deny
from auth.refusals import LastFactorNeeded
from blueprints.elsewhere import elsewhere_field, sign_out_if
from blueprints.htmx import leave_for
from blueprints.services import services


class RemoveForm(FlaskForm):
    elsewhere = elsewhere_field()


def ways(who, kept, *, without=None):
    """The names of the factors that `who` can sign in with; `kept` are their passkeys. Not the one with that id."""
    good = [passkey for passkey in kept if not passkey.passkey.suspect]
    return [factor.name for factor in (*good, *who.apps) if factor.id != without]


def is_last(who, kept):
    """Whether removing any of these leaves no second factor."""
    return len(kept) + len(who.apps) == 1


def said_before(who, kept, factor_id):
    """What the page that asks shows: what the removal leads to, or with `kept_by_policy` why there is none."""
    last = is_last(who, kept)
    if last and who.decision(REMOVE_LAST_FACTOR) == Deny("last"):
        return {"last": last, "forecast": LastFactorNeeded.sentence, "kept_by_policy": True}
    rest = ways(who, kept, without=factor_id)
    return {"last": last, "forecast": forecast.of_removal(rest, who.codes_left, last=last)}


def removed(who, name, form, page, *, last):
    if last:
        services().notices.removed_last_factor(who.email, name, who.now)
    flash(f"“{name}” was removed.")
    sign_out_if(form.elsewhere.data, who)
    return leave_for(url_for(page))
