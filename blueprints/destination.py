"""Where to go after a detour through sign-in or a challenge: only ever a path on this site."""

import re

from flask import current_app, request, url_for

# A path, and nothing a browser could read as another site: //evil.test, /\evil.test, or a tab in between.
LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


def destination(default: str = "account.show") -> str:
    """Return the `next` that the request carries, or the page at the endpoint `default`."""
    wanted = request.values.get("next", "")
    return wanted if LOCAL_PATH.fullmatch(wanted) else url_for(default)


def here() -> str:
    """Return the path to come back to. What was posted to an address that has no page resumes at the one above it."""
    adapter = current_app.create_url_adapter(request)
    if adapter is None or adapter.test(request.path, "GET"):
        return request.full_path.rstrip("?")
    path = request.path
    while path and not adapter.test(path, "GET"):
        path = path.rpartition("/")[0]
    return path or url_for("account.show")
