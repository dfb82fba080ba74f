"""A believable network to try things on: people who follow, post, like and comment, and some who misbehave.

The same numbers and the same seed make the same rows. Followers and engagement follow power laws, posts follow the sun
of their authors' countries, and a few topics burst. There are spammers, people who left or never came back, spellings
and scripts of all kinds, posts that came late, counts that have drifted, and posts that nobody looked at for a year.
"""

import random
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from math import log
from typing import Any

from pynamodb.models import Model

from backbeat.models import ACTIVITY_KEPT, Activity, Comment, Follow, Like, Post, Token, User, day_key

DAY = timedelta(days=1)
HISTORY = 730
"""How many days ago the first people joined."""
WRITERS = 4
"""How many batches are on their way at once."""
BATCH = 500

Written = Callable[[str, int], None]


@dataclass(frozen=True)
class Place:
    """Where some of the people live: what they are called, when they are awake, and what they say.

    Attributes:
        locale: Their language, as a BCP 47 tag.
        share: Their share of all people.
        hours: How far their clocks are ahead of UTC.
        names: Given names.
        says: What they post; `{}` becomes a hashtag.
        topics: Their hashtags, the most usual ones first.
    """

    locale: str
    share: float
    hours: int
    names: Sequence[str]
    says: Sequence[str]
    topics: Sequence[str]


PLACES = (
    Place(
        "en",
        0.44,
        -5,
        ("Ada", "Grace", "Alan", "Linus", "Margaret", "Ken", "Barbara", "Dennis", "Radia", "Tim", "Joan", "Noor"),
        (
            "Up before the sun {}",
            "Finally finished it. {}",
            "Does anybody else do this? {} {}",
            "Nobody told me it would be this good {}",
            "Three years today. {}",
            "A quiet evening, a cup of tea, and {}",
            "I have opinions about this: {} {}",
            "Look what the neighbours left at our door",
            "Same place, a year later {}",
            "Ask me anything about {}",
            "Reading on https://example.org/blog/#comments and loving it {}",
        ),
        ("coffee", "photo", "music", "MondayMotivation", "cats", "running", "books", "baking", "film", "garden"),
    ),
    Place(
        "fr",
        0.13,
        1,
        ("Émile", "Zoé", "Chloé", "Léa", "René", "Anaïs", "Benoît", "Maël"),
        ("Le soleil se lève {}", "Enfin les vacances ! {}", "Qui connaît ce coin ? {} {}", "Recette du jour {}"),
        ("café", "Paris", "cuisine", "lecture", "vélo", "été"),
    ),
    Place(
        "de",
        0.12,
        1,
        ("Jürgen", "Zoë", "Käthe", "Björn", "Grete", "Emil", "Änne"),
        ("Guten Morgen {}", "Endlich Feierabend {}", "Heute gebacken {} {}", "Wer war schon hier? {}"),
        ("Straße", "Kaffee", "Wandern", "Brot", "Fußball", "grün"),
    ),
    Place(
        "es",
        0.10,
        -6,
        ("Íñigo", "Begoña", "Núria", "Óscar", "Lucía", "Martín"),
        ("Buenos días {}", "¡Qué partido! {}", "La receta de mi abuela {} {}", "Hoy en la playa {}"),
        ("fútbol", "mañana", "cocina", "playa", "música"),
    ),
    Place(
        "ja",
        0.09,
        9,
        ("さくら", "蓮", "陽菜", "樹", "美咲"),
        ("おはようございます。{}", "今日の夕焼け {}", "できました。{} {}", "猫がかわいい {}"),
        ("写真", "夕焼け", "ねこ", "ラーメン", "ﾗｰﾒﾝ", "桜"),
    ),
    Place(
        "ar",
        0.06,
        3,
        ("ليلى", "عمر", "سارة", "يوسف"),
        ("صباح الخير {}", "من يعرف هذا المكان؟ {}"),
        ("قهوة", "كتاب", "صباح_الخير"),
    ),
    Place(
        "hi",
        0.06,
        5,
        ("आरव", "दीया", "कबीर", "मीरा"),
        ("सुप्रभात {}", "आज की तस्वीर {}"),
        ("चाय", "क्रिकेट", "नमस्ते"),
    ),
)
BURSTS = (("Snowfall", 2.2, 0.04), ("Final2026", 0.6, 0.03), ("Eclipse", 5.3, 0.03))
"""Topics that break out: the hashtag, how many days ago, and its share of the posts of a month."""
SPAM = ("BUY followers now! example.com/#deal {}", "Free coins!!! {}", "{} {} limited offer")
SPAM_TOPICS = ("FollowBack", "CryptoGift", "winwin")


