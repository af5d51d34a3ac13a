"""/settings/billing: a plan and an invoice address, which take a second factor that was proven a moment ago."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, flash, url_for
from flask_wtf import FlaskForm
from wtforms import RadioField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import AnyOf, DataRequired, Length

from auth.assurance import BILLING
from auth.gateway import Billing
from auth.refusals import ProofTooOld, Refused, StepUpRequired
from blueprints import session
from blueprints.htmx import form_page, leave_for
from blueprints.services import services

bp = Blueprint("billing", __name__, url_prefix="/settings/billing")

# As in the check of public.billing.
PLANS = {
    "personal": "Personal, for yourself",
    "team": "Team, for up to ten people",
    "company": "Company, for everybody you work with",
}


def _line(label: str, missing: str, autocomplete: str, *, most: int, least: int = 1) -> StringField:
    length = f"{least} to {most}" if least > 1 else f"at most {most}"
    return StringField(
        label,
        filters=[lambda text: text.strip() if text else text],
        validators=[DataRequired(missing), Length(least, most, message=f"Use {length} characters.")],
        render_kw={"autocomplete": f"billing {autocomplete}", "maxlength": most},
    )


class BillingForm(FlaskForm):
    plan = RadioField(
        "Plan",
        choices=[SelectChoice(*plan) for plan in PLANS.items()],
        default="personal",
        validate_choice=False,  # its sentence would be "Not a valid choice."
        validators=[AnyOf(PLANS, message="Choose one of the plans.")],
    )
    name = _line("Name", "Enter the name for the invoice.", "name", most=100)
    street = _line("Street and number", "Enter the street and number.", "address-line1", most=100)
    postal_code = _line("Postal code", "Enter the postal code.", "postal-code", most=20)
    city = _line("City", "Enter the city.", "address-level2", most=100)
    country = _line("Country", "Enter the country.", "country-name", most=60, least=2)


@bp.get("")
def show():
    who = session.require(BILLING)
    with _asking_anew():
        return _form(BillingForm(obj=services().gateway.billing(who.tokens)))


@bp.post("")
def save():
    who = session.require(BILLING)
    form = BillingForm()
    if not form.validate_on_submit():
        return _form(form)
    details = {name: text for name, text in form.data.items() if name != "csrf_token"}
    try:
        with _asking_anew():
            services().gateway.save_billing(who.tokens, Billing(**details))
    except Refused as refusal:
        return _form(form, refusal)
    flash("Your billing details are saved.")
    return leave_for(url_for("billing.show"))


@contextmanager
def _asking_anew() -> Iterator[None]:
    """Ask for the proof that the database wants where require() did not: its clock is the one that counts."""
    try:
        yield
    except ProofTooOld:
        session.require(BILLING)
        raise StepUpRequired(BILLING.name) from None


def _form(form, refusal=None):
    return form_page("billing/billing.html", form, refusal, partial="billing/_form.html")
