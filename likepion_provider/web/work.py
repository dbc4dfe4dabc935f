"""How much may be done with one answer of a stranger on the event loop: every account of the batch waits meanwhile."""

from __future__ import annotations

from collections.abc import Callable

#: Steps that one page may cost: a look at an element, a value or some hundred characters. Each takes about 1 us.
MAX_STEPS = 1_000_000
#: No text of a stranger is given to a regular expression or a reader of dates beyond this.
MAX_TEXT_CHARS = 100_000
#: Characters that cost a step.
CHARS_PER_STEP = 100


class TooMuch(ValueError):
    """A page costs more than its bounds allow; the words say what it should have been."""


class Work:
    """What is left of a page's steps.

    :param exceeded: makes the error for a page that lacks what the words say.
    """

    def __init__(self, exceeded: Callable[[str], Exception] = TooMuch) -> None:
        self._exceeded = exceeded
        self._left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take steps off what is left.

        :raises Exception: as ``exceeded`` makes it, where there are not so many.
        """
        self._left -= steps
        if self._left < 0:
            raise self.refuse(f"what is looked for within {MAX_STEPS} steps")

    def refuse(self, words: str) -> Exception:
        """The error for a page that is not as the words say."""
        return self._exceeded(words)


def cut(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """A stranger's text as far as it is read, in characters. It goes before any expression that sees the text."""
    return text[:most]
