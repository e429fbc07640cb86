"""The site's own profiles in social networks, told from shares, posts and other people's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document, ancestors, join, path_of, split
from domainsched.extract.encoding import clean
from domainsched.extract.place import where
from domainsched.extract.suffix import brand


class Profile(NamedTuple):
    """A profile, and how it is known to be the site's own."""

    url: str
    rule: str
    where: str


@dataclass(frozen=True, slots=True)
class Network:
    """How the profiles of one network are addressed."""

    profile: re.Pattern[str]
    """Of the whole path, decoded, without slashes at its ends."""
    reserved: frozenset[str]
    """First segments of paths that are the network's own: shares, posts, help."""

    def has_profile(self, path: str) -> bool:
        """Whether `path` leads to somebody's own page."""
        first = path.partition("/")[0].lower()
        return first not in self.reserved and self.profile.fullmatch(path) is not None


_HOSTS: dict[str, str] = {}
"""The network of each host, without `www.`, `m.` or a country before it."""


def _network(name: str, hosts: str, profile: str, reserved: str = "") -> tuple[str, Network]:
    _HOSTS.update(dict.fromkeys(hosts.split(), name))
    return name, Network(re.compile(profile, re.IGNORECASE), frozenset(reserved.split()))


_NETWORKS = dict(
    [
        _network(
            "facebook",
            "facebook.com fb.com fb.me",
            r"(?:pg/)?[^/]{2,}(?:/(?:about|info|timeline|reviews|likes|app.*)?)?"
            r"|pages/(?!create)[^/]+(?:/[^/]+)*|people/[^/]+/\d+|p/[^/]+|groups/[^/]+",
            "share sharer sharer.php share.php dialog plugins tr hashtag login login.php photo"
            " photos photo.php video.php watch story.php permalink.php l.php policies privacy help"
            " home.php event events notes ads business about legal settings media marketplace"
            " recover reg r.php sdk connect badges search ajax campaign gaming apps stories reel"
            " profile.php 2008 v2.0 pages_manage terms.php privacy.php",
        ),
        _network(
            "twitter",
            "twitter.com x.com",
            r"@?\w{1,20}",
            "intent share home hashtag search i widget widgets login signup privacy tos about"
            " explore settings account download statuses oauth javascripts compose messages",
        ),
        _network(
            "linkedin",
            "linkedin.com",
            r"(?:in|company|companies|company-beta|school|showcase|pub|groups|edu|organization)/.+"
            r"|profile/view",
        ),
        _network(
            "instagram",
            "instagram.com instagr.am",
            r"@?[\w.]{1,30}",
            "p reel reels explore tv stories accounts developer about legal share embed.js"
            " embeds.js direct",
        ),
        _network(
            "youtube",
            "youtube.com",
            r"(?:channel|c|user)/[^/]+(?:/(?:featured|videos|about|feed|playlists))?"
            r"|@[^/]+(?:/(?:featured|videos|about|streams|shorts))?|[\w.-]+",
            "watch embed v playlist results shorts live feed iframe_api player_api t about yt"
            " redirect hashtag s account premium gaming music subscribe_widget get_player my_videos"
            " signin view_play_list api create_channel static howyoutubeworks profile",
        ),
        _network(
            "pinterest",
            "pinterest",
            r"[^/]+(?:/[^/]+)?",
            "pin search ideas categories about business login _",
        ),
        _network("tiktok", "tiktok.com", r"@[\w.]+"),
        _network(
            "vk", "vk.com vkontakte.ru", r"[\w.]+", "share.php widget.php away.php js feed wall"
        ),
        _network(
            "github",
            "github.com",
            r"[\w-]+",
            "features about login join pricing topics sponsors marketplace apps orgs search contact"
            " site trending explore settings security enterprise",
        ),
        _network("threads", "threads.net threads.com", r"@[\w.]+"),
        _network(
            "whatsapp",
            "wa.me api.whatsapp.com chat.whatsapp.com whatsapp.com",
            r"\d{7,15}|channel/.+|[A-Za-z\d]{20,24}",
        ),
        _network(
            "telegram",
            "t.me telegram.me",
            r"(?:s/)?[A-Za-z]\w{3,31}|\+[\w-]+|joinchat/[\w-]+",
            "share iv proxy socks addstickers",
        ),
        _network("bluesky", "bsky.app", r"profile/[\w.:-]+"),
        _network("mastodon", "mastodon", r"@[\w.]+|users/[\w.]+"),
        _network("xing", "xing.com", r"(?:profile|companies|company|pages|net)/[^/]+"),
        _network("snapchat", "snapchat.com", r"add/[\w.-]+|@[\w.-]+"),
        _network("reddit", "reddit.com", r"(?:r|user|u)/[\w-]+"),
        _network(
            "medium",
            "medium.com",
            r"@[\w.-]+|[a-z][\w-]+",
            "m policy about p tag me membership creators search signin new-story s",
        ),
        _network(
            "tumblr",
            "tumblr.com",
            r"(?:blog/)?[\w-]+",
            "share widgets dashboard login register search tagged explore policy about",
        ),
        _network("yelp", "yelp", r"biz/[^/]+"),
        _network(
            "tripadvisor",
            "tripadvisor",
            r"(?:Restaurant|Hotel|Attraction|VacationRental|Airline)_Review-[^/]+",
        ),
        _network("trustpilot", "trustpilot.com", r"review/[\w.-]+"),
        _network("google_maps", "g.page maps.app.goo.gl", r"(?:r/)?[\w-]+"),
        _network("foursquare", "foursquare.com", r"v/.+"),
        _network("houzz", "houzz.com houzz.co.uk", r"(?:pro|user)/[^/]+(?:/[^/]+)?"),
        _network(
            "vimeo",
            "vimeo.com",
            r"(?!\d+$)[\w-]+",
            "channels groups album watch blog upgrade search categories features privacy terms"
            " about help",
        ),
        _network("flickr", "flickr.com", r"(?:photos|people|groups)/[^/]+", "photos/tags"),
        _network(
            "soundcloud", "soundcloud.com", r"[\w-]+", "discover search stream upload pages charts"
        ),
        _network("spotify", "open.spotify.com", r"(?:intl-\w\w/)?(?:artist|show|user)/\w+"),
        _network("twitch", "twitch.tv", r"\w{3,25}", "directory downloads jobs p videos"),
        _network(
            "discord",
            "discord.gg discord.com discordapp.com",
            r"invite/[\w-]+|(?!api|channels|login|widget)[\w-]{2,}",
            "channels api login widget download developers",
        ),
        _network("behance", "behance.net", r"[\w-]+", "gallery search joblist"),
        _network("dribbble", "dribbble.com", r"[\w-]+", "shots search jobs tags designers"),
        _network("gitlab", "gitlab.com", r"[\w.-]+", "users explore help"),
        _network(
            "odnoklassniki", "ok.ru odnoklassniki.ru", r"(?:group|profile)/\w+|[\w.-]+", "dk offer"
        ),
        _network("weibo", "weibo.com", r"(?:u/)?[\w-]+", "share p login.php"),
        _network("line", "line.me lin.ee page.line.me", r"R/ti/p/.+|ti/p/.+|[\w-]{4,}"),
        _network("linktree", "linktr.ee", r"[\w.-]+", "s admin login register"),
        _network("patreon", "patreon.com", r"(?:c/)?[\w-]+|user", "join login policy"),
    ]
)

