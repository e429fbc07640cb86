"""The site's own profiles in social networks, told from shares, posts and other people's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from selectolax.lexbor import LexborNode

from domainsched.extract.document import Document, ancestors, join, split
from domainsched.extract.encoding import clean


@dataclass(frozen=True, slots=True)
class Network:
    """How the profiles of one network are addressed."""

    hosts: re.Pattern[str]
    profile: re.Pattern[str]
    """Of the whole path, decoded, without slashes at its ends."""
    reserved: frozenset[str]
    """First segments of paths that are the network's own: shares, posts, help."""

    def has_profile(self, path: str) -> bool:
        """Whether `path` leads to somebody's own page."""
        first = path.partition("/")[0].lower()
        return first not in self.reserved and self.profile.fullmatch(path) is not None


def _network(hosts: str, profile: str, reserved: str = "") -> Network:
    return Network(
        re.compile(rf"(?:[a-z0-9-]+\.)?(?:{hosts})", re.IGNORECASE),
        re.compile(profile, re.IGNORECASE),
        frozenset(reserved.split()),
    )


_NETWORKS = {
    "facebook": _network(
        r"facebook\.com|fb\.com|fb\.me",
        r"(?:pg/)?[^/]{2,}(?:/(?:about|info|timeline|reviews|likes|app.*)?)?"
        r"|pages/(?!create)[^/]+(?:/[^/]+)*|people/[^/]+/\d+|groups/[^/]+",
        "share sharer sharer.php share.php dialog plugins tr hashtag login login.php photo photos"
        " photo.php video.php watch story.php permalink.php l.php policies privacy help home.php"
        " event events notes ads business about legal settings media marketplace recover reg r.php"
        " sdk connect badges search ajax campaign gaming apps stories reel profile.php 2008 v2.0",
    ),
    "twitter": _network(
        r"twitter\.com|x\.com",
        r"@?\w{1,20}",
        "intent share home hashtag search i widget widgets login signup privacy tos about explore"
        " settings account download statuses oauth javascripts",
    ),
    "linkedin": _network(
        r"linkedin\.com",
        r"(?:in|company|companies|company-beta|school|showcase|pub|groups|edu|organization)/.+"
        r"|profile/view",
    ),
    "instagram": _network(
        r"instagram\.com|instagr\.am",
        r"@?[\w.]{1,30}",
        "p reel reels explore tv stories accounts developer about legal share embed.js",
    ),
    "youtube": _network(
        r"youtube\.com",
        r"(?:channel|c|user)/[^/]+(?:/(?:featured|videos|about|feed|playlists))?"
        r"|@[^/]+(?:/(?:featured|videos|about|streams|shorts))?|[\w.-]+",
        "watch embed v playlist results shorts live feed iframe_api player_api t about yt redirect"
        " hashtag s account premium gaming music subscribe_widget get_player my_videos signin"
        " view_play_list api create_channel static howyoutubeworks profile",
    ),
    "pinterest": _network(
        r"pinterest\.[a-z.]{2,6}",
        r"[^/]+(?:/[^/]+)?",
        "pin search ideas categories about business login _",
    ),
    "tiktok": _network(r"tiktok\.com", r"@[\w.]+"),
    "vk": _network(r"vk\.com|vkontakte\.ru", r"[\w.]+", "share.php widget.php away.php js"),
    "github": _network(
        r"github\.com",
        r"[\w-]+",
        "features about login join pricing topics sponsors marketplace apps orgs search contact"
        " site",
    ),
}

_MAYBE = re.compile(
    r"facebook|fb\.(?:com|me)|twitter|x\.com|linkedin|instagr|youtube|pinterest|tiktok|vk|github",
    re.IGNORECASE,
)
"""Spares the other links the closer look."""

_OWN_PLACE = re.compile(r"social|follow|footer|header|connect|contact|find-us|sns", re.IGNORECASE)
_OTHERS_PLACE = re.compile(
    r"testimonial|comment|author|byline|tweet|team|staff|share|sharing|article|entry-content|credit|feed",
    re.IGNORECASE,
)
_TELLING = 3
"""Letters a name needs before its likeness to another one says something."""

_META = {"facebook": ("article:publisher", "og:see_also"), "twitter": ("twitter:site",)}


def social_links(document: Document) -> dict[str, str]:
    """Give, by network, the profile that is most plainly the site's own."""
    points: dict[str, dict[str, int]] = {}
    for network, url, score in _candidates(document):
        profiles = points.setdefault(network, {})
        profiles[url] = max(profiles.get(url, -9), score) + (url in profiles)
    return {
        network: max(points[network], key=points[network].__getitem__)
        for network in _NETWORKS
        if network in points
    }


def profile_of(url: str) -> tuple[str, str] | None:
    """Give the network and the clean URL if `url` is a profile's, None for anything else."""
    parts = split(url)
    for name, network in _NETWORKS.items():
        if not network.hosts.fullmatch((parts.hostname or "").removeprefix("www.")):
            continue
        old_style = parts.fragment if parts.fragment.startswith("!/") else ""
        path = unquote(old_style[1:].split("?")[0] or parts.path).strip("/ ")
        if re.match(r"profile\.php$", path) and (found := re.search(r"\bid=(\d+)", parts.query)):
            return name, f"https://www.facebook.com/profile.php?id={found[1]}"
        if network.has_profile(path):
            query = f"?{parts.query}" if path == "profile/view" else ""
            return name, clean(f"https://{parts.hostname}/{path}{query}").replace(" ", "%20")
    return None


def _candidates(document: Document) -> Iterator[tuple[str, str, int]]:
    """Yield network, URL and how plainly it is the site's own."""
    for declared in _same_as(document):
        yield from _scored(document, declared, 4)
    for href, node in document.anchors:
        if _MAYBE.search(href) and (url := document.resolve(href)) and profile_of(url):
            yield from _scored(document, url, _place(node))
    for names in _META.values():
        for name in names:
            for content in document.metas.get(name, []):
                yield from _scored(document, _expanded(name, content), 1)


def _scored(document: Document, url: str, score: int) -> Iterator[tuple[str, str, int]]:
    profile = profile_of(url)
    if profile and not _NETWORKS[profile[0]].hosts.fullmatch(document.host):
        yield *profile, score + 3 * _alike(document, profile[1])


def _expanded(name: str, content: str) -> str:
    if name == "twitter:site" and re.fullmatch(r"@\w{1,15}", content):
        return f"https://twitter.com/{content[1:]}"
    return content


def _same_as(document: Document) -> Iterator[str]:
    for item in document.json_ld:
        value = item.get("sameAs")
        for item_url in value if isinstance(value, list) else [value]:
            url = join(document.url, item_url) if isinstance(item_url, str) else None
            if url:
                yield url


def _place(node: LexborNode) -> int:
    score = 2 if "me" in (node.attributes.get("rel") or "").split() else 0
    for parent in ancestors(node, 8):
        attributes = parent.attributes
        labels = f"{parent.tag} {attributes.get('class') or ''} {attributes.get('id') or ''}"
        if parent.tag in {"body", "html"}:
            break
        if _OTHERS_PLACE.search(labels):
            return score - 2
        if _OWN_PLACE.search(labels):
            return score + 2
    return score


def _alike(document: Document, url: str) -> bool:
    """Whether the profile is named like the site."""
    site = re.sub(r"[\W_]", "", document.host.rsplit(".", 1)[0].split(".")[-1])
    handle = re.sub(r"[\W_]", "", split(url).path.lower())
    return min(len(site), len(handle)) >= _TELLING and (site in handle or handle in site)
