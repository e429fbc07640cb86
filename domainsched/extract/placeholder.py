"""Pages that stand where a site's own would be: parked, default, suspended, under construction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from domainsched.extract import head
from domainsched.extract.document import Document, host_of, split


class Standing(StrEnum):
    """What a page is to the domain that it is served for."""

    SITE = "site"
    PARKED = "parked"
    """It keeps the domain's place, or offers it."""
    DEFAULT = "default"
    """What a server, a panel or a program shows until a site is put there."""
    LISTING = "listing"
    """A directory's files."""
    SUSPENDED = "suspended"
    """The host has taken the site down."""
    UNDER_CONSTRUCTION = "under_construction"
    """The site's own word that it is to come, or to come back."""

    @property
    def speaks_for_owner(self) -> bool:
        """Whether its contacts are the site's own, and not a registrar's or a host's."""
        return self in {Standing.SITE, Standing.UNDER_CONSTRUCTION}


# --- parked -----------------------------------------------------------------------------------

_PARKERS = re.compile(
    r"(?:.+\.)?(?:sedoparking\.com|parkingcrew\.net|bodis\.com|bodiscdn\.com|parklogic\.com"
    r"|above\.com|afternic\.com|dan\.com|undeveloped\.com|hugedomains\.com|sedo\.com|skenzo\.com"
    r"|domainmarket\.com|voodoo\.com|parking\.\w+\.\w+|dsparking\.com|fabulous\.com|sav\.com"
    r"|cashparking\.com|smartname\.com|parkpage\.\w+\.\w+|domainlore\.\w+|efty\.com)"
)
"""Hosts whose scripts and frames fill pages of parked domains; seen there."""

_PARKING_SCRIPTS = re.compile(
    # Google's AdSense for Domains, whose ads are for parked domains only; seen
    r"//(?:www\.google\.com|www\.adsensecustomsearchads\.com)/adsense/domains/caf\.js"
    # GoDaddy's, seen
    r"|//img\d\.wsimg\.com/parking-lander/",
    re.IGNORECASE,
)
_PARKING_CODE = re.compile(
    # GoDaddy's page before and after its own redirect, Sedo's, Bodis'; seen
    r"window\.LANDER_SYSTEM\s*=|window\.location\.(?:href|replace)\s*[=(]\s*[\"']/lander\b"
    r"|\bap:\s*[\"']parking[\"']|sedoParkingUrl|window\.park\s*=\s*[\"']ey"
)
_PARKING_WORDS = (b"lander", b"park")
"""In any such code, whatever the case of its letters: looked for ten times as fast."""

_MARKETS = re.compile(
    r"https?://(?:www\.)?(?:"
    r"hugedomains\.com/domain_profile|dan\.com/(?:buy-domain|[\w-]+/buy-domain)|sedo\.com/search/"
    r"|(?:\w+\.)?afternic\.com/(?:forsale|domain)/|(?:\w+\.)?godaddy\.com/(?:forsale|domainsearch)"
    r"|atom\.com/name/|brandbucket\.com/names/|domainmarket\.com/buynow|porkbun\.com/checkout"
    r"|(?:\w+\.)?namecheap\.com/(?:market|domains/marketplace)|dynadot\.com/market|nicsell\.com/)",
    re.IGNORECASE,
)
"""Where a parked domain's page leads to, or its visitors end: the offer itself."""

_OFFERED = {
    # A language's words for "this domain", and what parkers and registrars say of it.
    "en": (
        "(?:web )?domain(?: name)?",
        (
            r"(?:(?:is|may be|was|has been|has recently been) )?(?:\w+ )?(?:for sale|parked|expired"
            "|available for (?:sale|purchase)|up for auction|registered (?:with|at|by|on behalf))"
        ),
    ),
    "de": (
        "die(?:se)? domain",
        (
            "(?:steht zum verkauf|kaufen|wurde [^.]{0,60}(?:registriert|reserviert|geparkt)"
            "|ist (?:zu verkaufen|geparkt|reserviert|registriert|käuflich))"
        ),
    ),
    "fr": (
        "ce (?:nom de )?domaine",
        "(?:est (?:à vendre|en vente|réservé|parqué)|a été (?:enregistré|réservé)|vient d'être)",
    ),
    "es": (
        "(?:este|el) dominio",
        "(?:está (?:en venta|a la venta|aparcado|registrado|estacionado)|ha sido registrado)",
    ),
    "pt": ("este domínio", "(?:está (?:à venda|estacionado|registrado)|foi registrado)"),
    "it": (
        "(?:questo|il) dominio",
        "è (?:in vendita|parcheggiato|registrato|stato (?:registrato|parcheggiato))",
    ),
    "nl": ("deze domein(?:naam)?", "is (?:te koop|geregistreerd|gereserveerd|geparkeerd)"),
    "sv": ("den här domänen", "är (?:till salu|parkerad|registrerad)"),
    "da": ("dette domæne", "er (?:til salg|parkeret|reserveret)"),
    "pl": ("(?:ta )?domena", "(?:jest )?(?:na sprzedaż|zaparkowana|utrzymywana na)"),
    "cs": ("(?:tato )?doména", "je (?:na prodej|zaparkována|registrována)"),
    "ru": ("(?:этот )?домен", "(?:прода[её]тся|припаркован|выставлен на продажу)"),
    "tr": ("bu alan adı", "(?:satılıktır|satılık|park edil)"),  # noqa: RUF001 - Turkish letters
}
_OTHER_OFFERS = (
    "buy this domain|web ?page is parked|parked (?:for )?free|domain park(?:ed|ing)"
    "|inquire about this domain|make an offer on this domain"
    "|hier entsteht eine neue (?:internet|web)|域名(?:正在)?出售"
)
_OFFERS = re.compile(
    "|".join(rf"\b(?:{subject})(?: [\w-]+\.[\w.-]+)? {said}" for subject, said in _OFFERED.values())
    + rf"|\b(?:{_OTHER_OFFERS})",
    re.IGNORECASE,
)
_SHORT = 3_000
"""Characters of text; a page that keeps or offers a domain says little else."""