_MANY_COUNTRIES = re.compile(r"(pinterest|yelp|tripadvisor)\.(?:co\.|com\.)?[a-z]{2,3}")
_INSTANCE = re.compile(
    r"(?:.+\.)?(?:mastodon|mstdn|masto|toot|fosstodon|hachyderm|mas|chaos)\.[\w.]+"
)
_ALSO = re.compile(r"(?:www|m|mobile|web|touch|business|[a-z]{2}(?:-[a-z]{2,4})?)\.")
_ABSOLUTE = re.compile(r"\s*(?:https?:)?[/\\]{2}(?:[^/?#@]*@)?([^/?#:\\]+)", re.IGNORECASE)
_NO_SCHEME = re.compile(
    r"(?:www\.)?((?:facebook|twitter|linkedin|instagram|youtube|tiktok)\.com)/\S"
)
_PROFILE_ID = re.compile(r"\bid=(\d+)")
_TYPES = re.compile(
    r"^(?:pg|pages|in|company|school|showcase|channel|c|user|r|u|profile|p|groups)/"
)

_MAKERS = """
    wordpress wordpressdotcom wix wixcom wix-com squarespace weebly godaddy shopify jimdo
    webflow elementor elegantthemes envato themeforest themeisle muffingroup wpbakery
    joomla drupal facebook facebookapp fb meta twitter x twitterapi instagram youtube
    linkedin pinterest tiktok github google yourpage your-page yourusername username
    yourname your_username example page profile user account company companyname
    yourcompany your-company handle yourprofile your-profile yourchannel yourhandle
    yourbrand template demo test undefined null none mobirise ucoz tilda one.com
    strikingly hostinger duda colorlib bootstrapmade html5up themegrill athemes
    generatepress oceanwp astrawp wpastra
"""
"""Names that themes and builders come with, and that are somebody's own only where they are
alike to the site's."""

