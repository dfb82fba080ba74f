"""One form for each address: what SES takes, what it reports, and an error of one kind for all else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbeat.mail.addresses import InvalidAddress, identity, normal_form
from backbeat.mail.sending import Site, compose, render
from backbeat.models import User
from backbeat.runtime import Rejected

SITE = Site("Backbeat", "hello@example.com", "", "https://example.com", "https://u.example/", "mail")
LINK = "https://u.example/?token=x"


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("ada@example.net", "ada@example.net"),
        ("Ada.L+news@Example.NET", "Ada.L+news@example.net"),
        ("  ada@example.net\n", "ada@example.net"),
        ("\u202aada@example.net\u202c", "ada@example.net"),  # as some address books copy it
        ("\ufeffada@example.net\u00a0", "ada@example.net"),
        ("bo@example.net.", "bo@example.net"),
        ("Ada <ada@example.net>", "ada@example.net"),
        ("< ada@example.net >", "ada@example.net"),
        ("max@straße.de", "max@xn--strae-oqa.de"),
        ("max@strasse.de", "max@strasse.de"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
        ("ada@例え。テスト", "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@ｅｘａｍｐｌｅ．ｎｅｔ", "ada@example.net"),
        ("ada@βόλος.com", "ada@xn--nxasmm1c.com"),
        ("ada@ab--cd.example", "ada@ab--cd.example"),
    ],
)
def test_an_address_has_one_form_in_which_it_is_sent(stored: str, sent: str) -> None:
    assert normal_form(stored) == sent
    assert normal_form(sent) == sent


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        " ",
        "<>",
        "no address",
        "@example.net",
        "ada@",
        "ada@.",
        "ada@example.net..",
        "ada@.example.net",
        "ada@example",
        "bo@[10",
        "bo@[10.0.0.1]",
        "bo@10.0.0.1",
        "bo@example..net",
        "bo@-example.net",
        "bo@exa mple.net",
        "bo@exa_mple.net",
        "bo@i❤.ws",
        "bo@example.net\r\nBcc: all@example.net ",
        "a@b@c\r\nBcc: x@example.net",
        "bo.@example.net",
        "b..o@example.net",
        '"bo"@example.net',
        "bo(x)@example.net",
        "ü@example.net",
        "=?utf-8?q?bo?=@exam(ple.net",
        "b" * 65 + "@example.net",
        "bo@" + "x." * 130 + "net",
        "bo@" + "ü." * 100_000 + "net",
        "bo@\ud800.net",
        "\x00@example.net",
    ],
)
def test_what_is_no_address_is_refused_by_one_error_that_does_not_repeat_it(stored: str | None) -> None:
    with pytest.raises(InvalidAddress) as caught:
        normal_form(stored)
    assert "example" not in str(caught.value)
    assert len(str(caught.value)) < 200


@settings(max_examples=400)
@given(
    st.one_of(
        st.text(),
        st.builds("{}@{}".format, st.text(), st.text()),
        st.builds("bo@{}.{}".format, st.text(), st.text()),
        st.builds("{}@example.net".format, st.text(alphabet=st.characters(max_codepoint=127))),
        st.from_regex(r"[\w.+-]{1,9}@[\w.\[\]:-]{1,20}", fullmatch=True),
        st.emails(),
    )
)
def test_any_text_is_sent_to_as_it_is_written_in_the_mail_or_refused(stored: str) -> None:
    member = User("user-1", name="Ada", email=stored)
    rendered = render("welcome", "en", SITE, member, LINK)
    try:
        form = normal_form(stored)
    except InvalidAddress:
        with pytest.raises(Rejected, match=r"^user 'user-1' has an invalid address: "):
            compose(SITE, member, rendered, LINK)
        return
    assert form.isascii() and form.count("@") == 1
    assert normal_form(form) == form
    message = compose(SITE, member, rendered, LINK)
    (to,) = message["To"].addresses
    assert to.addr_spec == form
    unfolded = message.as_bytes().replace(b"\r\n ", b"").replace(b"To: ", b"To:")  # a long one begins on a line below
    assert f"To:{form}\r\n".encode() in unfolded


@pytest.mark.parametrize(
    ("stored", "reported"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        (" ada@example.net", "ada@example.net"),
        ("Ada@Example.net", "ada@example.NET"),
        ("ada@example.net.", "ada@example.net"),
        ("ada@example.net", '"Ada, L." <ada@example.net>'),
        ("Ada <ada@example.net>", "ada@example.net"),
        ("no Address", "no address "),
    ],
)
def test_two_forms_of_one_address_are_the_same(stored: str, reported: str) -> None:
    assert identity(stored) == identity(reported)


def test_two_addresses_are_not_the_same() -> None:
    addresses = ("max@straße.de", "max@strasse.de", "ma.x@strasse.de", "max+a@strasse.de")
    assert len({identity(address) for address in addresses}) == 4
