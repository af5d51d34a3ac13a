"""Where a mail link may lead: the app itself, this machine, and the addresses on the allow list."""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from flask import Request

from local_supabase.platform import Config


def target(config: Config, request: Request) -> str:
    """Return the query's `redirect_to` if it is allowed, else the `Referer` if that is, else the site URL.

    Never an error: a stranger's address in a link must not send a token anywhere but home.
    """
    for wanted in (request.args.get("redirect_to"), request.headers.get("Referer")):
        if wanted and is_allowed(config, wanted):
            return wanted
    return config.site_url


def is_allowed(config: Config, url: str) -> bool:
    """Tell whether `url` is on the site, on a loopback address, or matched whole by the allow list.

    Stricter than upstream where parsers disagree: a backslash, a space, a control character or a user name
    before the host is refused, or `https://site.example@evil.test` is read as the site by one and as
    evil.test by another.
    """
    if re.search(r"[\\\s\x00-\x1f\x7f]", url):
        return False
    try:
        wanted, site = urlsplit(url), urlsplit(config.site_url)
        same_port = wanted.port == site.port
    except ValueError:
        return False
    if "@" in wanted.netloc:
        return False
    host = wanted.hostname or ""
    is_web = wanted.scheme in ("http", "https")
    is_site = (wanted.scheme, host) == (site.scheme, site.hostname)
    if is_web and is_site and (same_port or host == "localhost"):
        return True
    if re.fullmatch(r"[0-9.]*[0-9]|0x[0-9a-f]+", host) or ":" in host:
        return is_web and _is_loopback(host)  # 2130706433 is no address here, though browsers follow it
    return any(_glob(pattern).fullmatch(_without_fragment(wanted)) for pattern in config.redirect_urls)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_fragment(url: SplitResult) -> str:
    return url._replace(fragment="").geturl()


@lru_cache(maxsize=64)
def _glob(pattern: str) -> re.Pattern[str]:
    """`*` stops at a dot or a slash, `**` at nothing, `?` is one character that is neither."""
    wildcards = {"**": ".*", "*": "[^./]*", "?": "[^./]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(wildcards.get(part) or re.escape(part) for part in parts), re.DOTALL)
