"""One visit of an account's importer to its site: a submit, or a look; and what it may cost in all."""

from __future__ import annotations

import dataclasses
import time

from likepion_provider.errors import VisitTooLarge, VisitTooLong


@dataclasses.dataclass(frozen=True)
class VisitLimits:
    """What one visit may cost.

    :param seconds: of time, but for that spent behind other accounts; shorter than a claim, so that a site cannot
        outwait it.
    :param requests: sent, redirects and logins too.
    :param pages: of lists.
    :param page_bytes: of one answer, inflated.
    :param total_bytes: of all answers, inflated.
    """

    seconds: float = 600.0
    requests: int = 2_000
    pages: int = 500
    page_bytes: int = 16 * 1024 * 1024
    total_bytes: int = 128 * 1024 * 1024


class Visit:
    """Counts what a visit has cost so far; whatever costs something asks here first.

    :param platform: the importer's name.
    """

    def __init__(self, platform: str, limits: VisitLimits) -> None:
        self._platform = platform
        self._limits = limits
        self._ends_s = time.monotonic() + limits.seconds
        self._requests = self._pages = self._bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._ends_s

    def remaining_s(self) -> float:
        """The seconds that are left.

        :raises VisitTooLong: none.
        """
        if self.is_over:
            raise self.too_long()
        return self._ends_s - time.monotonic()

    def has_waited(self, seconds: float) -> None:
        """Give back the time that was spent behind others: where accounts crowd at a site, none would finish."""
        self._ends_s += seconds

    def too_long(self) -> VisitTooLong:
        """The error for a visit whose time is up."""
        return VisitTooLong(
            f"{self._platform}: the site takes more than {self._limits.seconds:.0f} seconds for a visit"
        )

    def count_request(self) -> None:
        """To be called before each request.

        :raises VisitTooLarge: it would be one too many.
        """
        self._requests += 1
        if self._requests > self._limits.requests:
            raise self._too_large(f"more than {self._limits.requests} requests")

    def count_page(self) -> None:
        """To be called before each page of a list.

        :raises VisitTooLarge: it would be one too many.
        """
        self._pages += 1
        if self._pages > self._limits.pages:
            raise self._too_large(f"lists of more than {self._limits.pages} pages")

    def count_bytes(self, count: int, page_bytes: int) -> None:
        """To be called for each piece of an answer.

        :param page_bytes: of this answer so far.
        :raises VisitTooLarge: the answer, or all of them, are too large.
        """
        self._bytes += count
        if page_bytes > self._limits.page_bytes:
            raise self._too_large(f"a page of more than {self._limits.page_bytes} bytes")
        if self._bytes > self._limits.total_bytes:
            raise self._too_large(f"more than {self._limits.total_bytes} bytes")

    def _too_large(self, what: str) -> VisitTooLarge:
        return VisitTooLarge(f"{self._platform}: the site has {what} for one visit", platform=self._platform)
