"""Where a site keeps its contacts, if not on this page: its contact, imprint and about pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from unicodedata import normalize
from urllib.parse import unquote, urldefrag

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document, host_of, path_of, split
from domainsched.extract.encoding import clean
from domainsched.extract.suffix import site

_MAX = 5
"""Pages given."""

_ENDS = 1_000
"""Links looked at from either end of the page: menus are at its head and its foot."""

_MAX_TEXT = 80
_MAX_ESCAPED = 12 * _MAX_TEXT
"""As a URL may write it: four bytes a character, three signs each."""
_MAX_HREF = 1_000
"""Characters; longer texts are sentences, longer URLs are searches."""

_NO_LETTERS = re.compile(r"[\W_]+")  # the accents that NFKD sets apart are no letters either
_NO_ASCII_LETTERS = bytes(code for code in range(0x80) if not chr(code).isalnum())

_CONTACT = """
    contact|contact us|contacts|contact info|contact information|get in touch|reach us|write to us
    contact form|contact details|kontakt|kontakte|kontaktformular|kontaktieren sie uns
    ansprechpartner|so erreichen sie uns|contactez nous|nous contacter|nous joindre|contacto
    contactos|contáctanos|contáctenos|contatti|contattaci|contattateci|contato|contatos
    fale conosco|contacte nos|contactar|neem contact op|kontakta oss|kontakt oss|kontakt os
    ota yhteyttä|yhteystiedot|kontakty|skontaktuj się|kontaktujte nás|kontaktné údaje
    kontaktní údaje|kapcsolat|elérhetőség|elérhetőségek|contactați ne|iletişim|bize ulaşın
    hubungi kami|kontak|kontaktai|susisiekite|kontakti|sazinieties|kontaktid|võta ühendust
    contacte|contacta|liên hệ|контакты|контакти|контакт|связаться с нами|контактная информация
    зв'язок|контактна інформація|връзка с нас|επικοινωνία|epikoinonia|צור קשר|יצירת קשר|اتصل بنا
    تواصل معنا|تماس با ما|お問い合わせ|お問合せ|問い合わせ|联系我们|聯絡我們|联系方式|聯繫我們|문의
    문의하기|연락처|ติดต่อเรา|ติดต่อ|संपर्क|संपर्क करें
"""  # noqa: RUF001 - words of many languages
_IMPRINT = """
    imprint|impressum|legal notice|legal notices|legal|legal information|company information
    anbieterkennzeichnung|offenlegung|mentions légales|aviso legal|avís legal|note legali
    informazioni legali|informação legal|colofon|juridische informatie|nota prawna|dane firmy
    právní informace|impresum|jogi nyilatkozat|impresszum|künye|yasal uyarı|rekvizitai|rekvizīti
    rekvisiidid|реквизиты|правовая информация|реквізити|特定商取引法に基づく表記|会社概要|企業情報
    公司信息|회사정보
"""  # noqa: RUF001 - words of many languages
_ABOUT = """
    about|about us|who we are|our company|company|our team|team|über uns|ueber uns|wir über uns
    unternehmen|das unternehmen|das team|qui sommes nous|à propos|l'entreprise|quiénes somos
    sobre nosotros|nosotros|acerca de|chi siamo|azienda|l'azienda|sobre nós|quem somos|a empresa
    over ons|wie zijn wij|om oss|om os|tietoa meistä|meistä|yritys|o nas|o firmie|o nás
    o spoločnosti|o společnosti|rólunk|bemutatkozás|despre noi|hakkımızda|hakkimizda|kurumsal
    tentang kami|tentang|apie mus|par mums|meist|o nama|qui som|sobre nosaltres|giới thiệu
    về chúng tôi|о нас|о компании|про нас|про компанію|за нас|σχετικά με εμάς|ποιοι είμαστε|אודות
    من نحن|عن الشركة|درباره ما|私たちについて|会社案内|关于我们|關於我們|회사소개|เกี่ยวกับเรา
    हमारे बारे में
"""  # noqa: RUF001 - words of many languages


def _letters(text: str) -> str:
    """Give the letters and digits, small and without accents: `Über uns` is `uberuns`."""
    text = text.lower()
    if text.isascii():
        # what the pattern would do, several times as fast
        return text.encode().translate(None, _NO_ASCII_LETTERS).decode()
    return _NO_LETTERS.sub("", normalize("NFKD", text))


_PROMISE = {
    _letters(phrase): promise
    for promise, phrases in ((1, _ABOUT), (2, _IMPRINT), (3, _CONTACT))
    for line in phrases.strip().splitlines()
    for phrase in line.strip().split("|")
}
"""What a page promises, by the letters of its name: contact pages first, then those that some
countries' laws ask to name an address, then those that may."""