_BARE = 400
"""Characters; a page with so few that offers a domain has no other purpose."""


# --- the others -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """A page known by its title and, as titles are copied, by its text."""

    standing: Standing
    title: re.Pattern[str]
    """Of the whole title; "" where there is none."""
    text: re.Pattern[str]
    longest: int
    """Characters of text."""


def _rules() -> Iterator[_Rule]:
    for standing, longest, pages in (
        (Standing.DEFAULT, 6_000, _DEFAULT_PAGES),
        (Standing.SUSPENDED, 1_500, _SUSPENDED_PAGES),
        (Standing.UNDER_CONSTRUCTION, 800, _UNFINISHED_PAGES),
    ):
        for title, text in pages:
            flags = re.IGNORECASE
            yield _Rule(standing, re.compile(title, flags), re.compile(text, flags), longest)


_DEFAULT_PAGES = (
    # The pages in the packages of nginx, OpenResty, Fedora, RHEL and their kin.
    (
        r"welcome to (?:nginx|openresty|tengine)\b.*",
        r"successfully installed|further configuration",
    ),
    (
        r"(?:.*\btest page (?:for|powered by)\b.*|apache http server test page.*)",
        r"used to test the proper operation",
    ),
    # Debian's and Ubuntu's Apache; Apache's own; lighttpd in Debian
    (r"apache2 \w+ default page.*", r"default welcome page"),
    (r"(?:it works!?.*)?", r"^it works!(?:\n.{0,60})?$|^apache is functioning normally$"),
    (r"welcome page", r"placeholder page installed by|replace this page with your own"),
    # IIS: an image and no text
    (r"(?:iis ?\d.*|iis windows.*|microsoft internet information services \d.*)", r"^.{0,200}$"),
    (r"caddy works!.*", r"congratulations"),
    (r"congratulations?!?", r"openlitespeed|litespeed web server"),
    (r"welcome to (?:open)?litespeed.*", r"litespeed"),
    (r"apache tomcat(?:/.*)?", r"successfully installed tomcat"),
    (r"(?:welcome to )?xampp.*", r"successfully installed xampp"),
    (r"wampserver.*", r"server configuration|wampserver"),
    # Panels: Plesk, cPanel, ISPConfig, Vesta and Hestia, DirectAdmin, aaPanel, CyberPanel
    (
        r"(?:domain default page|.*default plesk page|web server's default page)",
        r"\bplesk\b|default page",
    ),
    (
        r"(?:default web ?site page|.*\bdefault page\b.*)",
        r"contact your (?:hosting|web ?hosting) provider|default (?:web ?site )?page",
    ),
    (r"(?:welcome!?)?", r"default index page of your website"),
    (r".*coming soon", r"default index page for a new domain"),
    (r".*(?:created successfully|站点创建成功).*", r"automatically generated|系统自动生成"),
    # Synology's Web Station, Windows' and macOS' servers
    (r".*web station.*", r"web station"),
    (r"wordpress\W+(?:installation|setup configuration file|setup)", r""),
    (r"(?:drupal.*installation|.*installation.*\bdrupal.*|joomla!? .*installer.*)", r""),
)
_SUSPENDED_PAGES = (
    (
        (
            r"(?:.*\b(?:account|web ?site|site|domain|page|service|hosting)\b.*\bsuspended\b.*"
            r"|suspended(?: domain| page| site)?|contact support)"
        ),
        r"\bsuspended\b",
    ),
    (r".*\b(?:gesperrt|deaktiviert)\b.*", r"\b(?:gesperrt|deaktiviert)\b"),
    (r".*\bsuspendid[oa]\b.*", r"\bsuspendid[oa]\b"),
    (r".*\bsuspendu\b.*", r"\bsuspendu\b"),
    (r".*\bsospeso\b.*", r"\bsospeso\b"),
    (r".*\bzawieszon[ae]\b.*", r"\bzawieszon[ae]\b"),
    (r".*\b(?:заблокирован|приостановлен)\w*.*", r"(?:заблокирован|приостановлен)"),
)
_SOON = (
    r"coming soon|launching soon|under construction|in construction|(?:under|scheduled|down for)"
    r" maintenance|maintenance mode|opening soon|site maintenance"
    r"|im aufbau|wartungsmodus|wartungsarbeiten|hier entsteht"
    r"|en construction|en maintenance|bientôt|en construcción|en mantenimiento|próximamente"
    r"|in costruzione|in manutenzione|prossimamente|em construção|em manutenção|em breve"
    r"|in aanbouw|onder constructie|in onderhoud|binnenkort|w budowie|w przebudowie|wkrótce"
    r"|ve výstavbě|připravujeme|під|в разработке|на реконструкции|скоро открытие"
    r"|under uppbyggnad|under opbygning|underhåll"
    r"|felújítás alatt|feltöltés alatt|în construcție|sitenizi|准备中|建设中|準備中|工事中"
)
_UNFINISHED_PAGES = (
    (rf".*(?:{_SOON}).*", rf"{_SOON}|check back|stay tuned|revenez|vuelve|schauen sie"),
    # A short page that says nothing else, whatever it is called.
    (r".*", rf"^(?:[^\n]{{0,60}}\n)?[^\n]{{0,60}}(?:{_SOON})[^\n]{{0,60}}(?:\n[^\n]{{0,80}})?$"),
    (r"(?:maintenance)?", r"^briefly unavailable for scheduled maintenance"),
)
_ALL_RULES = tuple(_rules())

