"""Profiles in social networks: the site's own, not shares, posts, defaults and other people's."""

from __future__ import annotations

import pytest

from domainsched import extract_page

URL = "https://www.acme-tools.co.uk/"


def profiles(markup: str, url: str = URL) -> dict[str, str]:
    page = extract_page(markup.encode(), url, {"content-type": "text/html; charset=utf-8"})
    metadata = page["domain_metadata"]
    assert list(metadata["contacts"]["social_links"]) == list(metadata["social_links"])
    assert isinstance(metadata["social_links"], dict)
    return metadata["social_links"]


def linked(*hrefs: str, url: str = URL) -> dict[str, str]:
    anchors = "".join(f"<a href='{href}'>x</a>" for href in hrefs)
    return profiles(f"<footer>{anchors}</footer>", url)


@pytest.mark.parametrize(
    ("href", "network", "profile"),
    [
        ("https://www.facebook.com/acme/?ref=hl#x", "facebook", "https://www.facebook.com/acme"),
        ("//m.facebook.com/acme", "facebook", "https://m.facebook.com/acme"),
        ("https://de-de.facebook.com/acme", "facebook", "https://de-de.facebook.com/acme"),
        ("http://fb.com/acme", "facebook", "https://fb.com/acme"),
        ("www.facebook.com/acme", "facebook", "https://www.facebook.com/acme"),
        (
            "https://www.facebook.com/profile.php?id=100&x=1",
            "facebook",
            "https://www.facebook.com/profile.php?id=100",
        ),
        ("https://twitter.com/acme?lang=en", "twitter", "https://x.com/acme"),
        ("https://mobile.twitter.com/@acme", "twitter", "https://x.com/acme"),
        ("https://twitter.com/#!/acme", "twitter", "https://x.com/acme"),
        ("https://X.com/acme/", "twitter", "https://x.com/acme"),
        ("https://twitter.com/%20acme", "twitter", "https://x.com/acme"),
        ("https://uk.linkedin.com/in/acme", "linkedin", "https://uk.linkedin.com/in/acme"),
        ("https://linkedin.com/company/acme/", "linkedin", "https://linkedin.com/company/acme"),
        ("https://linkedin.com/school/acme", "linkedin", "https://linkedin.com/school/acme"),
        ("https://linkedin.com/showcase/acme", "linkedin", "https://linkedin.com/showcase/acme"),
        ("https://instagram.com/acme?igshid=1", "instagram", "https://instagram.com/acme"),
        ("https://youtube.com/@acme", "youtube", "https://youtube.com/@acme"),
        ("https://youtube.com/channel/UC1", "youtube", "https://youtube.com/channel/UC1"),
        ("https://youtube.com/c/acme", "youtube", "https://youtube.com/c/acme"),
        ("https://youtube.com/user/acme", "youtube", "https://youtube.com/user/acme"),
        ("https://pinterest.co.uk/acme", "pinterest", "https://pinterest.co.uk/acme"),
        ("https://www.tiktok.com/@acme", "tiktok", "https://www.tiktok.com/@acme"),
        ("https://www.threads.net/@acme", "threads", "https://www.threads.net/@acme"),
        ("https://github.com/acme", "github", "https://github.com/acme"),
        ("https://wa.me/442079460958?text=Hi", "whatsapp", "https://wa.me/442079460958"),
        (
            "https://api.whatsapp.com/send?phone=%2B44 20 7946 0958",
            "whatsapp",
            "https://wa.me/442079460958",
        ),
        ("https://t.me/acmetools", "telegram", "https://t.me/acmetools"),
        ("https://vk.com/acme", "vk", "https://vk.com/acme"),
        ("https://www.xing.com/companies/acme", "xing", "https://www.xing.com/companies/acme"),
        ("https://mastodon.social/@acme", "mastodon", "https://mastodon.social/@acme"),
        (
            "https://bsky.app/profile/acme.bsky.social",
            "bluesky",
            "https://bsky.app/profile/acme.bsky.social",
        ),
        ("https://snapchat.com/add/acme", "snapchat", "https://snapchat.com/add/acme"),
        ("https://reddit.com/r/acme", "reddit", "https://reddit.com/r/acme"),
        ("https://medium.com/@acme", "medium", "https://medium.com/@acme"),
        ("https://yelp.co.uk/biz/acme", "yelp", "https://yelp.co.uk/biz/acme"),
        (
            "https://www.tripadvisor.de/Hotel_Review-g1-d2-Acme.html",
            "tripadvisor",
            "https://www.tripadvisor.de/Hotel_Review-g1-d2-Acme.html",
        ),
    ],
)
def test_a_profile_is_known_in_each_spelling(href: str, network: str, profile: str) -> None:
    assert linked(href) == {network: profile}


