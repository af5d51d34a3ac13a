"""Addresses for machines: /healthz and /readyz for whatever runs this, /.well-known for browsers."""

from flask import Blueprint, abort, current_app, redirect, url_for

from blueprints.services import services

bp = Blueprint("machine", __name__)


@bp.get("/healthz")
def healthz():
    """Say that this process answers. It asks nobody else: a restart would not bring Supabase back."""
    return {"status": "ok"}


@bp.get("/readyz")
def readyz():
    """Say whether people can be served, and what is away if not."""
    away = services().gateway.away()
    return {"status": "unavailable" if away else "ok", "away": away}, 503 if away else 200


@bp.get("/.well-known/change-password")
def change_password():
    return redirect(url_for("password.change"))


@bp.get("/.well-known/passkey-endpoints")
def passkey_endpoints():
    """Where password managers send people to add and manage passkeys (W3C passkey endpoints)."""
    page = current_app.config["PUBLIC_URL"] + url_for("passkeys.show")
    return {"enroll": page, "manage": page}


@bp.get("/.well-known/webauthn")
def related_origins():
    """Other sites of ours that may use our passkeys (WebAuthn 5.11). Without any, browsers expect a 404."""
    origins = current_app.config["RELATED_ORIGINS"]
    return {"origins": origins} if origins else abort(404)
