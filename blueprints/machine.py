"""/healthz and /readyz: for whatever keeps this process running, and sends it visitors."""

from flask import Blueprint

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
