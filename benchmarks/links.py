"""Reading a Reddit dump against a bare loop that decompresses and parses it; and its memory.

Usage: python benchmarks/links.py

The dump holds submissions of 2017's fields: a third self posts, a third images, videos and links
within Reddit, a third pages of many sites. The bare loop is zstandard's reader and `orjson.loads`
on every line; ours reads the same file, decides, and writes both tables.
"""

from __future__ import annotations

import io
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import orjson
import zstandard
from backports import zstd

from bars import Bar, show
from scaling_laws.corpus.links.links import links

LINES, REPEATS = 200_000, 5
SMALL, TIMES = 100_000, 8
RATE, GROWTH = 0.5, 1.2
START = 1_509_494_400  # November 2017
PUSHSHIFT_WINDOW = 31
# The window of a dump is memory that any reader takes once that much has been read. It is narrow
# where memory is measured, so that both dumps fill it and the rest is seen.
NARROW_WINDOW = 26

TEXT = (
    "the new study finds that people who live near water report better health than those in large "
    "cities while local officials say budget cuts will close schools this winter and police look "
    "for witnesses of storm damage after market fell again on trade fears as team wins final game"
)
WORDS = TEXT.split()
SUFFIXES = ("com", "com", "com", "com", "org", "net", "co.uk", "de", "io", "gov", "com.au")


def measure() -> list[Bar]:
    """Measure the rate of both and the peak memory of ours on two sizes."""
    with tempfile.TemporaryDirectory() as folder:
        return [_rate(Path(folder)), _memory(Path(folder))]


def _rate(folder: Path) -> Bar:
    dump = write_dump(folder / "RS_2017-11.zst", LINES, PUSHSHIFT_WINDOW)
    seconds: dict[Callable[[Path], object], list[float]] = {_bare: [], _ours: []}
    for _ in range(REPEATS):
        for run, measured in seconds.items():
            before = _cpu_seconds()
            run(dump)
            measured.append(_cpu_seconds() - before)
    bare, ours = (LINES / median(measured) for measured in seconds.values())
    return Bar(
        "links",
        "lines per CPU second, of a bare zstandard + orjson loop's",
        ours / bare,
        f">= {RATE}",
        ours / bare >= RATE,
        f"{ours:,.0f} of {bare:,.0f} lines/s; {LINES:,} lines, median of {REPEATS}",
    )


def _memory(folder: Path) -> Bar:
    peaks = []
    for name, lines in (("small", SMALL), ("large", SMALL * TIMES)):
        dump = write_dump(folder / f"{name}.zst", lines, NARROW_WINDOW)
        run = [sys.executable, __file__, str(dump)]
        peaks.append(int(subprocess.run(run, check=True, capture_output=True).stdout))
        dump.unlink()
    small, large = peaks
    return Bar(
        "links",
        f"peak memory on {TIMES} times the lines, of that on one time",
        large / small,
        f"<= {GROWTH}",
        large / small <= GROWTH,
        f"{large:,} of {small:,} KiB; {SMALL:,} lines and {TIMES} times as many",
    )


def _bare(dump: Path) -> int:
    """Parse every line and keep nothing."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**PUSHSHIFT_WINDOW)
    with dump.open("rb") as file, decompressor.stream_reader(file) as stream:
        return sum(1 for line in io.BufferedReader(stream, 2**20) if orjson.loads(line))


def _ours(dump: Path) -> object:
    return links(
        dump,
        output=dump.with_suffix(".submissions.parquet"),
        rejected=dump.with_suffix(".rejected.parquet"),
        first_day="2005-06-23",
        last_day="2018-10-31",
        shards=16,
    )


def _cpu_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write_dump(path: Path, lines: int, window_log: int) -> Path:
    """Write a dump of seeded submissions."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 1,
        zstd.CompressionParameter.window_log: window_log,
    }
    with zstd.open(path, "wb", options=options) as file:
        for post in _posts(lines, random.Random(0)):
            file.write(orjson.dumps(post) + b"\n")
    return path


