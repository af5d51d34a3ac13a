"""Every way a step can say no: an exception with its sentence and its HTTP status."""


class Refused(Exception):
    """A step was refused for a reason the person can be told. `sentence` is shown as it is."""

    sentence = "That did not work. Please try again."
    status = 422
    retry_after: int | None = None  # seconds, where waiting helps

    def __init__(self, sentence: str | None = None, *, status: int | None = None) -> None:
        self.sentence = sentence or self.sentence
        self.status = status or self.status
        super().__init__(self.sentence)


class WrongCredentials(Refused):
    """Unknown address, wrong password, banned: one sentence, or it would tell who has an account."""

    sentence = "Email or password is incorrect."


class NotConfirmed(Refused):
    """Right password, but the address was never confirmed. Supabase says so only after a right password."""

    sentence = "Please confirm your email first: open the link in the mail we sent you."


class WeakPassword(Refused):
    sentence = "This password is too easy to guess. Choose a longer one."


class SamePassword(Refused):
    sentence = "That is the password you have already. Choose a new one."


class EmailTaken(Refused):
    sentence = "This address cannot be used. Choose another one."


class NoSuchAccount(Refused):
    """Whoever shows it tells who has an account."""


class SignUpClosed(Refused):
    sentence = "New accounts cannot be made at the moment."
    status = 403


class LinkExpired(Refused):
    sentence = "This link has expired or was used before."


class TooManyRequests(Refused):
    sentence = "Too many tries in a short time. Please wait a minute and try again."
    status = 429
    retry_after = 60


class MailJustSent(TooManyRequests):
    """Supabase says so only about addresses it knows: whoever shows it tells who has an account."""


class WrongCode(Refused):
    sentence = "That code is not right. Check that your phone shows the right time."

    def __init__(self, *, attempts_remaining: int | None = None) -> None:
        left = {None: "", 1: " One try is left."}.get(attempts_remaining, f" {attempts_remaining} tries are left.")
        super().__init__(self.sentence + left)


class WrongRecoveryCode(WrongCode):
    sentence = "That recovery code is not right. Compare it with your sheet."


class CodeSpent(Refused):
    """The same code twice. Its own sentence, or honest people think that their app is broken."""

    def __init__(self, *, wait_seconds: int) -> None:
        super().__init__(f"That code was just used. Wait for the next one ({wait_seconds} s).")
        self.retry_after = wait_seconds


