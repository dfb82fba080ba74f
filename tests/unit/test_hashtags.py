import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbeat.posts import hashtags
from backbeat.posts.hashtags import distinct, distinct_tags, find, fold

# One group for each kind of case in the conformance suite of twitter-text.
CASES: dict[str, list[tuple[str, list[str]]]] = {
    "letters and digits": [
        ("we #ride at dawn", ["ride"]),
        ("see you at #fosdem26", ["fosdem26"]),
        ("#3dprinting is fun", ["3dprinting"]),
        ("take the #9 tram, gate #0 or #12_34", []),
        ("#_ #__ #〃 #·", []),
        ("#_x #x_ #snake_case", ["_x", "x_", "snake_case"]),
        ("#", []),
        ("C# and F#", []),
        ("no sign at all", []),
    ],
    "what may stand before": [
        ("(#one) [#two] {#three} “#four” '#five'", ["one", "two", "three", "four", "five"]),
        (".#a ,#b ;#c :#d !#e ?#f /#g -#h", list("abcdefgh")),
        ("word#no 1#no _#no é#no 語#no ·#no", []),
        ("&#nbsp &#x27 &#no", []),
        ("❤️#love ✈︎#fly 🎉#party", ["love", "fly", "party"]),
        ("来週です。#予定 すごい！＃予定", ["予定", "予定"]),
        ("\n#first\n#second\r\n#third", ["first", "second", "third"]),
        ("# apart", []),
        ("##double", ["double"]),
    ],
    "what may stand after": [
        ("#one. #two, #three; #four: #five! #six? #seven)", ["one", "two", "three", "four", "five", "six", "seven"]),
        ("#it's #rock&roll #a-b #x/y", ["it", "rock", "a", "x"]),
        ("#left#right", []),
        ("#left＃right", []),
        ("#https://example.org #ftp://example.org", []),
        ("#colon:// #colon: //", ["colon"]),
        ("#️⃣ #⃣ #1️⃣", ["1️⃣"]),  # a digit's keycap holds marks: the rules let it through, the sign's own not
    ],
    "scripts": [
        ("#Weißensee #İstanbul #ılık #Čapek #ﬁn", ["Weißensee", "İstanbul", "ılık", "Čapek", "ﬁn"]),
        ("#наука #Αθήνα #Երևան #თბილისი", ["наука", "Αθήνα", "Երևան", "თბილისი"]),
        ("#서울 #ﾡﾢ #東京 #とうきょう #トーキョー #ﾄｰｷｮｰ", ["서울", "ﾡﾢ", "東京", "とうきょう", "トーキョー", "ﾄｰｷｮｰ"]),
        (
            "#人々 #こゞ #ナ～ナ #ナ〜ナ #ジョン・スミス #各〃",
            ["人々", "こゞ", "ナ～ナ", "ナ〜ナ", "ジョン・スミス", "各〃"],
        ),
        ("#ｔａｇ４２ ＃ｗｉｄｅ ＃４２", ["ｔａｇ４２", "ｗｉｄｅ"]),
        ("#كتاب_جديد #کتاب‌خانه #۱۲هفته #١٢٣", ["كتاب_جديد", "کتاب‌خانه", "۱۲هفته"]),
        ("#שלום #ג׳ירפה #צה״ל #בית־ספר", ["שלום", "ג׳ירפה", "צה״ל", "בית־ספר"]),
        ("#नमस्ते #दिल्ली_२०२६ #२०२६ #শুভ #வணக்கம்", ["नमस्ते", "दिल्ली_२०२६", "শুভ", "வணக்கம்"]),
        ("#ශ්‍රී #ภาษาไทย #ພາສາ #ខ្មែរ #မြန်မာ #བོད་ཡིག", ["ශ්‍රී", "ภาษาไทย", "ພາສາ", "ខ្មែរ", "မြန်မာ", "བོད་ཡིག"]),
        ("#ኢትዮጵያ #col·legi #cafe\N{COMBINING ACUTE ACCENT}", ["ኢትዮጵያ", "col·legi", "cafe\u0301"]),
        ("#\U00020000 #\U00016f00\U00016f52 #b\U000104a1", ["\U00020000", "\U00016f00\U00016f52", "b\U000104a1"]),
        ("#☕ #½ #²", []),
    ],
    "what does not show": [
        ("#\u3164 #\u115f #\uffa0 #\u200d #\u2060 #\u180e #\u034f", []),
        ("#news\u200d, #\u2060news #news\ufe0f #news\U000e0100", ["news"] * 4),
        ("#ne\u2060ws #ne\u00adws #ne\ufeffws", ["ne\u2060ws", "ne\u00adws", "ne\ufeffws"]),
        ("#zero\u200bwidth", ["zero"]),
        (f"#n{chr(0x2060) * 1_000}ews", []),
    ],
    "URLs": [
        ("https://example.org/#no http://example.org/a/.#no", []),
        ("example.org/#no sub.example.co.uk:8080/p?q=(#no ELPAÍS.com/#no", []),
        ("example.org?q=)#no http://localhost/#no http://пример.みんな/#no", []),
        ("(https://example.org/)#yes https://example.org/(a)/#no", ["yes"]),
        ("https://example.org/、#yes https://example.org/ #yes", ["yes", "yes"]),
        ("見てexample.org/#no", []),
        ("and/or/#yes 3.14/#yes e.g./#yes v1.x/#yes", ["yes"] * 4),
        ("#example.org/#too", ["example", "too"]),
        ("me@example.org/#yes", ["yes"]),
        ("HTTPS://EXAMPLE.ORG/#no xn--bcher-kva.xn--p1ai/#no", []),
        ("https://example.org/a https://example.org/#no #yes example.org/b", ["yes"]),
    ],
}