def _posts(count: int, chance: random.Random) -> Iterator[dict[str, object]]:
    text = partial(_text, chance)
    for number in range(count):
        kind = chance.random()
        identifier = f"7{number:06x}"
        subreddit = f"{chance.choice(WORDS)}{int(chance.paretovariate(0.7)) % 5000}"
        permalink = f"/r/{subreddit}/comments/{identifier}/{'_'.join(text(6).split())}/"
        if kind < 0.35:
            url, extra = f"https://www.reddit.com{permalink}", {"selftext": text(180)}
        elif kind < 0.70:
            url, extra = _media_url(chance, permalink), _media(chance)
        else:
            url, extra = _page_url(chance), {"preview": _preview(chance), "post_hint": "link"}
        created = START + number // 4
        yield {
            "archived": False,
            "author": f"user_{chance.randrange(10**6)}",
            "author_flair_css_class": None,
            "author_flair_text": None,
            "brand_safe": True,
            "can_gild": True,
            "contest_mode": False,
            "created_utc": created,
            "distinguished": None,
            "domain": url.split("/")[2],
            "edited": False,
            "gilded": 0,
            "hidden": False,
            "hide_score": False,
            "id": identifier,
            "is_crosspostable": True,
            "is_reddit_media_domain": "redd.it" in url,
            "is_self": kind < 0.35,
            "is_video": "v.redd.it" in url,
            "link_flair_css_class": None,
            "link_flair_text": None,
            "locked": False,
            "media": None,
            "media_embed": {},
            "no_follow": False,
            "num_comments": chance.randrange(300),
            "num_crossposts": 0,
            "over_18": chance.random() < 0.08,
            "parent_whitelist_status": "all_ads",
            "permalink": permalink,
            "pinned": False,
            "retrieved_on": created + 2_000_000,
            "score": int(chance.paretovariate(0.6)) % 90_000,
            "secure_media": None,
            "secure_media_embed": {},
            "selftext": "",
            "send_replies": True,
            "spoiler": False,
            "stickied": False,
            "subreddit": subreddit,
            "subreddit_id": f"t5_{chance.randrange(36**4):x}",
            "subreddit_name_prefixed": f"r/{subreddit}",
            "subreddit_type": "public",
            "suggested_sort": None,
            "thumbnail": "default",
            "thumbnail_height": 140,
            "thumbnail_width": 140,
            "title": text(12),
            "url": url,
            "view_count": None,
            "whitelist_status": "all_ads",
            **extra,
        }


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(words // 2, words * 3 // 2)))


def _page_url(chance: random.Random) -> str:
    """Return the address of a page: sites by a long-tailed draw, half of them without a query."""
    site = int(chance.paretovariate(0.5)) % 300_000
    www = chance.choice(("www.", "www.", "", "en.", "blog.", "m."))
    host = f"{www}{WORDS[site % len(WORDS)]}{site}.{SUFFIXES[site % len(SUFFIXES)]}"
    slug = "-".join(_text(chance, 7).split())
    number = chance.randrange(10**7)
    path = chance.choice(
        (
            f"/2017/11/{number % 30 + 1:02}/{slug}.html",
            f"/{slug}-{number}/",
            f"/news/{slug}",
            f"/news/{number}/{slug}?utm_source=twitter&utm_medium=social&id={number}",
            f"/article.php?id={number}",
            f"/story/{slug}?page=2&cat={number % 90}#comments",
            f"/story/{slug}%20and%20more",
            "/",
        )
    )
    return f"{chance.choice(('http', 'https'))}://{host}{path}"


def _media_url(chance: random.Random, permalink: str) -> str:
    name = f"{chance.randrange(36**5):x}"
    return chance.choice(
        (
            f"https://i.redd.it/{name}.jpg",
            f"https://i.imgur.com/{name}.jpg",
            f"http://imgur.com/a/{name}",
            f"https://www.youtube.com/watch?v={name}&feature=youtu.be",
            f"https://youtu.be/{name}",
            f"https://v.redd.it/{name}",
            f"https://gfycat.com/{name}",
            f"https://www.reddit.com{permalink}",
        )
    )


def _media(chance: random.Random) -> dict[str, object]:
    """Return what a post with an image or a video carries along."""
    frame = '<iframe src="//cdn.embedly.com/widgets/media.html?src=https%3A%2F%2Fwww.youtube.com'
    embed = {"content": frame + "%2Fembed" * 8, "height": 338, "scrolling": False, "width": 600}
    about = {"provider_name": "YouTube", "title": _text(chance, 9), "type": "video", "width": 600}
    if chance.random() < 0.5:
        return {"preview": _preview(chance), "post_hint": "image"}
    return {
        "media": {"oembed": about | {"html": embed["content"]}, "type": "youtube.com"},
        "media_embed": embed,
        "preview": _preview(chance),
        "secure_media_embed": embed,
    }


def _preview(chance: random.Random) -> dict[str, object]:
    """Return a preview: one image in six sizes, each with a signed address."""

    def image(width: int) -> dict[str, object]:
        signature = f"{chance.getrandbits(128):032x}"
        url = f"https://i.redditmedia.com/{name}.jpg?w={width}&s={signature}"
        return {"height": width * 3 // 4, "url": url, "width": width}

    name = f"{chance.getrandbits(200):x}"
    sizes = [image(width) for width in (108, 216, 320, 640, 960, 1080)]
    shown = {"id": name, "resolutions": sizes[:-1], "source": sizes[-1], "variants": {}}
    return {"enabled": False, "images": [shown]}


def _peak_memory() -> int:
    """Return the most memory that this process had, in KiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(peak)


if __name__ == "__main__":
    if sys.argv[1:]:  # the child process whose memory is measured
        _ours(Path(sys.argv[1]))
        print(_peak_memory())
    else:
        show(measure())
