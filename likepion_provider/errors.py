"""Every failure, one class for each thing to do about it.

.. code-block:: text

    LikepionError
      Transient            try again later          (refused, timed out on a read, 5xx)
        TooManyRequests      try again later        (429)
        VisitTooLong         try again later        (the site took all the time that a visit has)
      OutcomeUnknown       do not send again        (a write whose answer was lost or unreadable)
      Rejected             do not retry             (other 4xx, ``success: false``)
        NotAuthorised        fix the connection     (401, 403)
      LeaseLost            drop the account         (lapsed, or taken over by a later attempt)
      FeedInvalid          skip this post, report
        FeedLocked           ask the feed's owner   (``podcast:locked``)
      PlatformError        skip this account, report
        LoginRefused         fix the account's credentials
        LastingTrouble       look for yourself      (passing trouble that has not passed for a day)
        NeedsVerification    a person must act
        PlatformChanged      the importer is stale
        VisitTooLarge        the site has no end    (pages, requests or bytes beyond a visit's bounds)
        NoImporter           no importer serves the domain
      JournalUnusable      fix the journal's connection
      NotJournaled         skip this account, report: the journal does not take its values
      BadRequest           fix what the caller passed

The message of every error is one line for the person who reads the log, ends with what to do, and holds no secret.
What follows from an error, for the account that it ends and for the links that it stops, is said by its class.
"""

from __future__ import annotations

from typing import Any, ClassVar

from likepion_provider.masking import clean
from likepion_provider.models import ImportState, LinkState, Outcome


