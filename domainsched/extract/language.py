"""The language of a page: what it declares, checked against the words it uses."""

from __future__ import annotations

import re
from collections import Counter

from domainsched.extract.document import Document

_TAG = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|\d{3}))?(?![a-z0-9])")
_WORD = re.compile(r"[^\W\d_]+")
_SAMPLE = 10_000
"""Characters of text that are looked at."""

_ENOUGH = 8
"""Function words below which a text says nothing about its language."""

_ALIASES = {"in": "id", "iw": "he", "nb": "no", "nn": "no", "jp": "ja", "cz": "cs", "gr": "el"}
"""Withdrawn codes (RFC 5646, section 4.5), and country codes that are often written instead."""

_FUNCTION_WORDS = {
    "en": "the of and to in for is with your our are you we from this that on by at all have",
    "de": "der die und das ist nicht mit für von den ein eine wir sie auf im zu dem ihre auch bei",
    "fr": "le la les des et du une est pour dans que vous nous sur avec votre pas plus par au en",
    "es": "el la los las y de que en un una para con por es su del más nuestro al como se",
    "it": "il la di che per un una con del della non sono gli dei le nel alla più da",
    "pt": "os as de que em um uma para com não por mais do da dos na no você seu",
    "nl": "de het een en van voor met op zijn is niet bij ook naar wij onze uw te aan om die",
    "sv": "och att det som för med av är på en ett inte har vi till om din du från kan våra",
    "da": "og at det som for med af er på en et ikke har vi til om din du fra kan vores den",
    "no": "og å det som for med av er på en et ikke har vi til om din du fra kan våre oss",
    "fi": "ja on ei se että kun ovat myös tai sekä voi oli mutta kuin joka sen hän meidän olla",
    "pl": "w na z do się nie jest że to jak dla po od oraz przez za są lub ich nas",
    "cs": "v na se je z do že pro jsou od jako nebo po také ve za nás které",
    "sk": "v na sa je z do že pre sú od ako alebo po aj vo za nás ktoré",
    "hu": "az és hogy nem is egy van meg ez de vagy mint csak már ha el minden nagy által",
    "ro": "și în de la cu pe care nu din un este pentru sunt mai al sau prin ale",
    "tr": "ve bir bu için ile da de çok olarak daha en olan ne gibi kadar sonra her ya tüm",
    "id": "yang dan di untuk dengan dari ini pada tidak adalah dalam itu akan ke atau kami anda",
    "lt": "ir iš su kad yra ne tai kaip už apie jūs mes mūsų prie nuo bei arba dėl",
    "lv": "un ir no ar par uz kas lai ka vai kā mēs jūs tas pie pēc arī mūsu līdz",
    "et": "ja on ei see et kui ka oma või meie mis kes siis oli ning aga kuid ole teie",
    "hr": "na je se za da su od koji ili kao što ne iz naš po sve do",
    "sl": "in v na je za se so z da ki tudi od ali pri ne kot smo po naše iz",
    "ca": "el la els les de que en un una per amb és del més al seva com dels es",
    "vi": "và của các có là cho được với trong không những một để người này khi đã từ",
}
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _LANGUAGES.setdefault(_word, []).append(_language)

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("cyrillic", re.compile(r"[\u0400-\u04ff]")),
    ("arabic", re.compile(r"[\u0600-\u06ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
)
_LETTERS = {
    "cyrillic": (("uk", "їєґ"), ("be", "ў"), ("mk", "ѓќѕ"), ("sr", "ђћљњџј"), ("ru", "ыэё")),
    "arabic": (("ur", "ٹڈڑے"), ("fa", "پچژگ")),
}
"""Letters that only one language of a script has."""


def language(document: Document) -> str | None:
    """Give the page's language as a BCP 47 tag, like `en` or `de-AT`.

    The declaration counts unless the words plainly say otherwise: "en" is what many systems
    declare when nobody chose.
    """
    declared = next((tag for tag in map(normalise, _declarations(document)) if tag), None)
    detected = _detect(document.text[:_SAMPLE], declared.split("-")[0] if declared else None)
    return declared if declared and detected in {None, declared.split("-")[0]} else detected


def normalise(text: str) -> str | None:
    """Give language and region of a tag in its usual writing, or None if it is none."""
    found = _TAG.match(text.strip().lower())
    if not found:
        return None
    primary = _ALIASES.get(found[1], found[1])
    return f"{primary}-{found[3].upper()}" if found[3] else primary


def _declarations(document: Document) -> list[str]:
    """Give all of them, the most binding first."""
    roots = [node.attributes for node in (document.tree.root, document.tree.body) if node]
    attributes = [root.get(name) for root in roots for name in ("lang", "xml:lang")]
    names = ("content-language", "og:locale", "language", "dc.language", "inlanguage")
    metas = [document.meta(name) for name in names]
    return [
        value for value in [*attributes, *metas, document.headers.get("content-language")] if value
    ]


def _detect(text: str, declared: str | None) -> str | None:
    """Give the language of the text, or None if it is not plain; the declared one needs less."""
    script = _script(text)
    if script:
        return _by_letters(text, script, declared)
    counts = Counter(
        language for word in _WORD.findall(text.lower()) for language in _LANGUAGES.get(word, ())
    )
    ranked = counts.most_common(1)
    if not ranked or ranked[0][1] < _ENOUGH:
        return None
    best, count = ranked[0]
    if declared in _FUNCTION_WORDS:
        return best if count > 2 * counts[declared] else declared
    return None if declared else best


def _script(text: str) -> str | None:
    """Give the writing system of at least a third of the letters."""
    letters = sum(map(len, _WORD.findall(text)))
    for name, pattern in _SCRIPTS:
        found = len(pattern.findall(text))
        if found >= 2 * _ENOUGH and found * (10 if name == "ja" else 3) > letters:
            return name
    return None


def _by_letters(text: str, script: str, declared: str | None) -> str:
    languages = _LETTERS.get(script)
    if languages is None:
        return script
    for language, letters in languages:
        if sum(map(text.count, letters)) * 500 > len(text):
            return language
    default = "bg" if script == "cyrillic" else "ar"
    return declared if declared in {"kk", "mn", "ky", "tg", "ps", "ckb"} else default
