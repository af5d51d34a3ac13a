"""/settings/security/log: what happened to one's own account."""

from flask import Blueprint, render_template, request

from auth.assurance import SECURITY
from auth.security_log import MOST_ENTRIES, page_of
from blueprints import session
from blueprints.services import services

bp = Blueprint("security_log", __name__)


@bp.get("/settings/security/log")
def show():
    who = session.require(SECURITY)
    before = request.args.get("before", type=_id)
    log = page_of(services().gateway, who.account.user_id, before=before)
    return render_template("security_log/log.html", log=log, before=before, full=len(log) == MOST_ENTRIES)


def _id(text):
    return min(max(int(text), 0), 2**63 - 1)  # Postgres's bigint
