"""Answers that take the same time whoever they are about.

The work for a known address differs from that for an unknown one (a mail is written, a commit reaches the disk) by
little, but by more than the noise of a few hundred requests: enough to ask who has an account here.
"""

import time
from collections.abc import Callable
from typing import Any

from flask import Response

from local_supabase.auth_api import mail_requests, passwords, sessions, sign_up
from local_supabase.platform import Config

# Both floors are well above what the work takes, so that only a busy machine answers later, where noise hides the rest.
QUICK_SECONDS = 0.025
_QUICK = (mail_requests.recover, mail_requests.resend)
_WITH_HASH = (mail_requests.otp, mail_requests.magic_link, sign_up.sign_up)


def with_hash_seconds(config: Config) -> float:
    return 2 * passwords.hash_seconds(config)


def wait(config: Config, handler: Callable[..., Any], response: Response, *, since: float) -> None:
    """Return when the answer may leave; `since` is time.monotonic() of when the request came in."""
    if handler is sessions.grant and response.headers.get("x-sb-error-code") == "invalid_credentials":
        at_least = with_hash_seconds(config)  # all others here have nothing to hide, or say it in so many words
    elif response.status_code in (400, 429):
        at_least = 0.0  # refused before anybody was looked for, or in so many words
    elif handler in _WITH_HASH:
        at_least = with_hash_seconds(config)
    else:
        at_least = QUICK_SECONDS if handler in _QUICK else 0.0
    time.sleep(max(0.0, since + at_least - time.monotonic()))