@dataclass(frozen=True)
class _Person:
    """What is decided of a person before there are rows."""

    user_id: str
    place: Place
    joined: datetime
    last_seen: datetime
    fame: float
    zeal: float
    spammer: bool


@dataclass
class _Written:
    """A post, before its counts are known."""

    post_id: str
    author: _Person
    at: datetime
    text: str
    appeal: float


class Network:
    """A network of so many people and posts, made once and then written.

    Attributes:
        rows: How many rows it has, by kind.
    """

    def __init__(self, users: int, posts: int, *, random_seed: int, until: datetime) -> None:
        self._random = random.Random(random_seed)  # noqa: S311 - the same rows each time
        self._until = until.astimezone(UTC)
        self._prefix = f"s{random_seed}"
        self._people = [self._person(number, users) for number in range(users)]
        self._active_on: dict[str, set[int]] = defaultdict(set)  # days ago, by user
        self._follows = list(self._make_follows())
        self._posts = self._make_posts(posts)
        self._likes: list[Like] = []
        self._comments: list[Comment] = []
        self._post_rows = [self._engage(post) for post in self._posts]
        recent = [post.post_id for post in self._posts if post.at > self._until - 10 * DAY]
        self._late = set(self._random.sample(recent, len(recent) // 50))  # written when all else has been
        self._tokens = list(self._make_tokens())
        self._users = list(self._make_users())
        self._activity = list(self._make_activity())
        self._by_kind: dict[str, Sequence[Model]] = {
            "users": self._users,
            "follows": self._follows,
            "posts": [post for post in self._post_rows if post.post_id not in self._late],
            "likes": self._likes,
            "comments": self._comments,
            "activity": self._activity,
            "tokens": self._tokens,
            "late posts": [post for post in self._post_rows if post.post_id in self._late],
        }
        self.rows = {kind: len(rows) for kind, rows in self._by_kind.items() if rows}

    def write(self, written: Written) -> None:
        """Write all rows to the tables that the models are bound to.

        Args:
            written: Told of each batch: the kind of rows and how many.
        """
        batches = ((kind, batch) for kind, rows in self._by_kind.items() for batch in _batches(rows))
        with ThreadPoolExecutor(WRITERS) as pool:
            for kind, number in pool.map(_write, batches):
                written(kind, number)

    # ---- People ----

    def _person(self, number: int, users: int) -> _Person:
        r = self._random
        place = r.choices(PLACES, [place.share for place in PLACES])[0]
        # The later, the more: half of them joined in the last quarter of the time.
        joined = self._until - DAY * HISTORY * r.random() ** 2 - timedelta(seconds=1)
        spammer = number % 400 == 7
        days_away = r.choices((r.expovariate(1 / 3), r.uniform(30, 90), r.uniform(90, HISTORY)), (66, 18, 16))[0]
        last_seen = max(joined, self._until - DAY * (0 if spammer else days_away) - timedelta(seconds=1))
        rank = number + 1
        zeal = 60.0 if spammer else min(r.paretovariate(1.1), 40)
        return _Person(f"{self._prefix}-u{number:06}", place, joined, last_seen, (users / rank) ** 0.8, zeal, spammer)

    def _make_users(self) -> Iterator[User]:
        r = self._random
        followers = Counter(follow.followed_id for follow in self._follows)
        following = Counter(follow.follower_id for follow in self._follows)
        posts = Counter(post.author.user_id for post in self._posts)
        for number, person in enumerate(self._people):
            drift = 1 if r.random() < 0.01 else 0
            left = person.last_seen if r.random() < 0.01 else None
            name = r.choice(person.place.names)
            yield User.new(
                person.user_id,
                name=f"{name} {number}" if r.random() < 0.3 else name,
                email=f"{person.user_id}@example.com",
                created_at=person.joined,
                locale=person.place.locale,
                email_status=r.choices(("ok", "bounced", "complained"), (97, 2, 1))[0],
                digest=r.random() > 0.15,
                deleted_at=left,
                last_login_at=person.last_seen,
                login_day=day_key(person.last_seen, person.user_id),
                followers_count=followers[person.user_id] + drift,
                following_count=following[person.user_id],
                posts_count=posts[person.user_id],
                touched_at=person.last_seen,
                touched_day=day_key(person.last_seen, person.user_id),
            )

    def _make_follows(self) -> Iterator[Follow]:
        r = self._random
        reach = list(accumulate(person.fame for person in self._people))
        for person in self._people:
            wanted = min(int(r.paretovariate(1.3)), 400, len(self._people) - 1)
            chosen = {self._pick(reach).user_id for _ in range(wanted)} - {person.user_id}
            for followed in sorted(chosen):
                yield Follow(person.user_id, followed, created_at=self._between(person.joined, person.last_seen))

    def _pick(self, cumulated: Sequence[float]) -> _Person:
        """Somebody, by weights that are summed up."""
        return self._people[bisect(cumulated, self._random.random() * cumulated[-1], hi=len(cumulated) - 1)]

    def _between(self, first: datetime, last: datetime) -> datetime:
        return first + (last - first) * self._random.random()

    # ---- Posts ----

    def _make_posts(self, posts: int) -> list[_Written]:
        r = self._random
        zeal = list(accumulate(person.zeal for person in self._people))
        made = []
        for number in range(posts):
            author = self._pick(zeal)
            at = self._awake(author, author.last_seen - (author.last_seen - author.joined) * r.random() ** 2)
            text = r.choice(SPAM if author.spammer else author.place.says)
            for topic, began, share in BURSTS:
                start = self._until - DAY * began
                if r.random() < share and author.joined < start < author.last_seen and at > self._until - 30 * DAY:
                    at = min(start + DAY * r.expovariate(6), author.last_seen)
                    text = f"{r.choice(author.place.says)} #{topic}"
                    break
            post_id = f"{self._prefix}-p{number:07}"
            made.append(_Written(post_id, author, at, self._say(text, author), r.paretovariate(1.3)))
        return made

    def _awake(self, person: _Person, at: datetime) -> datetime:
        """The same day at an hour at which the person is more likely to be awake, as far as they were about then."""
        r = self._random
        hour = int(r.triangular(6, 25, 20)) - person.place.hours
        moved = at.replace(hour=hour % 24, minute=r.randrange(60), second=r.randrange(60))
        return moved if person.joined <= moved <= person.last_seen else at

    def _say(self, text: str, author: _Person) -> str:
        topics = SPAM_TOPICS if author.spammer else author.place.topics
        while "{}" in text:
            topic = topics[min(int(self._random.expovariate(0.45)), len(topics) - 1)]
            topic = self._random.choices((topic, topic.upper(), topic.lower()), (90, 4, 6))[0]
            text = text.replace("{}", f"#{topic}", 1)
        return text

    def _engage(self, post: _Written) -> Post:
        """Let people like and comment on a post; return its row, with its counts."""
        r = self._random
        crowd = min(post.appeal * log(2 + post.author.fame), 400.0)
        if post.author.spammer or r.random() < 0.35:
            crowd = 0
        age = self._until - post.at
        likers = {self._anybody(post.at).user_id for _ in range(int(crowd * 0.3))}
        touched = post.at
        for user_id in sorted(likers):
            at = post.at + age * r.random() ** 6
            touched = max(touched, at)
            self._likes.append(Like(post.post_id, user_id, created_at=at))
            self._was_active(user_id, at)
        comments = int(crowd * 0.2 * r.random())
        for number in range(comments):
            somebody = self._anybody(post.at)
            at = post.at + age * r.random() ** 6
            touched = max(touched, at)
            text = r.choice(("Yes!", "Beautiful", "😂", "Where is this?", "Merci !", "すごい", "+1", "=SUM(1)"))
            self._comments.append(
                Comment.new(
                    post.post_id,
                    f"{post.post_id}-c{number:03}",
                    author_id=somebody.user_id,
                    text=text,
                    created_at=at,
                )
            )
            self._was_active(somebody.user_id, at)
        self._was_active(post.author.user_id, post.at)
        counts: dict[str, Any] = {
            "likes_count": len(likers),
            "comments_count": comments,
            "shares_count": int(len(likers) * r.random() * 0.2),
            "views_count": int(crowd * 20 * r.random()) + r.randrange(8),
        }
        visibility = r.choices(("public", "followers", "hidden"), (93, 6, 1))[0]
        row = Post.new(
            post.post_id,
            author_id=post.author.user_id,
            text=post.text,
            created_at=post.at,
            visibility=visibility,
            legal_hold=r.random() < 0.001,
            **counts,
        )
        if touched > post.at:
            row.touched_day = day_key(touched, post.post_id)
        return row

    def _anybody(self, since: datetime) -> _Person:
        """Somebody who was still about then; the last of a few tries, if none was."""
        for _ in range(4):
            person = self._random.choice(self._people)
            if person.last_seen >= since and not person.spammer:
                break
        return person

    # ---- Activity and tokens ----

    def _was_active(self, user_id: str, at: datetime) -> None:
        ago = (self._until.date() - at.date()).days
        if ago < ACTIVITY_KEPT.days:
            self._active_on[user_id].add(ago)

    def _make_activity(self) -> Iterator[Activity]:
        r = self._random
        for person in self._people:
            self._was_active(person.user_id, person.last_seen)
            habit = r.random() ** 2
            first = (self._until - person.last_seen).days
            for ago in range(first, min(ACTIVITY_KEPT.days, (self._until - person.joined).days)):
                if r.random() < habit * 0.3:
                    self._was_active(person.user_id, self._until - DAY * ago)
        for user_id, days in sorted(self._active_on.items()):
            for ago in sorted(days):
                at = self._until - DAY * ago
                yield Activity(day_key(at, user_id), user_id, expires=at + ACTIVITY_KEPT)

    def _make_tokens(self) -> Iterator[Token]:
        r = self._random
        for person in self._people:
            at, user_id = person.last_seen, person.user_id
            if r.random() < 0.5:
                yield Token.new(user_id, f"{user_id}-s", kind="session", created_at=at, last_seen_at=at)
            if r.random() < 0.3:
                expires = at + DAY * 30
                first = Token.new(user_id, f"{user_id}-r1", kind="refresh", created_at=at, expires_at=expires)
                if r.random() < 0.3:
                    first.rotated_at = at
                    yield Token.new(
                        user_id,
                        f"{user_id}-r2",
                        kind="refresh",
                        created_at=at,
                        expires_at=expires + DAY,
                        family=f"{user_id}-r1",
                    )
                yield first
            if r.random() < 0.15:
                expires = at + timedelta(hours=1)
                yield Token.new(user_id, f"{user_id}-a", kind="access", created_at=at, expires_at=expires)
                if r.random() < 0.1:
                    ban = f"ban#{user_id}-a"
                    yield Token.new(
                        user_id, ban, kind="blacklist", created_at=at, expires_at=expires, bans=f"{user_id}-a"
                    )


def _batches(rows: Sequence[Model]) -> Iterator[list[Model]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _write(what: tuple[str, list[Model]]) -> tuple[str, int]:
    """Write rows of one kind, 25 to a call."""
    kind, rows = what
    with type(rows[0]).batch_write() as batch:
        for row in rows:
            batch.save(row)
    return kind, len(rows)