_OWN_PLACE = re.compile(r"social|follow|footer|header|connect|contact|find-us|sns")
_OTHERS_PLACE = re.compile(
    r"testimonial|comment|author|byline|tweet|team|staff|share|sharing|article|entry-content|credit"
    r"|feed|review|speaker|member"
)
_TELLING = 3
"""Letters a name needs before its likeness to another one says something."""

_META = {
    "article:publisher": "meta",
    "og:see_also": "meta",
    "twitter:site": "meta",
}
_OWNERS = re.compile(
    r"Organization|Business|Store|Corporation|WebSite|Restaurant|Hotel|School|Shop"
)
_OTHERS = frozenset(
    ["Person", "Article", "NewsArticle", "BlogPosting", "Product", "Review", "Place"]
)
_WIDGET = re.compile(
    r"facebook\.com/(?:v[\d.]+/)?plugins/(?:page|likebox|fan)\.php\?", re.IGNORECASE
)

_BOX = re.compile(r"fb-(?:page|like-box)")

_ENDS = 300
"""Links looked at from either end of the page: own profiles are at its head and its foot."""

_LEAST = -1
"""Points that a profile must have: with fewer it is somebody else's."""


def social_links(document: Document) -> dict[str, Profile]:
    """Give, by network, the profile that is most plainly the site's own."""
    points: dict[str, dict[str, int]] = {}
    first: dict[str, tuple[str, str, LexborNode | None]] = {}
    for network, url, rule, node, score in _candidates(document):
        key = url.lower()
        scores = points.setdefault(network, {})
        scores[key] = max(scores.get(key, -9), score) + (key in scores)
        first.setdefault(key, (url, rule, node))
    best = {network: max(scores, key=scores.__getitem__) for network, scores in points.items()}
    return {
        network: _profile(*first[best[network]])
        for network in _NETWORKS
        if network in best and points[network][best[network]] >= _LEAST
    }


def _profile(url: str, rule: str, node: LexborNode | None) -> Profile:
    return Profile(url, rule, where(node) if node is not None else "head")


def profile_of(url: str) -> tuple[str, str] | None:
    """Give the network and the clean URL if `url` is a profile's, None for anything else."""
    parts = split(url)
    host = _base((parts.hostname or "").lower())
    name = _network_of(host, parts.path)
    if name is None:
        return None
    old_style = parts.fragment if parts.fragment.startswith("!/") else ""
    path = unquote(old_style[1:].split("?")[0] or parts.path).strip("/ ")
    if name == "facebook" and path == "profile.php" and (found := _PROFILE_ID.search(parts.query)):
        return name, f"https://www.facebook.com/profile.php?id={found[1]}"
    if name == "whatsapp" and path in {"send", "send/"}:
        path = re.sub(r"\D", "", parse_qs(parts.query).get("phone", [""])[0])
        host = "wa.me"
    if not _NETWORKS[name].has_profile(path):
        return None
    return name, _clean_url(
        name, parts.hostname or "" if host != "wa.me" else host, path, parts.query
    )


def _clean_url(name: str, host: str, path: str, query: str) -> str:
    if name == "twitter":  # since 2023 the one leads to the other
        host, path = "x.com", path.removeprefix("@")
    elif name == "instagram":
        path = path.removeprefix("@")
    query = f"?{query}" if path == "profile/view" else ""
    return clean(f"https://{host.lower()}/{path}{query}").replace(" ", "%20")


def _base(host: str) -> str:
    if host in _HOSTS:
        return host
    found = _ALSO.match(host)
    return host[found.end() :] if found else host


def _network_of(host: str, path: str) -> str | None:
    if found := _MANY_COUNTRIES.fullmatch(host):
        return found[1]
    if name := _HOSTS.get(host):
        return name
    return "mastodon" if "/@" in path[:2] and _INSTANCE.fullmatch(host) else None


