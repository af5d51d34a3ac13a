"""Fields that several forms share, and what people may type into them."""

from collections.abc import Callable
from typing import Any

from flask import current_app
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField, ValidationError
from wtforms.validators import DataRequired, Length, Regexp

from auth import passwords
from auth.recovery_codes import is_code, normalised
from auth.refusals import WeakPassword


class ButtonForm(FlaskForm):
    """A button that changes something: nothing to type, but a CSRF token."""


def email_field(*extra: object, label: str = "Email", autocomplete: str = "username") -> StringField:
    return StringField(
        label,
        filters=[lambda text: text.strip() if text else text],
        validators=[DataRequired("Enter your email address."), Length(max=255), *extra],
        render_kw={"autocomplete": autocomplete, "type": "email", "autocapitalize": "none", "spellcheck": "false"},
    )


def new_password_field(label: str, email_of: Callable[[Any], str]) -> PasswordField:
    def check(form: Any, field: PasswordField) -> None:
        try:
            passwords.check(field.data, email=email_of(form) or "", app_name=current_app.config["NAME"])
        except WeakPassword as refusal:
            raise ValidationError(refusal.sentence) from refusal

    return PasswordField(
        label,
        description=f"At least {passwords.MIN_LENGTH} characters, and nothing common: a few random words are easy to "
        "remember and hard to guess. You can paste it from a password manager.",
        validators=[DataRequired("Choose a password."), check],
        render_kw={"autocomplete": "new-password", "minlength": passwords.MIN_LENGTH},
    )


def code_field() -> StringField:
    return StringField(
        "6-digit code",
        filters=[lambda text: "".join(text.split()) if text else text],  # apps show 123 456
        validators=[DataRequired("Enter the code."), Regexp(r"[0-9]{6}\Z", message="A code has 6 digits.")],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "maxlength": 12, "autofocus": True},
    )


def recovery_code_field(label: str = "Recovery code") -> StringField:
    def check(form: Any, field: StringField) -> None:
        if len(field.data) == 6 and field.data.isdigit():
            raise ValidationError("That looks like a code from an authenticator app. Recovery codes are longer.")
        if not is_code(field.data):
            raise ValidationError("That is no recovery code: they look like ABCD-1234, or twice as long.")

    return StringField(
        label,
        id="recovery-code",  # beside the other kind of code it needs one of its own
        filters=[lambda text: normalised(text) if text else text],
        validators=[DataRequired("Enter the code."), check],
        # No pattern and no numeric keyboard: peers have locked people out with them.
        render_kw={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false", "maxlength": 40},
    )