_SUSPENDED_PATH = re.compile(r"/cgi-sys/suspendedpage\.cgi")
_DEFAULT_PATH = re.compile(
    r"/cgi-sys/defaultwebpage\.cgi|/wp-admin/(?:install|setup-config)\.php|/core/install\.php"
)
_LISTING = re.compile(r"index of /.*|directory listing (?:for|of) /.*|.{1,100} - /", re.IGNORECASE)
"""Of Apache, nginx, LiteSpeed and lighttpd; of Python; of IIS."""


def standing(document: Document) -> Standing:
    """Tell whether the page is a site's own; each rule needs two signs, or one nobody else has."""
    title = head.title(document) or ""
    if _is_parked(document, title):
        return Standing.PARKED
    by_path = _by_path(split(document.url).path)
    if by_path:
        return by_path
    if _is_listing(document, title):
        return Standing.LISTING
    return _by_rules(document.text, title)


def _by_path(path: str) -> Standing | None:
    if _SUSPENDED_PATH.match(path):
        return Standing.SUSPENDED
    return Standing.DEFAULT if _DEFAULT_PATH.search(path) else None


def _by_rules(text: str, title: str) -> Standing:
    """Look at short texts only: what stands for a site says little."""
    for rule in _ALL_RULES:
        if len(text) <= rule.longest and rule.title.fullmatch(title) and rule.text.search(text):
            return rule.standing
    return Standing.SITE


def _is_listing(document: Document, title: str) -> bool:
    headings = (node.text().strip() for node in document.all("h1")[:1])
    return bool(_LISTING.fullmatch(title)) and title in headings


def _is_parked(document: Document, title: str) -> bool:
    if _MARKETS.match(document.url):
        return True
    if len(document.text) > _SHORT:
        return False
    return (
        _is_filled_by_parker(document)
        or _has_parking_code(document)
        or _is_offered(document, title)
    )


def _has_parking_code(document: Document) -> bool:
    if not any(word in document.folded for word in _PARKING_WORDS):
        return False
    return any(_PARKING_CODE.search(script[:20_000]) for script in document.scripts[:20])


def _is_filled_by_parker(document: Document) -> bool:
    """Whether a parker's scripts or frames make the page; on its own site they are at home."""
    nodes = document.all("script", "iframe", "frame")
    for url in filter(None, (document.resolve(node.attributes.get("src")) for node in nodes)):
        host = host_of(url)
        at_home = document.host.endswith(host) or host.endswith(document.host)
        if _PARKING_SCRIPTS.search(url) or (_PARKERS.fullmatch(host) and not at_home):
            return True
    return False


def _is_offered(document: Document, title: str) -> bool:
    """Whether the text offers the domain, and the page has no other purpose."""
    if not _OFFERS.search(f"{title}\n{document.text}"):
        return False
    if len(document.text) < _BARE or document.host in title.lower():
        return True
    return any(_MARKETS.match(href) for href, _ in document.anchors[:100])
