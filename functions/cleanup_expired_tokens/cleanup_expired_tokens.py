"""cleanup_expired_tokens: deletes the tokens that are worthless.

Three kinds of rows are due: tokens whose expiry has passed, sessions that were not seen for 30 days, and all tokens of
users who did not log in for 30 days, but for those made since. Each is found by its day, so a run reads what became
due since the last one. Two kinds outlive their own expiry: the ban of a token that lives on, and a refresh token whose
family lives on, for whoever uses such a token again may have stolen it. They are put off until the other is gone; of a
family's, the last hundred.

Every delete is conditional on what was read, so a token that is renewed meanwhile stays.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.indexes import GlobalSecondaryIndex

from backbeat.models import (
    Changed,
    Check,
    Delete,
    Token,
    User,
    day_key,
    delete_if,
    each,
    readable,
    update_if,
    write_together,
)
from backbeat.runtime import InParts, Run, implementation
from backbeat.sweeps import (
    Json,
    PartDone,
    Tally,
    Worked,
    add_up,
    advance,
    as_read,
    bounded,
    held,
    in_parts,
    last_run,
    note_in,
    partitions,
    spread,
    walk,
)
from backbeat.tasks import cleanup_expired_tokens

SPENT_KEPT = 100
"""How many refresh tokens of a family that lives on are kept after their expiry, the last exchanged ones: who uses an
older one gets nothing for it, but is not taken for a thief."""

INDEXES: dict[str, tuple[GlobalSecondaryIndex[Any], str]] = {
    "due": (Token.by_due, "due_day"),
    "seen": (Token.by_seen, "seen_day"),
    "login": (User.by_login, "login_day"),
}


@dataclass(frozen=True, slots=True)
class TokensCleaned:
    """What a run deleted, by kind, and what it did not.

    Attributes:
        access: Access tokens deleted.
        refresh: Refresh tokens deleted.
        session: Sessions deleted.
        blacklist: Bans deleted.
        other: Tokens of other kinds deleted.
        away: Users who stayed away too long.
        renewed: Tokens that were due, but renewed or seen since.
        needed: Tokens put off, as another that lives on needs them.
        unreadable: Rows that cannot be read; the log names them.
    """

    access: int
    refresh: int
    session: int
    blacklist: int
    other: int
    away: int
    renewed: int
    needed: int
    unreadable: int


@implementation(cleanup_expired_tokens)
def handle(
    run: Run, idle_days: int = 30, full: bool = False, only: list[str] | None = None
) -> TokensCleaned | InParts | PartDone:
    """Delete the tokens that have become worthless since the last run."""
    away_since = run.now - timedelta(days=idle_days)

    def work(spec: Json, cursor: Json | None, tally: Tally) -> Worked:
        if "only" in spec:
            return clean_of(spec["only"], run.now, away_since)

        def clean(page: list[Any], tally: Counter[str]) -> None:
            match spec["index"]:
                case "due":
                    clean_expired(page, run.now, tally)
                case "seen":
                    clean_unseen(page, away_since, tally)
                case "login":
                    clean_away(page, away_since, tally)

        return walk(run, INDEXES[spec["index"]][0], spec, cursor, tally, clean)

    def finish(tallies: list[Tally]) -> TokensCleaned:
        if not only:
            advance(run.task.name, run.now)
            advance(run.task.name, away_since, "away_since")
        total = add_up(tallies)
        kinds = ("access", "refresh", "session", "blacklist", "other")
        return TokensCleaned(**{name: total[name] for name in (*kinds, "away", "renewed", "needed", "unreadable")})

    return in_parts(run, plan=lambda: bounded(only) if only else plan(run, away_since, full), work=work, finish=finish)


def plan(run: Run, away_since: datetime, full: bool) -> list[Json]:
    """The partitions of what has become due since the last run; in a first or full run, all that hold any of it."""
    parts: list[Json] = []
    for name, of, until in (
        ("due", "until", run.now),
        ("seen", "away_since", away_since),
        ("login", "away_since", away_since),
    ):
        since = None if full else last_run(run.task.name, until, of)
        parts += spread(name, partitions(since.date(), until.date()) if since else held(*INDEXES[name], until.date()))
    return parts


def clean_of(user_ids: Collection[str], now: datetime, away_since: datetime) -> Tally:
    """Delete what is worthless of some users' tokens."""
    tally: Counter[str] = Counter()
    for user_id in user_ids:
        tokens = list(each(Token.query(user_id, consistent_read=True), note_in(tally)))
        clean_expired(tokens, now, tally)
        clean_unseen(tokens, away_since, tally)
    clean_away([User(user_id) for user_id in user_ids], away_since, tally)
    return tally


