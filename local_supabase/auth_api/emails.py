"""What counts as an e-mail address."""

import re

INVALID = "Unable to validate email address: invalid format"

# The grammar browsers apply to <input type="email"> (HTML Standard, "valid email address").
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_FORM = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_LONGEST = 255  # users.email


def is_valid(email: str) -> bool:
    return len(email) <= _LONGEST and _FORM.fullmatch(email) is not None
