"""Fields that several forms share, and what people may type into them."""

from wtforms import PasswordField, StringField, ValidationError
from wtforms.validators import DataRequired, Length, Regexp


def email_field(*extra: object) -> StringField:
    return StringField(
        "Email",
        filters=[lambda text: text.strip() if text else text],
        validators=[DataRequired("Enter your email address."), Length(max=255), *extra],
        render_kw={"autocomplete": "username", "type": "email", "autocapitalize": "none", "spellcheck": "false"},
    )


def new_password_field() -> PasswordField:
    return PasswordField(
        "Password",
        description="At least 10 characters. A few random words are easy to remember and hard to guess.",
        validators=[DataRequired("Choose a password."), Length(min=10, message="Use at least 10 characters."), _fits],
        render_kw={"autocomplete": "new-password", "minlength": 10},
    )


def code_field() -> StringField:
    return StringField(
        "6-digit code",
        filters=[lambda text: "".join(text.split()) if text else text],  # apps show 123 456
        validators=[DataRequired("Enter the code."), Regexp(r"[0-9]{6}\Z", message="A code has 6 digits.")],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "maxlength": 12, "autofocus": True},
    )


def _fits(_form: object, field: PasswordField) -> None:
    # bcrypt, which Supabase stores passwords with, ignores what comes after 72 bytes: the rest would not protect.
    if len((field.data or "").encode()) > 72:
        raise ValidationError("Use at most 72 characters (fewer with accents or emoji).")
