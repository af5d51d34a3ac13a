"""Answers for htmx and for plain browsers: the only reader and writer of HX-* headers."""

import json
from typing import Any

from flask import Response, make_response, redirect, render_template, request
from flask_wtf import FlaskForm
from werkzeug.urls import iri_to_uri

from auth.refusals import Refused


def is_htmx() -> bool:
    return "HX-Request" in request.headers  # browsers let no other site send this header


def page_or_partial(page: str, partial: str | None, **context: Any) -> Response:
    """Render the whole page, or only `partial`, the part that htmx swaps, when htmx asks."""
    template = partial if partial and is_htmx() else page
    response = make_response(render_template(template, **context))
    response.headers["Vary"] = "HX-Request"
    return response


def form_page(
    page: str, form: FlaskForm, refusal: Refused | None = None, *, partial: str | None = None, **context: Any
) -> Response:
    """Render a form: 422 when a field is not as it should be, else with the status of the refusal.

    Whoever only looks at a page was refused nothing, though it may say what would be.
    """
    response = page_or_partial(page, partial, form=form, refusal=refusal, **context)
    if request.method == "POST":
        response.status_code = refusal.status if refusal else 422 if form.errors else 200
    return _with_retry_after(response, refusal)


def leave_for(path: str) -> Response:
    """Go to another page of ours by full navigation. htmx would follow a 303 itself and put the page into the form."""
    if is_htmx():
        return _only_headers({"HX-Redirect": iri_to_uri(path)})  # headers are ASCII, and `next` may be anything
    if is_for_script():
        return make_response({"location": path}, 401)
    return make_response(redirect(path, 303))


def part_of_page(where: str, template: str, status: int, **context: Any) -> Response:
    """Render what is to stand in the element `where`, which need not be the one that the form of htmx names."""
    response = make_response(render_template(template, **context), status)
    response.headers["HX-Retarget"] = where
    response.headers["HX-Reswap"] = "innerHTML"
    response.headers["Vary"] = "HX-Request"
    return response


def news(event: str, **detail: str) -> Response:
    """Leave the page as it is, and let its scripts hear of `event`."""
    return _only_headers(_trigger(event, detail))


def with_news(response: Response, event: str, **detail: str) -> Response:
    """Let the page's scripts hear of `event` beside the answer."""
    response.headers.update(_trigger(event, detail))
    return response


def _trigger(event: str, detail: dict[str, str]) -> dict[str, str]:
    return {"HX-Trigger": json.dumps({event: detail})}


def _only_headers(headers: dict[str, str]) -> Response:
    response = Response(status=204, headers=headers)
    del response.headers["Content-Type"]  # there is no content
    return response


def refusal_page(refusal: Refused, **context: Any) -> Response:
    """Say why a request was refused, on a page of its own. With htmx above the form, which keeps what was typed."""
    if is_for_script():
        again = " Load the page and try again." if "retry_at" in context else ""
        response = make_response({"error": refusal.sentence + again})
    elif is_htmx():
        # A dialog covers the page, so it has a place of its own.
        where = "#proof-notice" if "dialog" in request.form else "#notice"
        response = part_of_page(where, "_refusal.html", refusal.status, refusal=refusal, **context)
    else:
        response = make_response(render_template("error.html", refusal=refusal, **context))
    response.status_code = refusal.status
    response.headers["Vary"] = "HX-Request"
    return _with_retry_after(response, refusal)


def is_for_script() -> bool:
    """Whether static/passkeys.js asks, which goes to the location itself, or says the error beside its button."""
    return bool(request.accept_mimetypes.best == "application/json")


def _with_retry_after(response: Response, refusal: Refused | None) -> Response:
    if refusal and refusal.retry_after:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response
