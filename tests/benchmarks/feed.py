"""The first 20 episodes of ever longer feeds: feedparser, podcastparser and ours, side by side in one run.

Each figure is taken in a process of its own, after its imports; peak memory is the whole process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import row

WANTED = 20
SIZES = (100, 1_000, 10_000, 50_000)
#: feedparser takes minutes and gigabytes for the longest feed and shows nothing that the others have not.
FEEDPARSER_UP_TO = 10_000

_MEASURE = r"""
import io, json, resource, sys, time
way, path, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Counted(io.RawIOBase):
    def __init__(self, path):
        self.file, self.count = open(path, "rb", buffering=0), 0
    def readable(self):
        return True
    def readinto(self, into):
        data = self.file.read(len(into))
        into[:len(data)] = data
        self.count += len(data)
        return len(data)
    def read(self, size=-1):
        data = self.file.read(size)
        self.count += len(data)
        return data

def feedparser_whole(source):
    return len(feedparser.parse(source).entries[:wanted])

def podcastparser_first(source):
    return len(podcastparser.parse("http://example.com/feed", source, max_episodes=wanted)["episodes"])

def ours(source):
    cutter = Cutter(wanted)
    while not cutter.enough and (chunk := source.read(65536)):
        cutter.feed(chunk)
    return len(parse(cutter.cut(), url="http://example.com/feed").episodes)

if way == "feedparser":
    import feedparser
    run, repeats = feedparser_whole, 1
elif way == "podcastparser":
    import podcastparser
    run, repeats = podcastparser_first, 1
else:
    import feedparser
    from likepion_provider.feed.cut import Cutter
    from likepion_provider.feed.entries import parse
    run, repeats = ours, 5
times = []
for _ in range(repeats):
    source = Counted(path)
    start = time.perf_counter()
    found = run(source)
    times.append(time.perf_counter() - start)
    assert found == wanted, found
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"s": min(times), "peak_mb": peak_mb, "bytes": source.count}))
"""


def write_feed(path: Path, episodes: int) -> None:
    """Write a feed, newest first, of about 4.8 KB an item."""
    notes = "&lt;p&gt;Notes with a &lt;a href='https://example.com/'&gt;link&lt;/a&gt; and words.&lt;/p&gt;" * 42
    with path.open("w", encoding="utf-8") as file:
        file.write(
            '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" '
            'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>Bench</title>'
        )
        for number in range(episodes, 0, -1):
            day, month, year = number % 28 + 1, number // 28 % 12, 1850 + number // 336
            months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
            file.write(
                f"<item><title>Episode {number}</title><guid isPermaLink='false'>bench-{number}</guid>"
                f"<pubDate>{day:02d} {months[month]} {year} 06:00:00 +0000</pubDate>"
                f"<enclosure url='https://example.com/{number}.mp3' length='12345' type='audio/mpeg'/>"
                f"<itunes:duration>00:30:00</itunes:duration><description>{notes}</description></item>\n"
            )
        file.write("</channel></rss>")


def measure(way: str, path: Path) -> dict[str, float]:
    """Time in seconds, peak memory in MB and bytes read of one way, in a fresh process."""
    command = [sys.executable, "-c", _MEASURE, way, str(path), str(WANTED)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def main(*, quick: bool) -> None:
    """Print the table and how it stands to the goals."""
    feedparser_up_to = 1_000 if quick else FEEDPARSER_UP_TO
    results: dict[tuple[str, int], dict[str, float]] = {}
    print(f"feed: the first {WANTED} episodes\n{'episodes':>10}  {'way':<14} {'time':>10} {'peak':>9} {'read':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.xml"
            write_feed(path, size)
            for way in ("feedparser", "podcastparser", "ours"):
                if way == "feedparser" and size > feedparser_up_to:
                    print(f"{size:>10,}  {way:<14} not measured: minutes and gigabytes")
                    continue
                found = results[way, size] = measure(way, path)
                figures = f"{found['s'] * 1000:>7,.1f} ms {found['peak_mb']:>6.1f} MB {found['bytes']:>12,.0f} B"
                print(f"{size:>10,}  {way:<14} {figures}", flush=True)
            path.unlink()
    growth = results["ours", 50_000]["s"] / results["ours", 100]["s"]
    faster = results["feedparser", feedparser_up_to]["s"] / results["ours", feedparser_up_to]["s"]
    peak_mb = max(found["peak_mb"] for (way, _), found in results.items() if way == "ours")
    case = f"feed, its first {WANTED} episodes"
    row(f"{case}: 50,000 episodes beside 100", f"{growth:.2f} x the time", "at most 1.2 x", met=growth <= 1.2)
    if not quick:
        row(f"{case}: beside feedparser, of 10,000", f"{faster:,.0f} x faster", "at least 300 x", met=faster >= 300)
    row(f"{case}: peak memory of the process", f"{peak_mb:.1f} MB", "under 30 MB", met=peak_mb < 30)


if __name__ == "__main__":
    main(quick=False)