def clean_expired(page: list[Token], now: datetime, tally: Counter[str]) -> None:
    """Delete the tokens of a page whose expiry has passed, or put them off where another needs them."""
    found_on = {(row.user_id, row.token_id): row.due_day for row in page}
    families: dict[str, set[str]] = defaultdict(set)
    others: list[Token] = []
    broken = note_in(tally)
    for token in readable(Token, found_on, broken):
        if token.expires_at is None or token.expires_at > now:
            continue  # later on its day, or renewed
        if token.due_day != found_on[token.user_id, token.token_id]:
            continue  # put off with its family since
        if token.kind == "refresh" and token.family:
            families[token.user_id].add(token.family)
        else:
            others.append(token)
    for user_id, names in families.items():
        clean_families(user_id, names, now, tally)
    banned = [(token.user_id, token.bans) for token in others if token.kind == "blacklist" and token.bans]
    lifetimes = {
        (token.user_id, token.token_id): token.expires_at
        for token in readable(Token, banned, broken, consistent_read=True)
    }
    for token in others:
        needed_until = lifetimes.get((token.user_id, token.bans)) if token.kind == "blacklist" else None
        if needed_until and needed_until > now:
            put_off(token, needed_until, tally)
        else:
            delete(token, as_read(Token.expires_at, token.expires_at), tally)


def clean_families(user_id: str, families: Collection[str], now: datetime, tally: Counter[str]) -> None:
    """Delete what has expired of a user's families of refresh tokens, or put it off where a family lives on.

    It takes all of a family that has expired, not only what is on a page, so that a family is read once. All tokens
    of a user are one partition, so that a token exchanged just now is seen.
    """
    members: dict[str, list[Token]] = defaultdict(list)
    for token in each(Token.query(user_id, consistent_read=True), note_in(tally)):
        if token.kind == "refresh" and token.family in families and token.expires_at:
            members[token.family].append(token)
    for family in members.values():
        lives_until = max(token.expires_at for token in family)
        expired = [token for token in family if token.expires_at <= now]
        newest_first = sorted(expired, key=lambda token: token.rotated_at or now, reverse=True)
        kept = newest_first[:SPENT_KEPT] if lives_until > now else []
        for token in newest_first[len(kept) :]:
            delete(token, as_read(Token.expires_at, token.expires_at), tally)
        for token in kept:
            put_off(token, lives_until, tally)


def put_off(token: Token, until: datetime, tally: Counter[str]) -> None:
    """Let a token be due again only when what needs it has expired; a ban holds as long as that, too."""
    due_day = day_key(until, token.token_id)
    if due_day == token.due_day:
        return
    actions: list[Action] = [Token.due_day.set(due_day)]
    if token.kind == "blacklist":
        actions.append(Token.expires_at.set(until))
    as_found = as_read(Token.expires_at, token.expires_at) & as_read(Token.due_day, token.due_day)
    tally["needed" if update_if(token, actions, as_found) else "renewed"] += 1


def clean_unseen(page: list[Token], away_since: datetime, tally: Counter[str]) -> None:
    """Delete the sessions of a page that were not seen since."""
    for token in readable(Token, [(row.user_id, row.token_id) for row in page], note_in(tally)):
        if token.last_seen_at and token.last_seen_at <= away_since:
            delete(token, as_read(Token.last_seen_at, token.last_seen_at), tally)


def clean_away(page: list[User], away_since: datetime, tally: Counter[str]) -> None:
    """Delete all tokens, but not the bans, of the users of a page who did not log in since.

    A token that was made since stays: whoever got it was here, whether or not the login was noted, as simplejwt does
    not note it unless it is told to.
    """
    broken = note_in(tally)
    for user in readable(User, [row.user_id for row in page], broken):
        if user.last_login_at is None or user.last_login_at > away_since or user.last_login_at == user.created_at:
            continue  # here, or of whom it is not known when they logged in, as after an import
        theirs = each(Token.query(user.user_id, consistent_read=True), broken)
        tokens = [token for token in theirs if token.kind != "blacklist" and token.created_at <= away_since]
        if tokens:
            tally["away"] += 1
        for token in tokens:
            if not delete_of_away(token, user, tally):
                break


def delete_of_away(token: Token, user: User, tally: Counter[str]) -> bool:
    """Delete a token if its user is still away; return whether they are."""
    still_away = Check(User, user.user_id, User.last_login_at == user.last_login_at)
    deletion = Delete(token, as_read(Token.expires_at, token.expires_at) & Token.token_id.exists())
    Changed.note("token", token.user_id, token.token_id)
    unmet = write_together(still_away, deletion)
    if unmet:
        tally["renewed"] += 1
    else:
        count(token, tally)
    return still_away not in unmet


def delete(token: Token, as_found: Condition, tally: Counter[str]) -> None:
    """Delete a token that is as it was read."""
    Changed.note("token", token.user_id, token.token_id)
    if delete_if(token, as_found & Token.token_id.exists()):
        count(token, tally)
    else:
        tally["renewed"] += 1


def count(token: Token, tally: Counter[str]) -> None:
    """Count a deleted token under its kind."""
    tally[token.kind if token.kind in ("access", "refresh", "session", "blacklist") else "other"] += 1


lambda_handler = handle.lambda_handler
