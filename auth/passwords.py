"""Which new passwords are refused: short ones, and those that guessing programs try first."""

from zxcvbn import zxcvbn

from auth.refusals import WeakPassword

MIN_LENGTH = 10
MAX_BYTES = 72  # bcrypt, which Supabase stores passwords with, ignores what comes after
EASY_SCORE = 1  # zxcvbn's scale of 0 to 4: up to here a guessing program needs fewer than a million tries


def check(password: str, *, email: str, app_name: str) -> None:
    """Raise WeakPassword with a sentence, or return.

    Common passwords and words, names, dates, keyboard rows, and the person's own address count as easy. There are
    no rules about digits or capitals, and no expiry: NIST 800-63B-4 3.1.1.2.
    """
    if len(password) < MIN_LENGTH:
        raise WeakPassword(f"Use at least {MIN_LENGTH} characters.")
    if len(password.encode()) > MAX_BYTES:
        raise WeakPassword(f"Use at most {MAX_BYTES} characters (fewer with accents or emoji).")
    known = [email, email.partition("@")[0], *email.replace("@", " ").replace(".", " ").split(), app_name]
    if zxcvbn(password, user_inputs=known, max_length=MAX_BYTES)["score"] <= EASY_SCORE:
        raise WeakPassword("This is one of the first passwords a guessing program tries. Choose another one.")
