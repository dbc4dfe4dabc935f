"""The newest 20 episodes of ever longer feeds: feedparser, podcastparser and ours, side by side in one run.

Each figure is taken in a process of its own, after its imports; ours with the start of the reader's process. Memory is
what the asking process grew by, and the reader's whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.report import row

WANTED = 20
SIZES = (300, 10_000, 50_000)
#: feedparser takes more than a gigabyte for the longest feed and shows nothing that the others have not.
FEEDPARSER_UP_TO = 10_000

_MEASURE = r"""
import asyncio, io, json, re, resource, sys, time
way, path, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])

def status(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\s+(\d+)", file.read())[1]) / 1024

def newest(pairs):
    return [guid for _, guid in sorted(pairs, reverse=True)[:wanted]]

def feedparser_whole():
    with open(path, "rb") as file:
        entries = feedparser.parse(file, sanitize_html=False, resolve_relative_uris=False).entries
    return newest((tuple(entry.published_parsed), entry.id) for entry in entries)

def podcastparser_newest():
    with open(path, "rb") as file:
        found = podcastparser.parse("http://example.com/feed", file, max_episodes=wanted)
    return newest((episode["published"], episode["guid"]) for episode in found["episodes"])

def ours():
    async def read():
        async def body():
            with open(path, "rb") as file:
                while chunk := file.read(65536):
                    yield chunk
        reader = await Reader.start()
        url = "http://example.com/feed"
        found, _ = await reader.read(body(), url=url, shown="", want=wanted, charset="", within_s=120)
        await reader.close()
        assert found["certain"]
        return newest((episode["rank"], episode["guid"]) for episode in found["episodes"])
    return asyncio.run(read())

if way == "feedparser":
    import feedparser
    run = feedparser_whole
elif way == "podcastparser":
    import podcastparser
    run = podcastparser_newest
else:
    from likepion_provider.feed.process import Reader
    run = ours
    asyncio.run(asyncio.sleep(0))
before = status("VmRSS")
times = []
cpu = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
          for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
start = time.perf_counter()
found = run()
took = time.perf_counter() - start
cpu = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
          for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - cpu
reader_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 if way == "ours" else 0
grown_mb = status("VmHWM") - before
print(json.dumps({"s": took, "cpu_s": cpu, "grown_mb": grown_mb, "reader_mb": reader_mb, "found": found}))
"""


def write_feed(path: Path, episodes: int, *, newest_first: bool) -> None:
    """Write a feed of about 4.8 KB an item."""
    notes = "&lt;p&gt;Notes with a &lt;a href='https://example.com/'&gt;link&lt;/a&gt; and words.&lt;/p&gt;" * 42
    with path.open("w", encoding="utf-8") as file:
        file.write(
            '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" '
            'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>Bench</title>'
        )
        for number in range(episodes, 0, -1) if newest_first else range(1, episodes + 1):
            day, month, year = number % 28 + 1, number // 28 % 12, 1850 + number // 336
            months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
            file.write(
                f"<item><title>Episode {number}</title><guid isPermaLink='false'>bench-{number}</guid>"
                f"<pubDate>{day:02d} {months[month]} {year} 06:00:00 +0000</pubDate>"
                f"<enclosure url='https://example.com/{number}.mp3' length='12345' type='audio/mpeg'/>"
                f"<itunes:duration>00:30:00</itunes:duration><description>{notes}</description></item>\n"
            )
        file.write("</channel></rss>")


def measure(way: str, path: Path) -> dict[str, Any]:
    """Time, CPU, memory and the newest guids of one way, in a fresh process."""
    command = [sys.executable, "-c", _MEASURE, way, str(path), str(WANTED)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def cpu_of_a_batch(path: Path) -> float:
    """Seconds of CPU of reading one feed in a process of its own, beyond those of reading it in this one."""
    program = (
        "import sys, time; import feedparser; from likepion_provider.feed.document import Document; "
        "start = time.process_time(); document = Document(20, url='http://a/'); "
        "document.feed(open(sys.argv[1], 'rb').read()); document.finish(); print(time.process_time() - start)"
    )
    own = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True).stdout
    best: float = min(measure("ours", path)["cpu_s"] for _ in range(3))
    return best - float(own)


def main(*, quick: bool) -> None:
    """Print the table and how it stands to the goals."""
    sizes = SIZES[:2] if quick else SIZES
    print(f"feed: the newest {WANTED} episodes\n{'episodes':>10}  {'way':<14} {'time':>10} {'grown':>9} {'reader':>9}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed.xml"
        for size, order in ((size, order) for size in sizes for order in ("newest", "oldest")):
            write_feed(path, size, newest_first=order == "newest")
            results = {}
            for way in ("feedparser", "podcastparser", "ours"):
                if way == "feedparser" and size > FEEDPARSER_UP_TO:
                    continue
                found = results[way] = measure(way, path)
                figures = f"{found['s'] * 1000:>7,.0f} ms {found['grown_mb']:>6.1f} MB {found['reader_mb']:>6.1f} MB"
                print(f"{size:>10,}  {way:<14} {figures}  {order} first", flush=True)
            assert results["ours"]["found"] == results["podcastparser"]["found"]
            _compare(f"feed, newest {WANTED} of {size:,}, {order} first", size, results)
            if size == SIZES[0] and order == "newest":
                more_s = cpu_of_a_batch(path)
                row("feed of 300: CPU of its process", f"{more_s:.2f} s", "at most 0.3 s", met=more_s <= 0.3)


def _compare(case: str, size: int, results: dict[str, dict[str, Any]]) -> None:
    ours = results["ours"]
    for way, goal in (("podcastparser", 3), ("feedparser", 4)):
        if way in results:
            times = results[way]["s"] / ours["s"]
            met, said = (times >= goal, f"at least {goal} x") if size >= 10_000 else (None, "")
            row(f"{case}: beside {way}", f"{times:.1f} x faster, {ours['s']:.2f} s", said, met=met)
    grown_mb = ours["grown_mb"]
    row(f"{case}: memory", f"+{grown_mb:.1f} MB; reader {ours['reader_mb']:.0f} MB", "at most +8 MB", met=grown_mb <= 8)


if __name__ == "__main__":
    main(quick=False)
