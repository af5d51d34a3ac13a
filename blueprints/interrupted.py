"""A request that has to wait for a proof: nothing that was typed is lost, and it is sent again, once (design D5).

There are three ways to the proof and back, and detour() has the same three to whatever else has to come first:
- A link, or a form with nothing typed in it: to the page that asks, and from there to `next`.
- A form of htmx: a <dialog> asks, over the page that keeps the form. static/proof.js then sends it again.
- Any other form: the page that asks carries its fields along, and then shows them with a button that sends them.
"""

from collections.abc import Mapping
from typing import Any

import flask
from flask import Response, current_app, g, make_response, render_template, request, url_for
from flask_wtf.csrf import generate_csrf

from auth.assurance import ACTIONS
from auth.refusals import Refused
from blueprints.destination import destination, here
from blueprints.htmx import (
    is_for_script,
    is_htmx,
    leave_for,
    news,
    page_or_partial,
    part_of_page,
    refusal_page,
    with_news,
)
from blueprints.session import Session, fingerprint

KEPT = "kept."  # begins the names of the fields that are carried along

NOT_TYPED = frozenset(
    {
        "csrf_token",
        "next",
        "action",
        "dialog",
        "factor",
        "code",
        "credential",
        "kind",
        "conditional",
        "replaces",
        "person",
    }
)

Fields = list[tuple[str, str]]


def carried() -> Fields:
    """Return the hidden fields that every form with a proof carries along, from one try to the next."""
    known = [(name, request.values[name]) for name in ("next", "action") if name in request.values]
    # Only of a form of ours: a link must not plant what a button would send.
    return known + [(name, value) for name, value in _fields() if name in ("dialog", "person") or name.startswith(KEPT)]


def ask_first(action: str | None, page: str, template: str, partial: str, context: Mapping[str, Any]) -> Response:
    """Ask for a proof before `action` goes on: with a <dialog>, or on the page at the endpoint `page`."""
    typed = _typed()
    if request.method != "POST" or is_for_script() or not (typed or is_htmx()):
        return leave_for(url_for(page, next=here(), action=action))
    # The address of the form itself, which may have no page.
    carried = [("next", request.path), ("action", action or "")]
    if is_htmx():
        return part_of_page("#proof", partial, 403, **context, carried=[*carried, ("dialog", "1")])
    kept = [(KEPT + name, value) for name, value in typed]
    response = page_or_partial(template, None, **context, carried=[*carried, ("person", _author()), *kept])
    response.status_code = 403
    return response


def go_on(user_id: str, default: str | None = None) -> Response:
    """After the proof of this person: send again what was interrupted, or leave for `default`, or else `next`."""
    if "dialog" in request.form:
        return news("proven", csrf_token=generate_csrf(), person=fingerprint(user_id))
    if kept := _kept(fingerprint(user_id)):
        return _again(kept, destination(), action=ACTIONS.get(request.form.get("action", "")))
    return leave_for(default or destination())


def detour(url: str, sentence: str, way: str) -> Response:
    """Lead to `url`, where something else has to be done first. Where a form has to stay, a link says `way`."""
    if request.method != "POST" or is_for_script() or not _typed():
        return leave_for(url)
    refusal, first = Refused(sentence, status=403), {"url": url, "way": way}
    if is_htmx():
        return refusal_page(refusal, first=first)
    return _again(_typed(), request.path, refusal, first=first)


def with_a_stale_token(who: Session | None) -> Response:
    """Answer a form whose CSRF token is of an earlier session: what was typed stays, and can be sent again.

    A form that was to prove something may not be needed any more, as it was proven in another tab.
    """
    refusal = Refused("This page had been open for too long, or you signed in or out in another tab.", status=400)
    proves = request.blueprint in ("step_up", "login") and request.endpoint != "login.destroy"
    fields, path = (_kept(who and who.fingerprint), destination()) if proves else (_typed(), request.path)
    way_on = {"go_on_at": destination()} if who and proves else {}
    if is_htmx():
        if way_on and "dialog" in request.form:  # the form that waits finds out
            return go_on(who.account.user_id)
        again = "" if way_on else " Nothing is lost: please send it again."
        response = refusal_page(Refused(refusal.sentence + again, status=400), **way_on)
        return with_news(response, "csrf", csrf_token=generate_csrf())
    # Only what this site sent: another's could hold anything, and a button under it.
    if fields and not is_for_script() and request.headers.get("Origin") == current_app.config["PUBLIC_URL"]:
        return _again(fields, path, refusal)
    return refusal_page(refusal, **(way_on or {"retry_at": here()}))


def _again(fields: Fields, path: str, refusal: Refused | None = None, **context: Any) -> Response:
    shown = dict(reversed(fields)).items()  # the first of a name counts
    page = render_template("again.html", fields=fields, shown=shown, path=path, refusal=refusal, **context)
    return make_response(page, refusal.status if refusal else 200)


def _author() -> str:
    """Who wrote the form, as fingerprint() has it, or nothing: Flask's session remembers it when theirs has ended."""
    who = g.get("who")
    return who.fingerprint if who else str(flask.session.get("person", ""))


def _kept(reader: str | None) -> Fields:
    """What the page that asked has carried along: for its author's eyes, on a device that several people use."""
    if reader and request.form.get("person") not in (None, "", reader):
        return []
    return [(name.removeprefix(KEPT), value) for name, value in _fields() if name.startswith(KEPT)]


def _typed() -> Fields:
    """What the person wrote, or chose. Not secrets, which do not belong into a page, nor what belongs to a proof."""
    return [
        (name, value)
        for name, value in _fields()
        if name not in NOT_TYPED and "password" not in name and not name.startswith(KEPT)
    ]


def _fields() -> Fields:
    return list(request.form.items(multi=True))