@pytest.mark.parametrize(("text", "tags"), [case for group in CASES.values() for case in group])
def test_what_is_a_hashtag(text: str, tags: list[str]) -> None:
    assert find(text) == tags


def test_tags_longer_than_a_key_may_be_are_left_out() -> None:
    assert find(f"#{'x' * 100} #{'y' * 101}") == ["x" * 100]
    assert find("#" + "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 6) == []  # it folds to 18 characters


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Python", "PYTHON"),
        ("ｐｙｔｈｏｎ", "python"),
        ("ﾄｰｷｮｰ", "トーキョー"),
        ("Straße", "STRASSE"),
        ("ﬁn", "fin"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("café", "cafe\N{COMBINING ACUTE ACCENT}"),
        *(("news", f"ne{unseen}ws") for unseen in "\u200c\u200d\u2060\u00ad\ufeff\u034f\u180b\ufe0f\U000e0100"),
        ("\u3164가", "가"),
        ("İzmir", "i\N{COMBINING DOT ABOVE}zmir"),
    ],
)
def test_spellings_of_one_tag(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_of_a_text_thirty_tags_count() -> None:
    tags = list(distinct(" ".join(f"#t{number}x #T{number}X" for number in range(3_000))))
    assert tags == [f"t{number}x" for number in range(30)]
    with pytest.raises(ValueError, match="there are 31, more than 30"):
        distinct_tags("", [f"t{number}x" for number in range(31)])


def test_accents_tell_tags_apart() -> None:
    assert fold("año") != fold("ano")


def test_a_text_counts_a_tag_once_and_shows_it_as_first_written() -> None:
    assert distinct("#Jazz and #JAZZ and ＃ｊａｚｚ, not #Blues") == {"jazz": "Jazz", "blues": "Blues"}


@given(st.text())
def test_folding_twice_is_folding_once(tag: str) -> None:
    assert fold(fold(tag)) == fold(tag)


@settings(max_examples=300)
@given(st.text(alphabet="#＃ab1_&:/.(?é語\u0301\ufe0f \n"))
def test_every_tag_found_keeps_the_rules(text: str) -> None:
    for tag in find(text):
        assert any(unicodedata.category(c)[0] in "LM" for c in tag)
        assert f"#{tag}" in text or f"＃{tag}" in text
        assert find(f"#{tag}") == [tag]


@pytest.mark.parametrize(
    "unit", ["#", "#1", "a.", "a-", "http://", "http://a", "example.org/(", "(a", "((a)", "example.org/?(#", "＃é&#"]
)
def test_work_grows_with_length_alone(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    belongs = hashtags._belongs

    def counting(character: str) -> bool:
        nonlocal looked_at
        looked_at += 1
        return belongs(character)

    monkeypatch.setattr(hashtags, "_belongs", counting)
    text = unit * 20_000 + " #end"
    assert find(text)[-1] == "end"  # a pattern that backtracks would not come back
    assert looked_at <= 3 * len(text)
