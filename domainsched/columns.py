"""The columns of the table: what each is used for, in a few words, and which a list shows."""

from __future__ import annotations

from collections.abc import Mapping

_FOUND = "found on the site"

PURPOSES: Mapping[str, str] = {
    "id": "the key of a row",
    "tenant_id": "whose domain it is",
    "domain": "the site's name",
    "status": "pending, processing, completed or error",
    "attempts": "counted by each claim",
    "due_at": "may be claimed from; end of the lease",
    "claim_token": "only who has it may write the result",
    "claimed_by": "the worker: host:process:run",
    "batch_id": "label given by add --batch",
    "last_error": "why the last attempt failed",
    "last_error_kind": "the same in one word",
    "error_count": "times it ended as error",
    "title": _FOUND,
    "description": _FOUND,
    "language": _FOUND,
    "favicon_url": _FOUND,
    "logo_url": _FOUND,
    "email_addresses": _FOUND,
    "phone_numbers": _FOUND,
    "facebook_url": _FOUND,
    "twitter_url": _FOUND,
    "linkedin_url": _FOUND,
    "instagram_url": _FOUND,
    "youtube_url": _FOUND,
    "is_wordpress": _FOUND,
    "wordpress_version": _FOUND,
    "has_elementor": _FOUND,
    "wordpress_theme": _FOUND,
    "elementor_version": _FOUND,
    "has_divi": _FOUND,
    "has_woocommerce": _FOUND,
    "has_contact_form7": _FOUND,
    "has_yoast_seo": _FOUND,
    "has_wpforms": _FOUND,
    "google_analytics_id": _FOUND,
    "google_tag_manager_id": _FOUND,
    "copyright_year": _FOUND,
    "content_language": _FOUND,
    "feed_urls": _FOUND,
    "security_headers": "told by the answer",
    "tech_stack": "technologies, with versions",
    "domain_metadata": "all of the latest visit",
    "has_ssl": "told by the connection",
    "ssl_issuer": "told by the connection",
    "ssl_version": "told by the connection",
    "ssl_expiry_date": "told by the connection",
    "server_type": "told by the connection",
    "ip_address": "told by the connection",
    "server_response_time": "milliseconds of the latest visit",
    "last_scan": "end of the latest visit",
    "last_successful_scan": "end of the latest that was completed",
    "created_at": "when it was added",
    "updated_at": "when we last wrote the row",
}
"""Columns that are not here are neither read nor written."""
UNUSED = "not used"

LISTED = (
    "domain",
    "status",
    "attempts",
    "due_at",
    "updated_at",
    "last_error_kind",
    "last_error",
    "title",
    "claimed_by",
    "language",
    "email_addresses",
    "phone_numbers",
    "batch_id",
    "tenant_id",
)
"""What a list shows, where the table has it; never the large `domain_metadata`."""