class LikepionError(Exception):
    """Base of every error this package raises on purpose."""

    #: What the reader of a report should do; one imperative sentence.
    remedy = "Read the message and the task's log."
    #: What a run reports of an account that it ends.
    outcome: ClassVar[Outcome] = Outcome.FAILED
    #: What the journal files of the account's import; None leaves what is known, since the error says nothing of it.
    import_state: ClassVar[ImportState | None] = ImportState.FAILED
    #: Whether it counts as a failure of the account's own that does not pass by itself.
    is_permanent: ClassVar[bool] = False
    #: What it makes of links whose insert it ended.
    link_state: ClassVar[LinkState] = LinkState.UNKNOWN
    #: Whether it ends the whole batch: no other account could be worked either.
    ends_batch: ClassVar[bool] = False
    #: Whether Airflow's own retries may help.
    is_retried: ClassVar[bool] = False
    #: How long the other side asked to wait, in seconds; None where it did not say.
    retry_after_s: float | None = None

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        # A stranger's words can be in it, which go into logs, XCom, the journal and to people.
        message = clean(message)
        super().__init__(message)
        self.message = message
        if remedy is not None:
            self.remedy = clean(remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: subclasses have keyword-only arguments."""
        return _rebuild, (type(self), self.__dict__)

    def __str__(self) -> str:
        return self.message

    @property
    def advice(self) -> str:
        """The message and the remedy in one line."""
        return f"{self.message.rstrip('.')}. {self.remedy}"


def _rebuild(cls: type[LikepionError], state: dict[str, Any]) -> LikepionError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class Transient(LikepionError):
    """Try again later: nothing took effect, or repeating does no harm.

    :param retry_after_s: how long the other side asked to wait, in seconds; None where it did not say.
    """

    remedy = "Nothing to do: it is tried again by itself."
    outcome = Outcome.WAITING
    import_state = None
    link_state = LinkState.PREPARED
    is_retried = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class TooManyRequests(Transient):
    """The other side takes no more requests for now (429)."""


class VisitTooLong(Transient):
    """Try again later: the site took all the time that one visit has, which ends before the account's claim does."""

    remedy = "Nothing to do: a later run goes on. If it is always so, ask the site's operator why it is that slow."


class OutcomeUnknown(LikepionError):
    """Do not send again: the request may have taken effect, but its answer was lost or cannot be read."""

    remedy = (
        "Do not send it again by hand: a later pull settles it. If it is still unknown after an hour, look whether the "
        "manager has it, and say so on the board."
    )


class Rejected(LikepionError):
    """Do not retry as it is: the server understood and refused.

    :param status: the HTTP status; 200 where the body said ``success: false``.
    :param server_message: the server's own words, shortened.
    """

    remedy = "Read the server's message, correct what it names and run again."
    link_state = LinkState.REFUSED

    def __init__(self, message: str, *, status: int, server_message: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.server_message = clean(server_message)


class NotAuthorised(Rejected):
    """Fix the connection: the API key is missing, wrong or not allowed to do this (401, 403)."""

    remedy = "Put the manager's API key into the password field of the Airflow connection."
    link_state = LinkState.PREPARED
    ends_batch = True


class LeaseLost(LikepionError):
    """Drop the account: its claim lapsed by our own clock, or a later attempt has taken it over."""

    remedy = "Nothing to do: a later run takes the account again and goes on where this one stopped."
    outcome = Outcome.LEASE_LOST
    import_state = None
    link_state = LinkState.PREPARED


class FeedInvalid(LikepionError):
    """Skip the post and report it: its feed cannot serve any account.

    :param url: the feed's URL, already redacted.
    :param where: the place in the feed or the step of the fetch, e.g. ``redirect 2`` or ``item 3, enclosure``.
    """

    remedy = "Open the feed in a validator, correct it at the primary site and run again."

    def __init__(self, message: str, *, url: str, where: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.url = clean(url)
        self.where = clean(where)


class FeedLocked(FeedInvalid):
    """Ask the owner: the feed says ``podcast:locked``, so nobody else may import it."""

    remedy = "Ask the podcast's owner to unlock the feed at its host, or to name this account's address as owner."
    import_state = ImportState.LOCKED
    is_permanent = True


class PlatformError(LikepionError):
    """Skip the account and report it: its platform refused or failed for good.

    :param platform: the importer's name.
    """

    remedy = "Read the platform's message; sign in there with the account's credentials to see more."
    is_permanent = True

    def __init__(self, message: str, *, platform: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.platform = platform


class LoginRefused(PlatformError):
    """Fix the account: the platform does not accept its credentials."""

    remedy = "Correct the account's password, TOTP secret or key in the manager, then run the account again."


class LastingTrouble(PlatformError):
    """Look for yourself: what passes by itself has not passed for a day."""

    remedy = "Look whether the address is right, in the platform's connection too, and whether it can be reached."
    import_state = None
    is_permanent = False


class NeedsVerification(PlatformError):
    """A person must act on the platform; ``remedy`` says exactly what."""

    remedy = "Sign in to the platform and finish the import by hand; a later run collects the links."
    outcome = Outcome.NEEDS_PERSON
    import_state = ImportState.NEEDS_VERIFICATION
    is_permanent = False


class PlatformChanged(PlatformError):
    """The importer is stale: the platform's page or answer no longer has what it had.

    :param url: the address whose answer differs, without query.
    :param field: the field or element that is missing.
    """

    remedy = "Update airflow-provider-likepion or the importer's package; report it if it is the newest."

    def __init__(self, message: str, *, platform: str, url: str, field: str, remedy: str | None = None) -> None:
        super().__init__(message, platform=platform, remedy=remedy)
        self.url = clean(url)
        self.field = clean(field)


class VisitTooLarge(PlatformError):
    """The site has no end: it wants more pages, requests or bytes than one visit may cost."""

    remedy = "Look at the site: its lists go on for ever, or hold far more than one podcast. Tell its operator."


class NoImporter(PlatformError):
    """No importer serves the account's domain.

    :param domain: the domain as the manager names it.
    """

    remedy = "Install an importer for the domain or write a recipe: see docs/guides/add-a-platform.md."

    def __init__(self, domain: str, *, hint: str = "") -> None:
        super().__init__(f"no importer serves the domain {domain!r}" + (f" ({hint})" if hint else ""))
        self.domain = clean(domain)


class JournalUnusable(LikepionError):
    """Fix the journal: it cannot be reached, or must not be used as it is configured."""

    remedy = "Set the Airflow connection likepion_journal to a PostgreSQL database that every worker reaches."
    ends_batch = True
    is_retried = True


class NotJournaled(LikepionError):
    """Skip this account and report it: the journal does not take one of its values; others' are not touched."""

    remedy = "Report it with the task's log: every value should have been checked or cut before it came there."
    import_state = None


class BadRequest(LikepionError):
    """Fix what the caller passed: a parameter, an id or an option is out of its bounds."""

    remedy = "Correct the parameter and run again."
    link_state = LinkState.PREPARED
