"""Reading what a mail carries."""

import re
from collections.abc import Mapping
from typing import Any


def token_hash(mail: Mapping[str, Any]) -> str:
    """What the link in a mail is verified by."""
    found = re.search(r"token(?:_hash)?=((?:pkce_)?[0-9a-f]{56})", mail["html"])
    assert found, mail
    return found[1]