@pytest.mark.parametrize(
    "href",
    [
        "https://www.facebook.com/sharer/sharer.php?u=x",
        "https://www.facebook.com/dialog/feed",
        "https://www.facebook.com/",
        "https://www.facebook.com/plugins/like.php",
        "https://developers.facebook.com/acme",
        "https://twitter.com/intent/tweet?text=x",
        "https://twitter.com/share",
        "https://twitter.com/acme/status/1",
        "https://twitter.com/hashtag/acme",
        "https://help.twitter.com/acme",
        "https://www.linkedin.com/shareArticle?url=x",
        "https://www.instagram.com/p/abc/",
        "https://www.youtube.com/watch?v=1",
        "https://www.youtube.com/embed/1",
        "https://pinterest.com/pin/create/button/",
        "https://wa.me/?text=x",
        "https://api.whatsapp.com/send?text=x",
        "https://t.me/share/url?url=x",
        "https://github.com/acme/repository",
        "https://reddit.com/submit?url=x",
        "https://mynotinstagram.com/acme",
        "https://acme.com/@acme",
        "/out?to=youtube.com/acme",
        "https://facebook.com/wordpress",
        "https://www.facebook.com/elegantthemes",
        "https://twitter.com/envato",
        "https://www.facebook.com/yourpage",
        "https://instagram.com/your_username",
        "#",
    ],
)
def test_shares_posts_and_what_themes_come_with_are_no_profiles(href: str) -> None:
    assert linked(href) == {}


def test_a_makers_profile_is_its_own() -> None:
    own = linked("https://facebook.com/elegantthemes", url="https://www.elegantthemes.com/")
    assert own == {"facebook": "https://facebook.com/elegantthemes"}


def test_a_network_has_no_profile_in_itself() -> None:
    assert linked("https://x.com/acme", url="https://x.com/acme") == {}
    assert "github" not in linked("https://github.com/acme", url="https://github.com/acme")


@pytest.mark.parametrize("place", ["testimonial", "comment-body", "author-box", "team-member"])
def test_other_peoples_profiles_are_not_the_sites(place: str) -> None:
    others = f"<div class='{place}'><a href='https://x.com/somebody'>x</a></div>"
    assert profiles(others) == {}
    own = "<div class='social'><a href='https://x.com/acmetools'>x</a></div>"
    assert profiles(others + own) == {"twitter": "https://x.com/acmetools"}


def test_a_name_like_the_sites_wins_whatever_the_place() -> None:
    both = linked("https://x.com/agency") | profiles(
        "<footer><a href='https://x.com/agency'>x</a></footer>"
        "<div class='author'><a href='https://x.com/acmetools'>x</a></div>"
    )
    assert both == {"twitter": "https://x.com/acmetools"}


def test_json_ld_tells_the_organisations_profiles_before_the_authors() -> None:
    page = extract_page(
        b"""<script type="application/ld+json">[
        {"@type": "Person", "sameAs": ["https://x.com/jane"]},
        {"@type": "Organization", "sameAs": ["https://x.com/tools", "https://facebook.com/tools"]}
        ]</script>""",
        URL,
    )
    assert page["twitter_url"] == "https://x.com/tools"
    contacts = page["domain_metadata"]["contacts"]["social_links"]
    assert contacts["facebook"] == {"rule": "json-ld", "where": "head"}


def test_rel_me_and_page_widgets_tell_profiles() -> None:
    assert profiles("<link rel=me href='https://github.com/acme'>") == {
        "github": "https://github.com/acme"
    }
    widget = "https://www.facebook.com/plugins/page.php?href=https%3A%2F%2Ffacebook.com%2Facme"
    own = {"facebook": "https://facebook.com/acme"}
    assert profiles(f"<iframe src='{widget}'></iframe>") == own
    assert profiles("<div class=fb-page data-href='https://facebook.com/acme'></div>") == own
    like = widget.replace("page.php", "like.php")
    assert profiles(f"<iframe src='{like}'></iframe>") == {}


def test_the_evidence_names_rule_and_place() -> None:
    page = extract_page(b"<footer><a rel=me href='https://x.com/acme'>x</a></footer>", URL)
    contacts = page["domain_metadata"]["contacts"]["social_links"]
    assert contacts == {"twitter": {"rule": "rel-me", "where": "footer"}}
