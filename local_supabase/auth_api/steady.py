"""Answers that take the same time whoever they are about.

The work for a known address differs from that for an unknown one (a mail is written, a commit reaches the disk) by
little, but by more than the noise of a few hundred requests: enough to ask who has an account here.
"""

import time
from collections.abc import Callable
from typing import Any

from flask import Response

from local_supabase.auth_api import mail_requests, passwords, sessions, sign_up

# Each well above what the work takes, so that only a busy machine answers later, where noise hides the rest.
QUICK_SECONDS = 0.025
WITH_HASH_SECONDS = 2 * passwords.HASH_SECONDS

_AT_LEAST: dict[Callable[..., Any], float] = {
    mail_requests.recover: QUICK_SECONDS,
    mail_requests.resend: QUICK_SECONDS,
    mail_requests.otp: WITH_HASH_SECONDS,
    mail_requests.magic_link: WITH_HASH_SECONDS,
    sign_up.sign_up: WITH_HASH_SECONDS,
}


def wait(handler: Callable[..., Any], response: Response, *, since: float) -> None:
    """Return when the answer may leave; `since` is time.monotonic() of when the request came in."""
    if handler is sessions.grant and response.headers.get("x-sb-error-code") == "invalid_credentials":
        at_least = WITH_HASH_SECONDS  # all others of this endpoint have nothing to hide, or say it in so many words
    elif response.status_code in (400, 429):
        at_least = 0.0  # refused before anybody was looked for, or in so many words
    else:
        at_least = _AT_LEAST.get(handler, 0.0)
    time.sleep(max(0.0, since + at_least - time.monotonic()))
