"""Pages of the admin lists: `page` and `per_page` in, X-Total-Count and Link out."""

import math
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from local_supabase.auth_api.call import Call
from local_supabase.auth_api.errors import bad_request

DEFAULT_SIZE = 50


@dataclass(frozen=True)
class Page:
    number: int  # from 1
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    def headers(self, call: Call, total: int) -> dict[str, str]:
        """Return the headers of a list of which there are `total` entries."""
        last = math.ceil(total / self.size)
        links = [_link(call, self.number + 1, "next")] if self.number < last else []
        return {"X-Total-Count": str(total), "Link": ", ".join([*links, _link(call, last, "last")])}


def asked(call: Call) -> Page:
    """Return the page the query asks for; the client sends empty values for "none".

    Raises:
        Refused: 400 validation_failed.
    """
    return Page(_positive(call, "page", 1), _positive(call, "per_page", DEFAULT_SIZE))


def _positive(call: Call, name: str, default: int) -> int:
    text = call.request.args.get(name) or str(default)
    if not re.fullmatch(r"[1-9]\d{0,8}", text):  # upstream takes 0 too, and divides by it
        raise bad_request(f"Bad Pagination Parameters: {name} {text!r}")
    return int(text)


def _link(call: Call, page: int, relation: str) -> str:
    query = urlencode({**call.request.args, "page": page})
    # The path as Supabase Auth sees it behind its gateway.
    return f'<{call.request.path.removeprefix("/auth/v1")}?{query}>; rel="{relation}"'