class Locked(Refused):
    status = 429
    locked = "Codes"

    def __init__(self, *, retry_after: int) -> None:
        minutes = -(-retry_after // 60)
        unit = "minute" if minutes == 1 else "minutes"
        super().__init__(f"Too many wrong codes. {self.locked} are locked for {minutes} more {unit}.")
        self.retry_after = retry_after


class RecoveryCodesLocked(Locked):
    locked = "Recovery codes"


class Disabled(Refused):
    """The cap of NIST 800-63B-4 3.2.2 is reached: only another kind of proof, or support, ends this."""

    sentence = "Codes from this app are switched off after too many wrong ones. Please contact support."
    status = 403


class RecoveryCodesDisabled(Disabled):
    sentence = "Recovery codes are switched off after too many wrong ones. Use another way, or contact support."


class UsedRecoveryCode(Refused):
    sentence = "That recovery code was used before, and each works once. Use another one of the sheet."


class OldRecoveryCode(Refused):
    """Its sheet was replaced. Only somebody who holds that sheet reads this."""

    def __init__(self, label: int) -> None:
        super().__init__(f"That code is from sheet {label}, which was replaced. Use a code from your newest sheet.")


class ExpiredRecoveryCode(Refused):
    sentence = "That code is from a sheet that is too old to be used. Please contact support."


class CodesChanged(Refused):
    sentence = "Your codes or your apps were changed a moment ago, in another tab perhaps. Please look again."
    status = 409


class FactorsChanged(Refused):
    sentence = "Your ways to sign in were changed a moment ago, in another tab perhaps. Please look again."
    status = 409


class LastFactorNeeded(Refused):
    """Policy wants a second factor of this person."""

    sentence = "You need a second factor here, and this is your last one. It can be removed once you have another one."
    status = 409


class Busy(Refused):
    """All memory that checking codes may take is taken."""

    sentence = "Too many people are entering codes at this moment. Please try again."
    status = 503
    retry_after = 5


class Intercepted(Refused):
    """A stranger with the password took the challenge grant that was made for this attempt.

    `tell` is the address of the owner, if they are to be told by mail as well.
    """

    sentence = (
        "Somebody else who knows your password tried to sign in at this very moment, and we stopped it. "
        "Your code was not used. Change your password as soon as you are signed in."
    )
    status = 429

    def __init__(self, *, tell: str | None) -> None:
        super().__init__()
        self.tell = tell


class TryAgain(Refused):
    sentence = "That did not go through. Please try again with a new code."


class UnknownFactor(Refused):
    sentence = "That authenticator app is not set up any more."
    status = 404


class NameTaken(Refused):
    sentence = "You have an app with that name already. Choose another name."


class TooManyFactors(Refused):
    """No number, as it is ten, or nine beside passkeys."""

    sentence = "Your account has as many authenticator apps as it can have. Remove one you no longer use first."


class EnrolmentGone(Refused):
    sentence = "That set-up was replaced or has expired. Here is where you can start again."
    status = 409


class CeremonyFailed(Refused):
    """One sentence for whatever is wrong with a passkey's response: the details would only help to forge one."""

    sentence = "That passkey could not be checked. Please try again."


class PasskeySuspect(Refused):
    """Its counter went back though the signature is good (WebAuthn 6.1.1): two authenticators hold this key."""

    sentence = "There may be a copy of this passkey, so it is not accepted any more. Use another way, and replace it."
    status = 403


class PasskeyExists(Refused):
    """The credential id is known already. It may be somebody else's, which is not said."""

    sentence = "This passkey cannot be added. Choose another device or security key."


class TooManyPasskeys(Refused):
    sentence = "Twenty is the most passkeys an account can have. Remove one you no longer use first."


class UnknownPasskey(Refused):
    """`credential_id` (base64url) is what the browser offered; it can be told to offer it no more."""

    sentence = "This passkey is not known here any more. Use another one, or your password."
    status = 404

    def __init__(self, credential_id: str) -> None:
        super().__init__()
        self.credential_id = credential_id


class Detour(Exception):
    """Not a refusal: the person has to go somewhere else first, and comes back."""


class SignInRequired(Detour):
    """Nobody is signed in, or the session has ended at Supabase, or freshness wants the password again.

    `action` names what they wanted to do, where that is known: a row of auth/assurance.py.
    """

    def __init__(self, action: str | None = None) -> None:
        self.action = action


class AccountGone(SignInRequired):
    """There is no such account any more, says Supabase."""


class CodesUsedUp(Detour):
    """Signed in with the last recovery code: a new sheet comes before anything else."""


class StepUpRequired(Detour):
    """Signed in, but not as strongly or as freshly as `action` demands."""

    def __init__(self, action: str) -> None:
        self.action = action


class FactorRequired(Detour):
    """`action` takes a second factor, and there is none yet."""

    def __init__(self, action: str) -> None:
        self.action = action


class Denied(Refused):
    """No proof the person could give would help."""

    sentence = "This site is not set up completely, so it cannot let anybody in. Please tell its operator."
    status = 503


class ProofTooOld(Refused):
    """Row-level security has refused what decide() had allowed: its clock is ahead, or the session just changed."""

    sentence = "Please sign out and in again, then try once more."
    status = 403


class NotYours(Refused):
    """For other roles. The role is in the token: whoever was given one a moment ago signs in again."""

    sentence = "This page is for people who look after the site."
    status = 403


class OwnAccount(Refused):
    """Four eyes: whoever takes over an administrator's session must not loosen that account with it."""

    sentence = "This is your own account. Please ask a colleague to do that."
    status = 403


class UnknownPerson(Refused):
    sentence = "There is no such account. It may have been deleted."
    status = 404


class AlreadyDone(Refused):
    sentence = (
        "There is nothing left to do: it was done a moment ago, by a colleague perhaps. This is how things are now."
    )
    status = 409


class EnrolmentClosed(Refused):
    sentence = "Setting up second factors is switched off at the moment. Please ask the operator of this site."
    status = 403


class Unavailable(Refused):
    """Supabase was not reached, or its answer was lost: nobody knows whether it did what it was asked."""

    sentence = "We cannot reach our account service at the moment. Please try again."
    status = 503
    retry_after = 10


class Failed(Unavailable):
    """Supabase answered, with an error of its own: its transaction was rolled back."""


class Rejected(Refused):
    """Supabase refused for a reason that has no sentence of its own. `code` is Supabase's error code."""

    def __init__(self, code: str | None) -> None:
        super().__init__()
        self.code = code
