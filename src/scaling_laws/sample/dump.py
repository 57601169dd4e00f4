"""Submissions of Reddit in Pushshift's format that link to the sample web."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from backports import zstd

from scaling_laws.sample.pages import Page

Submission = dict[str, Any]

NOVEMBER_2017 = (datetime(2017, 11, 1, tzinfo=UTC), datetime(2017, 12, 1, tzinfo=UTC))
MARCH_2018 = (datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 4, 1, tzinfo=UTC))
AFTER_CUTOFF = (datetime(2018, 11, 1, tzinfo=UTC), datetime(2018, 11, 8, tzinfo=UTC))

SUBREDDITS = ("worldnews", "news", "politics", "programming", "Python", "technology", "europe")
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
FIRST_ID = int("79zzzz", 36)
GOOD_SCORE = 6

# Shares of the good pages that give no link, each by one rule of the selection.
UNPOPULAR, FOR_ADULTS, TOO_LATE = 0.01, 0.005, 0.005

WINDOW_LOG = 31
"""Base-2 logarithm of the compression window in bytes: Pushshift's, which readers must allow."""


def submissions(
    good: Sequence[Page], other: Sequence[str], chance: random.Random
) -> tuple[list[Submission], list[Submission]]:
    """Return the submissions of two months, November 2017 and March 2018, by time.

    Every page of `good` is posted in one month at its plain address, with its highest score; a
    third of them again, under variants of the address and with lower scores. Two percent of them
    fall to one of the rules: karma, age mark, date. Between them stands what is no link to a page.

    Args:
        good: Pages that answer.
        other: Addresses that are linked to and fail in some way.
        chance: Source of every choice.
    """
    posts = [post for page in good for post in _posts(page, chance)]
    posts += [_post(url, "An old link", GOOD_SCORE, _month(chance), chance) for url in other]
    posts += _not_links(max(1, len(good) // 100), chance)
    posts.sort(key=lambda post: int(post["created_utc"]))
    for number, post in enumerate(posts):
        post["id"] = _base36(FIRST_ID + 37 * number)
        post["permalink"] = f"/r/{post['subreddit']}/comments/{post['id']}/"
    boundary = MARCH_2018[0].timestamp()
    in_2017 = [post for post in posts if int(post["created_utc"]) < boundary]
    return in_2017, posts[len(in_2017) :]


def dump(posts: Sequence[Submission], chance: random.Random) -> bytes:
    """Return submissions as a Pushshift dump: compressed lines of JSON, some of them damaged."""
    lines = [orjson.dumps(post) for post in posts]
    for damaged in _damaged(posts):
        lines.insert(chance.randrange(len(lines) + 1), damaged)
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 3,
        zstd.CompressionParameter.window_log: WINDOW_LOG,
    }
    compressor = zstd.ZstdCompressor(options=options)
    # In two calls, since a frame compressed in one has a window of its own length.
    return compressor.compress(b"\n".join(lines) + b"\n") + compressor.flush()


def _posts(page: Page, chance: random.Random) -> Iterator[Submission]:
    """Yield the submissions of one good page."""
    month, score = _month(chance), GOOD_SCORE + int(chance.paretovariate(0.8)) % 50_000
    fate = chance.random()
    if fate < UNPOPULAR:
        yield _post(page.url, page.title, chance.randrange(-3, 3), month, chance)
    elif fate < UNPOPULAR + FOR_ADULTS:
        yield _post(page.url, page.title, score, month, chance) | {"over_18": True}
    elif fate < UNPOPULAR + FOR_ADULTS + TOO_LATE:
        yield _post(page.url, page.title, score, AFTER_CUTOFF, chance)
    else:
        yield _post(page.url, page.title, score, month, chance)
        if chance.random() < 1 / 3:
            for url in chance.sample(_variants(page.url), chance.randrange(1, 4)):
                lower = chance.randrange(GOOD_SCORE)
                yield _post(url, page.title, lower, _month(chance), chance)


def _variants(url: str) -> list[str]:
    """Return other ways to write an address; all name the same page."""
    host, rest = urlsplit(url).netloc, url.partition("://")[2].partition("/")[2]
    www = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
    mark = "&" if "?" in url else "?"
    return [
        url,
        f"{url}{mark}utm_source=reddit.com&utm_medium=social",
        f"{url}{mark}utm_campaign=share#comments",
        f"{url}#top",
        f"http://{www}/{rest}",
        f"https://{host}/{rest}",
        f"http://{host.upper()}/{rest}",
        f"http://{host}:80/{rest}",
    ]


def _not_links(scale: int, chance: random.Random) -> list[Submission]:
    """Return submissions of kinds that give no link: `scale` of the rarest, more of the others."""

    def posts(count: int, *urls: str, **changes: Any) -> list[Submission]:
        return [
            _post(
                chance.choice(urls).format(_base36(chance.randrange(36**5, 36**6))),
                "Look at this",
                GOOD_SCORE + chance.randrange(100),
                _month(chance),
                chance,
            )
            | changes
            for _ in range(count)
        ]

    return [
        *posts(
            8 * scale,
            "https://www.reddit.com/r/AskReddit/comments/{}/",
            is_self=True,
            selftext="What do you think?",
            domain="self.AskReddit",
        ),
        *posts(6 * scale, "https://i.imgur.com/{}.jpg", "https://i.redd.it/{}.png"),
        *posts(scale, "https://pictures.example/{}.gif", "http://pictures.example/{}.JPG"),
        *posts(3 * scale, "https://www.youtube.com/watch?v={}", "https://v.redd.it/{}"),
        *posts(scale, "https://youtu.be/{}", "https://videos.example/{}.mp4"),
        *posts(scale, "http://papers.example/{}.pdf"),
        *posts(scale, "https://www.reddit.com/r/pics/comments/{}/", "https://redd.it/{}"),
        *posts(scale, "https://np.reddit.com/r/news/comments/{}/_/c0ffee/"),
        *posts(scale, "https://en.wikipedia.org/wiki/{}", "https://en.m.wikipedia.org/wiki/{}"),
        *posts(scale, "http://adults.example/{}", over_18=True),
        *posts(scale, "http://faults.example/unpopular/{}", score=1),
        *posts(scale, "http://faults.example/unpopular/{}", score=-4),
        *posts(1, "ftp://files.example/{}"),
        *posts(1, "http:///{}"),
        *posts(1, "{}"),
    ]


def _damaged(posts: Sequence[Submission]) -> list[bytes]:
    """Return lines that are no submission: cut, not JSON, not an object, without a field."""
    post = posts[0] if posts else {}

    def without(key: str) -> bytes:
        return orjson.dumps({name: value for name, value in post.items() if name != key})

    return [
        orjson.dumps(post)[: -len(orjson.dumps(post)) // 2],
        b'{"id": "7a0000", "url": "http://faults.example/\xff\xfe.html"}',
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
        b"null",
        b'["7a0001"]',
        without("url"),
        without("score"),
        without("created_utc"),
        orjson.dumps({**post, "url": None}),
        orjson.dumps({**post, "score": "many"}),
    ]


def _post(
    url: str,
    title: str,
    score: int,
    period: tuple[datetime, datetime],
    chance: random.Random,
) -> Submission:
    """Return a submission within a period; `id` and `permalink` follow when all are in order."""
    created = chance.randrange(int(period[0].timestamp()), int(period[1].timestamp()))
    subreddit = chance.choice(SUBREDDITS)
    return {
        "id": "",
        "permalink": "",
        "author": f"user_{chance.randrange(10_000):04}",
        "subreddit": subreddit,
        "title": title,
        "url": url,
        "domain": url.partition("://")[2].partition("/")[0].lower(),
        "score": score,
        "num_comments": chance.randrange(200),
        "created_utc": created,
        "retrieved_on": created + 30 * 86_400,
        "over_18": False,
        "is_self": False,
        "selftext": "",
        "stickied": False,
        "locked": False,
        "gilded": 0,
    }


def _month(chance: random.Random) -> tuple[datetime, datetime]:
    return NOVEMBER_2017 if chance.random() < 0.6 else MARCH_2018


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = ALPHABET[digit] + digits
    return digits
