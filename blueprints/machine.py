"""/healthz: for whatever keeps this process running."""

from flask import Blueprint

bp = Blueprint("machine", __name__)


@bp.get("/healthz")
def healthz():
    """Say that this process answers. It asks nobody else: a restart would not bring Supabase back."""
    return {"status": "ok"}
