"""Addresses: the one form in which SES takes an address as it was stored, and in which two are compared."""

import re

from backbeat.text import INVISIBLE

LONGEST = 254
"""Characters of an address (RFC 5321, section 4.5.3.1.3, without the brackets of a path)."""
LONGEST_LOCAL_PART = 64
"""Characters before the @ (RFC 5321, section 4.5.3.1.1)."""


class InvalidAddress(ValueError):
    """What was stored is no address that SES could send to; the text says why, and does not repeat it."""


def normal_form(address: str | None) -> str:
    """An address as SES takes it: all in ASCII, without a name, blanks around it, or the dot of the DNS's root.

    SES has no SMTPUTF8, so that only the domain may hold other characters than ASCII's, written as Punycode (SES API
    v2, "Destination"). They are mapped as browsers map them (UTS #46, non-transitional): `straße.de` is not
    `strasse.de`, which may be another's.

    Args:
        address: An address as an application stored it, or as SES reports it, `Ada <ada@example.net>` included.

    Raises:
        InvalidAddress: It is none, whatever else it is.
    """
    bare = _trimmed(address or "")
    if bare.endswith(">"):
        bare = _trimmed(bare[bare.rfind("<") + 1 : -1])
    if not bare:
        raise InvalidAddress("there is none")
    local, at, domain = bare.rpartition("@")
    if not at:
        raise InvalidAddress("it has no @")
    if not local.isascii():
        raise InvalidAddress("SES takes only ASCII before the @")
    if not _LOCAL_PART.fullmatch(local):
        raise InvalidAddress("what stands before the @ is no name of a mailbox")
    domain = _ascii(domain)
    if len(local) > LONGEST_LOCAL_PART or len(local) + 1 + len(domain) > LONGEST:
        raise InvalidAddress(
            f"it has over {LONGEST} characters, or over {LONGEST_LOCAL_PART} before the @, and no mail server takes it"
        )
    return f"{local}@{domain}"


def identity(address: str) -> str:
    """What two addresses have in common that are one and the same mailbox.

    Case does not count before the @ either: a mail server may tell `Ada` from `ada`, and none is known to.
    """
    try:
        return normal_form(address).lower()
    except InvalidAddress:
        return address.strip().lower()


def _ascii(domain: str) -> str:
    """A domain in ASCII and small letters.

    Raises:
        InvalidAddress: It is no domain.
    """
    if len(domain) > LONGEST:
        raise InvalidAddress(f"its domain has over {LONGEST} characters")
    if not domain.isascii():
        import idna  # here, as its tables take 50 ms, and few domains need them

        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode()
        except idna.IDNAError as error:
            raise InvalidAddress("what stands after the @ is no domain (UTS #46)") from error
    domain = domain.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        raise InvalidAddress("what stands after the @ is no domain")
    return domain


def _trimmed(text: str) -> str:
    """A text without blanks and invisible characters around it, which come along where an address is pasted."""
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while end > start and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_blank(character: str) -> bool:
    return character.isspace() or bool(INVISIBLE.match(character))


_LOCAL_PART = re.compile(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""A dot-atom (RFC 5322, section 3.2.3). SES would take others in quotes; hardly anybody has one."""
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z]){_LABEL}")
"""Two labels or more (RFC 1123, section 2.1), the last one no number, or it would be an IP address."""
