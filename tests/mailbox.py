"""Reading the mails that the embedded Supabase would have sent."""

import os
from typing import Any

import httpx

from tests.stranger import TLS


def mails_to(address: str) -> list[dict[str, Any]]:
    """Newest first."""
    answer = httpx.get(f"{os.environ['MAILBOX_URL']}/messages.json", params={"to": address}, verify=TLS)
    mails: list[dict[str, Any]] = answer.raise_for_status().json()
    return mails


def link_to(address: str, path: str) -> str:
    """Return path and query of the newest link to a page of the app that starts with `path`."""
    links = [link for mail in mails_to(address) for link in mail["links"] if path in link]
    return links[0][links[0].index(path) :]
