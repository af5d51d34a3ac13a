"""The mails that would have been sent, readable and clickable: the stack sends none."""

import json
import re
from html import unescape
from typing import Any

from flask import Blueprint, Response, abort, render_template, request
from psycopg import Connection
from psycopg.rows import DictRow

from local_supabase.platform import Platform

NEWEST = 200  # mails listed at most

# A mail is somebody else's HTML: it runs no script, loads nothing, and lives in a frame with an origin of its own.
_MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline';"
    " img-src data:; form-action 'none'; frame-ancestors 'self'"
)
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def post(connection: Connection[DictRow], *, to: str, subject: str, html: str, kind: str) -> None:
    """Put a mail into the mailbox within the caller's transaction: it is undone with what it tells about."""
    connection.execute(
        'insert into mailbox.mails ("to", subject, html, kind) values (%s, %s, %s, %s)', (to, subject, html, kind)
    )


def blueprint(platform: Platform) -> Blueprint:
    """Return the pages, to be mounted at /mailbox."""
    mailbox = Blueprint("mailbox", __name__, template_folder="templates")

    @mailbox.get("/", strict_slashes=False)
    def index() -> Response:
        to = request.args.get("to")
        return _page("mailbox.html", mails=_mails(platform, to), to=to)

    @mailbox.get("/<int:mail_id>")
    def read(mail_id: int) -> Response:
        return _page("mailbox_mail.html", mail=_mail(platform, mail_id))

    @mailbox.get("/<int:mail_id>/body")
    def body(mail_id: int) -> Response:
        # <base>: a link opened inside the frame would leave the reader without a way back.
        html = '<!doctype html><base target="_blank">' + _mail(platform, mail_id)["html"]
        return _guarded(Response(html, mimetype="text/html"), _MAIL_POLICY)

    @mailbox.get("/messages.json")
    def messages() -> Response:
        listed = [_message(mail) for mail in _mails(platform, request.args.get("to"))]
        return Response(json.dumps(listed), mimetype="application/json", headers={"Cache-Control": "no-store"})

    @mailbox.get("/mailbox.css")
    def style() -> Response:
        return Response(render_template("mailbox.css"), mimetype="text/css")

    return mailbox


def _mails(platform: Platform, to: str | None) -> list[DictRow]:
    with platform.auth_pool.connection() as connection:
        return connection.execute(
            'select * from mailbox.mails where %(to)s::text is null or "to" = lower(%(to)s)'
            " order by id desc limit %(newest)s",
            {"to": to or None, "newest": NEWEST},
        ).fetchall()


def _mail(platform: Platform, mail_id: int) -> DictRow:
    with platform.auth_pool.connection() as connection:
        mail = connection.execute("select * from mailbox.mails where id = %s", (mail_id,)).fetchone()
    return mail or abort(404)


def _message(mail: DictRow) -> dict[str, Any]:
    links = [unescape(address) for address in re.findall(r'href="(https?://[^"]*)"', mail["html"])]
    return {**mail, "links": links, "created_at": mail["created_at"].isoformat()}


def _page(template: str, **values: Any) -> Response:
    return _guarded(Response(render_template(template, **values), mimetype="text/html"), _PAGE_POLICY)


def _guarded(response: Response, policy: str) -> Response:
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"  # the address of a mail is nobody's business
    response.headers["Cache-Control"] = "no-store"
    return response
