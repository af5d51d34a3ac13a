"""What counts as an e-mail address."""

import re

from local_supabase.auth_api.errors import bad_request

INVALID = "Unable to validate email address: invalid format"

# The grammar browsers apply to <input type="email"> (HTML Standard, "valid email address").
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_FORM = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_LONGEST = 255  # users.email


def normalized(email: str | None) -> str:
    """Return the address in lower case.

    Raises:
        Refused: 400 validation_failed if it is missing or none.
    """
    if not email:
        raise bad_request("An email address is required")
    if not is_valid(email):
        raise bad_request(INVALID)
    return email.lower()


def is_valid(email: str) -> bool:
    return len(email) <= _LONGEST and _FORM.fullmatch(email) is not None
