"""The network that `backbeat seed` makes: the same each time, true to itself, and as uneven as a real one."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pynamodb.models import Model
from support import STACK
from typer.testing import CliRunner

from backbeat.models import Activity, Comment, Follow, Like, Post, Token, User, day_key
from backbeat_ops import cli, commands
from backbeat_ops.seed import BURSTS, SPAM_TOPICS, Network
from backbeat_ops.stack import Stack

UNTIL = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(900, 3_000, random_seed=1, until=UNTIL)


def rows(network: Network, kind: str) -> list[Model]:
    return list(network._by_kind[kind])


def serialized(network: Network) -> list[str]:
    return [repr(row.serialize()) for of_kind in network._by_kind.values() for row in of_kind]


def test_the_same_seed_makes_the_same_rows() -> None:
    one, same, other = (Network(40, 90, random_seed=seed, until=UNTIL) for seed in (1, 1, 2))
    assert serialized(one) == serialized(same)
    users = {user.user_id for user in one._users}
    assert not users & {user.user_id for user in other._users}, "another seed's network lies beside it"


def test_it_has_as_many_people_and_posts_as_asked_for(network: Network) -> None:
    assert network.rows["users"] == 900
    assert network.rows["posts"] + network.rows["late posts"] == 3_000


def test_the_counts_are_those_of_the_rows_but_for_a_little_drift(network: Network) -> None:
    followers = Counter(follow.followed_id for follow in network._follows)
    following = Counter(follow.follower_id for follow in network._follows)
    posts = Counter(post.author_id for post in network._post_rows)
    drifted = sum(user.followers_count != followers[user.user_id] for user in network._users)
    assert 0 < drifted < 30
    for user in network._users:
        assert (user.following_count, user.posts_count) == (following[user.user_id], posts[user.user_id])
    likes = Counter(like.post_id for like in network._likes)
    comments = Counter(comment.post_id for comment in network._comments)
    for post in network._post_rows:
        assert (post.likes_count, post.comments_count) == (likes[post.post_id], comments[post.post_id])


def test_no_key_is_made_twice(network: Network) -> None:
    for of_kind in network._by_kind.values():
        keys = [tuple(row._get_keys().values()) for row in of_kind]
        assert len(keys) == len(set(keys))


def test_nothing_happens_before_somebody_joined_or_after_the_end(network: Network) -> None:
    joined = {user.user_id: user.created_at for user in network._users}
    for post in network._post_rows:
        assert joined[post.author_id] <= post.created_at <= UNTIL
        assert post.day == day_key(post.created_at, post.post_id)
    for row in (*network._likes, *network._comments):
        assert row.created_at <= UNTIL


def test_whoever_did_something_lately_was_active_that_day(network: Network) -> None:
    active = {(row.day, row.user_id) for row in network._activity}
    lately = UNTIL - 39 * DAY
    for post in network._post_rows:
        if post.created_at > lately:
            assert (day_key(post.created_at, post.author_id), post.author_id) in active


def test_it_is_as_uneven_as_a_real_one(network: Network) -> None:
    followers = sorted((user.followers_count for user in network._users), reverse=True)
    assert sum(followers[:90]) > sum(followers) / 3, "a tenth has over a third of the followers"
    likes = sorted((post.likes_count for post in network._post_rows), reverse=True)
    assert sum(likes[:300]) > sum(likes) / 2
    assert len({user.locale for user in network._users}) == 7
    dormant = sum(user.last_login_at < UNTIL - 30 * DAY for user in network._users)
    assert 0.2 < dormant / 900 < 0.5
    assert any(user.deleted_at for user in network._users)
    old = [post for post in network._post_rows if post.created_at < UNTIL - 365 * DAY]
    assert any(not post.likes_count and not post.comments_count and post.views_count < 10 for post in old)
    week = [post for post in network._post_rows if post.created_at > UNTIL - 7 * DAY]
    tags = Counter(tag for post in week for tag in post.hashtags or ())
    assert all(tags[topic] for topic, _, _ in BURSTS)
    spammers = {post.author_id for post in network._post_rows if SPAM_TOPICS[0] in (post.hashtags or ())}
    assert spammers == {"s1-u000007", "s1-u000407", "s1-u000807"}
    kinds = Counter(token.kind for token in network._tokens)
    assert set(kinds) == {"access", "refresh", "session", "blacklist"}


def test_the_command_writes_it_all(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.seed, "the_stack", lambda context: Stack(STACK))
    arguments = ["seed", "--users", "15", "--posts", "30", "--at", "2026-11-01T12:00Z", "--json"]
    done = CliRunner().invoke(cli.app, arguments, env={"BACKBEAT_STACK": ""})
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)["written"]
    expected = Network(15, 30, random_seed=1, until=UNTIL)
    assert written == expected.rows
    tables = {
        "users": User,
        "follows": Follow,
        "likes": Like,
        "comments": Comment,
        "activity": Activity,
        "tokens": Token,
    }
    for kind, model in tables.items():
        assert model.count() == written.get(kind, 0), kind
    stored = {(post.post_id, post.text, post.created_at, post.likes_count, post.day) for post in Post.scan()}
    made = expected._post_rows
    assert stored == {(post.post_id, post.text, post.created_at, post.likes_count, post.day) for post in made}


def test_a_stack_on_aws_is_asked_about_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.seed, "the_stack", lambda context: Stack("prod"))
    done = CliRunner().invoke(cli.app, ["--stack", "prod", "seed", "--users", "5", "--posts", "5"], input="n\n")
    assert done.exit_code == 1
    assert "Write 5 people and 5 posts to prod on AWS?" in done.output
