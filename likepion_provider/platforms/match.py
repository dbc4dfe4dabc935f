"""Which of a platform's shows and episodes are the feed's own."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from likepion_provider.manager.urls import normal_url
from likepion_provider.models import Episode, Feed
from likepion_provider.platforms.base import Job, ListedEpisode

_One = TypeVar("_One", Episode, ListedEpisode)
_ONE_DAY = timedelta(days=1)
#: Episodes that must agree before a show of the feed's title is taken for the feed's.
_WITNESSES = 2


def same_feed(feed: Feed, url: str) -> bool:
    """Whether a URL is the feed's own, or one that it moved to; http and https are one."""
    known = (feed.url, feed.moved_to, feed.new_feed_url)
    return bool(url) and _feed_key(url) in {_feed_key(each) for each in known if each}


def _feed_key(url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "", url, ""
    return parts.netloc.lower(), parts.path.rstrip("/"), parts.query


def enough(job: Job, listed: Sequence[ListedEpisode]) -> bool:
    """Whether every episode wanted is among those listed, so that no further page need be read."""
    wanted = len(job.wanted)
    return wanted == 0 or len(match(job.feed, listed, wanted)) >= wanted


def is_the_feeds(feed: Feed, listed: Sequence[ListedEpisode]) -> bool:
    """Whether a show that is known by its title only is the feed's: two episodes, or the only one, are listed there."""
    pages = {page.url for _, page in match(feed, listed, len(feed.episodes) or 1)}
    return len(pages) >= min(_WITNESSES, len(feed.episodes)) > 0


def plain(title: str) -> str:
    """A title as it is compared: without case, with single spaces."""
    return " ".join(title.casefold().split())


def by_title(feed: Feed) -> dict[str, list[Episode]]:
    """The feed's episodes by their titles, as :func:`plain` has them."""
    found: defaultdict[str, list[Episode]] = defaultdict(list)
    for episode in feed.episodes:
        found[plain(episode.title)].append(episode)
    return dict(found)


def bare_url(url: str) -> str:
    """A media file's URL as it is compared: without scheme and query."""
    return url.split("?")[0].removeprefix("https://").removeprefix("http://")


def match(feed: Feed, listed: Sequence[ListedEpisode], target: int) -> list[tuple[Episode, ListedEpisode]]:
    """The feed's episodes that are listed, each with the page that it has there, in the feed's order.

    A page is the episode's whose guid it has, else whose media file's URL. Weaker clues count only where no stronger
    one contradicts them: the file's URL without parameters that were added or left out, the title with a day beside its
    own, or the title of a page that tells nothing else, where one episode and one page have it; title and day, where as
    many episodes as pages have them. Which of these is whose then makes no difference, as long as it stays so.

    :param listed: of the one show only.
    :param target: at most so many episodes; at least 1.
    """
    ours = [_clues_of(each, each.enclosure.url if each.enclosure else "") for each in feed.episodes]
    theirs = [_clues_of(each, each.enclosure_url) for each in sorted(listed, key=lambda page: page.url) if each.url]
    found: dict[str, ListedEpisode] = {}
    _pair_strong(ours, theirs, lambda clues: clues.guid, found)
    known = {each.guid for each in ours}
    _pair_strong(ours, [each for each in theirs if each.guid not in known], lambda clues: clues.file, found)
    _pair_unique(ours, theirs, lambda clues: clues.bare_file, found, _differ_in_query)
    _pair_twins(ours, theirs, lambda clues: clues.title and clues.day and (clues.title, clues.day), found)
    _pair_unique(ours, theirs, lambda clues: clues.day and clues.title, found)
    _pair_unique(ours, theirs, lambda clues: clues.title, found, _tells_more_than_a_title)
    return [(each, found[each.guid]) for each in feed.episodes[:target] if each.guid in found]


def clues_of(one: _One) -> set[Any]:
    """What an episode, or a page, is known by."""
    enclosure_url = one.enclosure_url if isinstance(one, ListedEpisode) else one.enclosure.url if one.enclosure else ""
    clues = _clues_of(one, enclosure_url)
    found: set[Any] = {("guid", clues.guid), ("file", clues.file), ("file", clues.bare_file)} - _NO_CLUES
    return found | {(clues.title, clues.day)} if clues.title and clues.day else found


_NO_CLUES = {("guid", ""), ("file", "")}


def telling(feed: Feed) -> set[Any]:
    """The clues that tell one episode of the feed from all others."""
    counts = Counter(clue for episode in feed.episodes for clue in clues_of(episode))
    return {clue for clue, count in counts.items() if count == 1}


@dataclasses.dataclass(frozen=True)
class _Clues(Generic[_One]):
    """What an episode, or a page, is known by; empty where it does not say."""

    of: _One
    guid: str
    #: The media file's URL without its scheme.
    file: str
    bare_file: str
    title: str
    day: date | None


_Ours: TypeAlias = Sequence[_Clues[Episode]]
_Theirs: TypeAlias = Sequence[_Clues[ListedEpisode]]
_Clue: TypeAlias = Callable[[_Clues[Any]], Any]
_Against: TypeAlias = Callable[[_Clues[Episode], _Clues[ListedEpisode]], bool]


def _clues_of(one: _One, file: str) -> _Clues[_One]:
    file = normal_url(file).partition("://")[2]
    day = one.published_at.date() if one.published_at else None
    return _Clues(one, one.guid, file, bare_url(file), plain(one.title), day)


def _pair_strong(ours: _Ours, theirs: _Theirs, clue: _Clue, found: dict[str, ListedEpisode]) -> None:
    """Episodes of one file share a page only where there are no more for them."""
    pages = _grouped(theirs, clue)
    for shared, episodes in _grouped((each for each in ours if each.guid not in found), clue).items():
        urls = list({page.of.url: page.of for page in pages.get(shared, ())}.values())
        for number, episode in enumerate(episodes if urls else ()):
            found[episode.guid] = urls[min(number, len(urls) - 1)]


def _pair_unique(
    ours: _Ours, theirs: _Theirs, clue: _Clue, found: dict[str, ListedEpisode], against: _Against | None = None
) -> None:
    """Unique is what one alone has of all, also of those that are paired already."""
    pages = _grouped(theirs, clue)
    alone = {shared: each for shared, each in _grouped(ours, clue).items() if len(each) == 1}
    _pair_twins(
        [each for group in alone.values() for each in group],
        [each for shared, group in pages.items() if _pages_in(group) == 1 and shared in alone for each in group],
        clue,
        found,
        against,
    )


def _pair_twins(
    ours: _Ours, theirs: _Theirs, clue: _Clue, found: dict[str, ListedEpisode], against: _Against | None = None
) -> None:
    taken = {page.url for page in found.values()}
    pages = _grouped((each for each in theirs if each.of.url not in taken), clue)
    for shared, episodes in _grouped((each for each in ours if each.guid not in found), clue).items():
        group = pages.get(shared, [])
        # Of a thousand pages that tell nothing else, one is looked at.
        kinds = {(page.guid, page.file, page.day): page for page in group}.values()
        if len(episodes) == _pages_in(group) and not any(
            _differ(a, b) or (against and against(a, b)) for a in episodes for b in kinds
        ):
            urls = {page.of.url: page.of for page in group}
            found.update(zip((each.guid for each in episodes), urls.values(), strict=True))


def _grouped(all_: Iterable[_Clues[_One]], clue: _Clue) -> defaultdict[Any, list[_Clues[_One]]]:
    """Those that have a clue, by it."""
    groups: defaultdict[Any, list[_Clues[_One]]] = defaultdict(list)
    for each in all_:
        if value := clue(each):
            groups[value].append(each)
    return groups


def _pages_in(group: _Theirs) -> int:
    return len({each.of.url for each in group})


def _differ(episode: _Clues[Episode], page: _Clues[ListedEpisode]) -> bool:
    """Whether their guids or files differ, or their days by more than one: a platform has a time zone of its own."""
    return any(
        (
            page.guid and page.guid != episode.guid,
            page.bare_file and episode.bare_file and page.bare_file != episode.bare_file,
            page.day and episode.day and abs(page.day - episode.day) > _ONE_DAY,
        )
    )


def _differ_in_query(episode: _Clues[Episode], page: _Clues[ListedEpisode]) -> bool:
    """Whether each file's URL has a parameter that the other's lacks."""
    mine, its = (set(each.file.partition("?")[2].split("&")) - {""} for each in (episode, page))
    return not (mine <= its or its <= mine)


def _tells_more_than_a_title(_: _Clues[Episode], page: _Clues[ListedEpisode]) -> bool:
    return bool(page.guid or page.file or page.day)