_BEGINNINGS = frozenset(name[:3] for name in _PROMISE)
"""Of what promises something; few other texts begin so."""

_FILE = re.compile(
    r"\.(?!(?:html?|php\d?|aspx?|jsp|cfm|xhtml|shtml|do|cgi|pl)$)[a-z0-9]{2,5}$", re.IGNORECASE
)
_FILE_END = re.compile(r"\.\w{2,5}$")
_LOCALE = re.compile(r"^/(?:[a-z]{2}(?:[-_][a-z]{2,4})?)(?=/)", re.IGNORECASE)


def contact_pages(document: Document) -> list[str]:
    """Give at most five URLs of the site, the most promising first, without fragments.

    Of a page's language versions only the first counts.
    """
    pages: dict[str, tuple[int, str]] = {}
    here = _identity(document.url)
    for promise, url in _candidates(document):
        identity = _identity(url)
        if identity != here and promise > pages.get(identity, (0, ""))[0]:
            pages[identity] = promise, pages.get(identity, (0, url))[1]
    ranked = sorted(pages.values(), key=lambda page: -page[0])  # stable: among equals the first
    return [url for _, url in ranked[:_MAX]]


def _candidates(document: Document) -> Iterator[tuple[int, str]]:
    others = _other_languages(document)
    for href, node in _ends(document.anchors):
        promise = _promise(href, node)
        url = document.resolve(href) if promise and "hreflang" not in node.attributes else None
        if url and url not in others and _is_page_of_site(url, document.host):
            yield promise, urldefrag(url).url


def _ends(anchors: list[tuple[str, LexborNode]]) -> list[tuple[str, LexborNode]]:
    return anchors if len(anchors) <= 2 * _ENDS else anchors[:_ENDS] + anchors[-_ENDS:]


def _promise(href: str, node: LexborNode) -> int:
    """Rate a link by its text and by its path."""
    if href.startswith("#") or len(href) > _MAX_HREF:
        return 0
    by_text = _promise_of(node.text_lexbor().strip())
    return 2 * max(by_text, _promise_of_path(href)) + bool(by_text)


def _promise_of_path(href: str) -> int:
    """Rate the last piece of the path, and the first value of the query."""
    path, _, query = href.partition("#")[0].partition("?")
    piece = path.rstrip("/").rpartition("/")[2]
    by_piece = _promise_of(_FILE_END.sub("", piece) if "." in piece else piece)
    by_value = _promise_of(query.partition("&")[0].rpartition("=")[2]) if query else 0
    return max(by_piece, by_value)


def _promise_of(text: str) -> int:
    """Rate a text, or a piece of a URL; what is long is a headline, and what is short nothing."""
    beginning = text[:3].lower()
    if beginning not in _BEGINNINGS and beginning.isalnum() and beginning.isascii():
        return 0
    return _promise_of_short(text) if len(text) <= _MAX_ESCAPED else 0


@lru_cache(2_000)  # menus say the same on every page
def _promise_of_short(text: str) -> int:
    text = unquote(text) if "%" in text else text
    return _PROMISE.get(_letters(text), 0) if 2 <= len(text) <= _MAX_TEXT else 0  # noqa: PLR2004


def _is_page_of_site(url: str, host: str) -> bool:
    other = host_of(url)
    path = path_of(url)
    if _FILE.search(path) or path.startswith("/cdn-cgi/"):  # where Cloudflare hides addresses
        return False
    return other == host or site(other) == site(host)


def _other_languages(document: Document) -> set[str | None]:
    """Give this page's own versions in other languages (HTML, section 4.6.7.1)."""
    links = (link for rel, link in document.links if "alternate" in rel and link.get("hreflang"))
    return {document.resolve(link.get("href")) for link in links}


def _identity(url: str) -> str:
    """Give what two URLs of one page have in common: not the language, not the scheme.

    Where the path says enough, the query only counts clicks.
    """
    parts = split(url)
    path = _LOCALE.sub("", clean(unquote(parts.path)).lower()).rstrip("/")
    query = "" if _promise_of_path(parts.path) else parts.query
    return f"{host_of(url)}{path}?{query}"