def _candidates(
    document: Document,
) -> Iterator[tuple[str, str, str, LexborNode | None, int]]:
    """Yield network, profile and how plainly it is the site's own."""
    own_network = _network_of(_base(document.host), "")
    name = _letters(brand(document.host))
    for url, rule, node, score in _found(document):
        profile = profile_of(url)
        if profile is None or profile[0] == own_network:
            continue
        handle = _letters(_TYPES.sub("", unquote(path_of(profile[1])).strip("/").lower()))
        alike = min(len(name), len(handle)) >= _TELLING and (name in handle or handle in name)
        if alike or handle not in _MADE:
            yield *profile, rule, node, score + 5 * alike


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text)


_MADE = frozenset(_letters(name) for name in _MAKERS.split())

_Found = tuple[str, str, LexborNode | None, int]


def _found(document: Document) -> Iterator[_Found]:
    yield from _same_as(document)
    yield from _linked(document)
    for node in document.all("iframe"):
        source = node.attributes.get("src") or node.attributes.get("data-src") or ""
        if _WIDGET.search(source[:1000]):
            yield parse_qs(split(source).query).get("href", [""])[0], "widget", node, 0
    if b"data-href" in document.folded and _BOX.search(document.markup):
        for node in document.tree.css(".fb-page[data-href], .fb-like-box[data-href]"):
            yield node.attributes.get("data-href") or "", "widget", node, 0
    for name, rule in _META.items():
        for content in document.metas.get(name, []):
            yield _expanded(name, content), rule, None, 1


def _linked(document: Document) -> Iterator[_Found]:
    leading = list(_leading(document))
    seen: dict[int, int | None] = {}
    middle = slice(_ENDS, max(_ENDS, len(leading) - _ENDS))
    del leading[middle]
    for href, node in leading:
        url = f"https://{href}" if _NO_SCHEME.match(href) else document.resolve(href)
        rel = (node.attributes.get("rel") or "").split()
        yield url or "", "rel-me" if "me" in rel else "link", node, _place(node, seen)
    for rels, link in document.links:
        if "me" in rels or (link.get("itemprop") or "").lower() == "sameas":
            yield document.resolve(link.get("href")) or "", "rel-me", None, 3


def _leading(document: Document) -> Iterator[tuple[str, LexborNode]]:
    """Yield the links that lead to a network."""
    known: dict[str, bool] = {}
    for href, node in document.anchors:
        found = _ABSOLUTE.match(href) or _NO_SCHEME.match(href)
        if not found:
            continue
        host = found[1].lower()
        if host not in known:
            known[host] = _network_of(_base(host), "/@") is not None
        if known[host]:
            yield href, node


def _expanded(name: str, content: str) -> str:
    if name == "twitter:site" and re.fullmatch(r"@\w{1,15}", content):
        return f"https://twitter.com/{content[1:]}"
    return content


def _same_as(document: Document) -> Iterator[_Found]:
    for item in document.json_ld:
        value = item.get("sameAs")
        for item_url in value if isinstance(value, list) else [value]:
            url = join(document.url, item_url) if isinstance(item_url, str) else None
            if url:
                yield url, "json-ld", None, _owner(item.get("@type"))


def _owner(types: Any) -> int:  # noqa: ANN401 - JSON is anything
    """Rate whose profiles a thing in JSON-LD has, by its type."""
    names = [
        name for name in (types if isinstance(types, list) else [types]) if isinstance(name, str)
    ]
    if any(_OWNERS.search(name) for name in names):
        return 4
    return 0 if _OTHERS.intersection(names) else 3


def _place(node: LexborNode, seen: dict[int, int | None]) -> int:
    """Rate where a link stands; `seen` spares elements that hold many links."""
    score = 2 if "me" in (node.attributes.get("rel") or "").split() else 0
    for parent in ancestors(node, 8):
        if parent.tag in {"body", "html"}:
            break
        identity = parent.mem_id
        if identity not in seen:
            seen[identity] = _sign(parent)
        if (sign := seen[identity]) is not None:
            return score + sign
    return score


def _sign(around: LexborNode) -> int | None:
    """Rate one element around a link; None if it says nothing."""
    attributes = around.attributes
    return _sign_of(f"{around.tag} {attributes.get('class') or ''} {attributes.get('id') or ''}")


@lru_cache(500)
def _sign_of(labels: str) -> int | None:
    labels = labels.lower()
    if _OTHERS_PLACE.search(labels):
        return -2
    return 2 if _OWN_PLACE.search(labels) else None
