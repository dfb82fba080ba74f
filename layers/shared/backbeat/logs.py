"""The log, and what never gets into it: anyone's mail address."""

import json
import re
from typing import Any

from aws_lambda_powertools import Logger

LONGEST_LOGGED = 20_000
"""Characters of a value in a log line: a traceback, mostly. CloudWatch takes 256 kB a line."""
ADDRESS = "[address]"
"""What stands for a mail address in a log line, in the ledger and with a dead letter."""


def without_addresses(text: str) -> str:
    """A text with each mail address in it replaced.

    Errors quote them: SES names the identities that failed, a parser the address that it could not read. A run's
    id, `task@2026-11-02T09:00:00Z`, is none.
    """
    return _ADDRESS.sub(ADDRESS, text)


def _serialized(line: dict[str, Any]) -> str:
    return json.dumps(_clean(line), default=lambda value: without_addresses(str(value)), ensure_ascii=False)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        encodable = value.encode(errors="replace").decode()  # half a surrogate would lose the whole line
        return without_addresses(encodable)[:LONGEST_LOGGED]
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


_END = r"\s@<>\"(),;:"
_ADDRESS = re.compile(
    rf'(?:"[^"\n]*"|(?<![^{_END}=])[^{_END}=]+)'  # quoted, or a dot-atom in any script, looked for where a word begins
    r"@(?:"
    rf"[^\W\d_][^{_END}]*"  # a domain that begins with a letter
    rf"|[^{_END}/]+\.[^{_END}/]+"  # or with a digit, and has several labels
    r"|\[[^\s\]]*\]?)"  # or a network address
)

logger = Logger(json_serializer=_serialized)
"""The process's log, for every module: one line is one JSON object."""
