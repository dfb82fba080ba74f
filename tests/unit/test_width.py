"""The double that tests/benchmarks/width.py measures with answers as moto does, for all that a walk asks."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backbeat.models import Post

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from width import Keys

MADE = datetime(2026, 11, 1, 5, tzinfo=UTC)


def everything(index: Any, key: str, *condition: Any, limit: int | None) -> list[tuple[list[str], bool]]:
    """All pages of a query, each with whether it says that there is another."""
    pages, last = [], None
    while True:
        rows = index.query(key, *condition, last_evaluated_key=last, limit=limit, page_size=limit)
        ids = [row.post_id for row in rows]
        last = rows.last_evaluated_key
        pages.append((ids, last is not None))
        if last is None:
            return pages


@pytest.mark.parametrize("limit", [1, 3, 4, 50, None])
def test_the_double_pages_as_moto_does(aws: None, one_shard: None, limit: int | None) -> None:
    ids = [f"post-{number:02}" for number in (3, 1, 4, 10, 5, 9, 2, 6)]
    with Post.batch_write() as batch:
        for post_id in ids:
            batch.save(Post.new(post_id, author_id="ann", text="", created_at=MADE))
    double = Keys(Post.by_day, {"2026-11-01#0": ids})
    by_id = type(Post.by_day).post_id
    conditions = ((), (by_id > "post-03",), (by_id <= "post-05",), (by_id.between("post-02", "post-055"),))
    for condition in conditions:
        asked = [everything(index, "2026-11-01#0", *condition, limit=limit) for index in (Post.by_day, double)]
        assert asked[0] == asked[1]
    assert everything(double, "2026-11-02#0", limit=limit) == [([], False)]
