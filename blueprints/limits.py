"""How often one address may try: guessing passwords, codes and links, and sending mails to strangers."""

from flask import current_app
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

# Counted in memory, or in Redis where several processes serve: REDIS_URL. The address is that of the connection, or
# what our own proxies say: TRUSTED_PROXIES.
limiter = Limiter(get_remote_address)


@limiter.request_filter
def _without_limits() -> bool:
    """Whether this app has none. Not RATELIMIT_ENABLED: what the last app says of it holds for all of the process."""
    return not current_app.config["RATE_LIMITS"]


# One count for all that it decorates, so that guessing does not go on at the next page.
limited = limiter.shared_limit(lambda: current_app.config["RATE_LIMITS"], scope="tries", methods=["POST"])

# Every sign-in page asks for a challenge when it opens, so these are many more; they cost a row each.
options_limited = limiter.limit("60 per minute", methods=["POST"])
