"""No mail address gets into a log line, whatever brings it there."""

import io
import json
import logging

import pytest

from backbeat.logs import LONGEST_LOGGED, logger, without_addresses


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.net",
        "ada+news@mail.example.co.uk",
        "o'brien@example.com",
        "max@straße.de",
        "用户@例子.中国",
        '"a b"@example.org',
        "bo@163.com",
        "bo@localhost",
        "bo@[10.0.0.1]",
        "bo@[10",
    ],
)
@pytest.mark.parametrize("around", ["{}", "failed: {}, and more", "<{}>", "to=({}): no", "'{}' is none\nat all"])
def test_an_address_is_replaced(address: str, around: str) -> None:
    text = without_addresses(around.format(address))
    assert "[address]" in text
    assert address.split("@")[1].strip("[]") not in text
    assert "ada" not in text and "bo" not in text


@pytest.mark.parametrize(
    "text",
    [
        "part 3 of send_content_digest_email@2026-11-02T09:00:00Z is not planned",
        "cleanup_old_posts@2026-11-01T01:00:00.500000Z/take",
        "@wraps(method)",
        "12 @ 3.5",
        "s3://a-bucket/surveys/update@2026-11-01/page.json",
    ],
)
def test_what_is_no_address_stays(text: str) -> None:
    assert without_addresses(text) == text


def test_a_long_text_is_read_once_not_from_each_of_its_characters() -> None:
    """From each anew, a message of the greatest size took a function's whole time."""
    text = "x" * 1_000_000
    assert without_addresses(text) == text


def test_half_of_a_character_and_a_text_without_end_are_logged() -> None:
    record = logging.makeLogRecord({"msg": "half \ud800 of it", "levelname": "INFO", "more": "x" * 1_000_000})
    line = json.loads(logger.registered_formatter.format(record))
    assert line["message"] == "half ? of it"
    assert len(line["more"]) == LONGEST_LOGGED


def test_every_value_of_a_line_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", out)
    try:
        int("ada@example.net")
    except ValueError as error:
        logger.exception("for ada@example.net", extra={"deep": [{"to": "ada@example.net"}], "error": error})
    line = json.loads(out.getvalue())
    assert line["message"] == "for [address]"
    assert line["deep"] == [{"to": "[address]"}]
    assert "ada" not in out.getvalue()


def test_half_a_surrogate_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(logger.registered_handler, "stream", io.TextIOWrapper(written, "utf-8", write_through=True))
    logger.info("a \udc00 b", extra={"deep": ["\ud800"]})
    line = json.loads(written.getvalue())
    assert (line["message"], line["deep"]) == ("a ? b", ["?"])
