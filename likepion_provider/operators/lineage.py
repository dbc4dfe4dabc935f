"""What OpenLineage is told of an import: the feeds that went in, the episode pages that came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

#: Episode pages that one task names; an event is sent as one request, and kept.
MOST_PAGES = 100


def facets(feed_urls: Sequence[str], page_urls: Sequence[str]) -> OperatorLineage[Any, Any] | None:
    """The lineage of an import; None where OpenLineage's provider is not installed.

    :param feed_urls: redacted.
    :param page_urls: public pages; those beyond :data:`MOST_PAGES` are left out.
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    return OperatorLineage(
        inputs=[_dataset(url) for url in dict.fromkeys(feed_urls)],
        outputs=[_dataset(url) for url in page_urls[:MOST_PAGES]],
    )


def _dataset(url: str) -> Dataset:
    """Named as OpenLineage names what has a host: that is the namespace, and the rest the name."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(url)
    namespace = f"{parts.scheme}://{parts.netloc}"
    return Dataset(namespace, url.removeprefix(namespace) or "/")
