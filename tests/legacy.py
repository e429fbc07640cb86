"""The tables that domainsched's predecessor left behind, in the three shapes they are found in.

Their oddities are kept, for real tables have them: the same UNIQUE twice and two plain indexes
beside it, `created_at` and `updated_at` without time zone among columns that have one, `tenant_id`
without a default, `meta_json` beside `domain_metadata`, free text in `status`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import LiteralString

import psycopg

TENANT = "550e8400-e29b-41d4-a716-446655440000"
"""The only tenant that the predecessor knew."""


class Generation(IntEnum):
    """A shape of the table, by the number of its columns."""

    MARCH_2025 = 107
    MAY_2025 = 111
    NOVEMBER_2025 = 114


def install(connection: psycopg.Connection, generation: Generation) -> None:
    """Make the tables of `generation` in the first schema of the search path; they are empty."""
    for step in Generation:
        if step <= generation:
            connection.execute(_STEPS[step])


_MARCH: LiteralString = """
CREATE TYPE task_status AS ENUM (
    'queued', 'in_progress', 'complete', 'error', 'manual_review', 'cancelled', 'paused'
);
CREATE TABLE tenants (id uuid PRIMARY KEY, name text NOT NULL);
INSERT INTO tenants VALUES ('550e8400-e29b-41d4-a716-446655440000', 'default');
CREATE TABLE batch_jobs (id serial PRIMARY KEY, id_uuid uuid NOT NULL, batch_id uuid);

CREATE TABLE domains (
    id uuid NOT NULL DEFAULT gen_random_uuid(), tenant_id uuid NOT NULL,
    domain varchar NOT NULL, lead_source text, is_active boolean DEFAULT true,
    status varchar NOT NULL DEFAULT 'active'::text,

    local_business_scraped_status text, local_business_scraped_at timestamptz,
    agency_sitemap_analysis_done text, agency_sitemap_analysis_done_at timestamptz,
    agency_wordpress_details text, agency_wordpress_details_at timestamptz,
    agency_copyright_status text, agency_copyright_status_at timestamptz,
    agency_ad_performance_status text, agency_ad_performance_at timestamptz,

    content_scrape_status task_status DEFAULT 'queued',
    content_scrape_at timestamptz, content_scrape_error text,
    page_scrape_status task_status DEFAULT 'queued',
    page_scrape_at timestamptz, page_scrape_error text,
    sitemap_monitor_status task_status DEFAULT 'queued',
    sitemap_monitor_at timestamptz, sitemap_monitor_error text,

    has_ssl boolean, ssl_expiry_date timestamptz, security_headers jsonb, ssl_issuer text,
    ssl_version text, server_type text, ip_address text, hosting_provider text, country_code text,
    server_response_time integer, dns_records jsonb, hosting_location text, cdn_provider text,
    last_modified timestamptz, robots_txt text, has_sitemap boolean, page_count integer,
    content_language text[], feed_urls jsonb, average_page_size integer,
    total_images_count integer, crawler_hints jsonb, business_category text,
    estimated_traffic jsonb, has_ecommerce boolean, primary_language text, business_hours jsonb,
    payment_methods text[], business_type text, industry_vertical text, competitor_group text,
    market_segment text,

    last_error text, error_count integer DEFAULT 0, last_successful_scan timestamptz,
    average_response_time integer, uptime_percentage numeric(5, 2), error_history jsonb,
    performance_metrics jsonb, monitoring_status text, alert_threshold jsonb, sitemap_url text,

    tech_stack jsonb, first_scan timestamptz NOT NULL DEFAULT now(),
    last_scan timestamptz NOT NULL DEFAULT now(), title text, description text, favicon_url text,
    logo_url text, copyright_year text, language text, has_cookie_notice boolean,
    has_privacy_policy boolean, google_analytics_id text, google_tag_manager_id text,
    is_wordpress boolean, wordpress_version text, wordpress_theme text, has_elementor boolean,
    elementor_version text, has_divi boolean, has_woocommerce boolean, has_contact_form7 boolean,
    has_yoast_seo boolean, has_wpforms boolean, phone_numbers text[], email_addresses text[],
    physical_addresses text[], facebook_url text, twitter_url text, linkedin_url text,
    instagram_url text, youtube_url text, meta_json jsonb DEFAULT '{}',

    created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now(),
    created_by uuid, domain_metadata jsonb, notes text, batch_id varchar,
    sitemap_urls integer DEFAULT 0, total_sitemaps integer DEFAULT 0,

    CONSTRAINT domains_pkey PRIMARY KEY (id), CONSTRAINT domains_domain_key UNIQUE (domain)
);
-- apart, for within CREATE TABLE the two would become one
ALTER TABLE domains ADD CONSTRAINT uq_domains_domain UNIQUE (domain);

CREATE INDEX idx_domains_business_category ON domains (business_category);
CREATE INDEX idx_domains_business_type ON domains (business_type);
CREATE INDEX idx_domains_content_scrape_status ON domains (content_scrape_status);
CREATE INDEX idx_domains_country_code ON domains (country_code);
CREATE INDEX idx_domains_domain ON domains (domain);
CREATE INDEX idx_domains_has_ssl ON domains (has_ssl);
CREATE INDEX idx_domains_hosting_provider ON domains (hosting_provider);
CREATE INDEX idx_domains_industry_vertical ON domains (industry_vertical);
CREATE INDEX idx_domains_page_scrape_status ON domains (page_scrape_status);
CREATE INDEX idx_domains_sitemap_monitor_status ON domains (sitemap_monitor_status);
CREATE INDEX idx_domains_status ON domains (status);
CREATE INDEX idx_domains_tenant_id ON domains (tenant_id);
CREATE INDEX ix_domains_batch_id ON domains (batch_id);
CREATE INDEX ix_domains_domain ON domains (domain);
CREATE INDEX ix_domains_tenant_id ON domains (tenant_id);

CREATE TABLE jobs (
    id serial PRIMARY KEY, job_id uuid NOT NULL UNIQUE, domain_id uuid,
    CONSTRAINT fk_jobs_domain_id FOREIGN KEY (domain_id) REFERENCES domains ON DELETE SET NULL
);
"""

_MAY: LiteralString = """
ALTER TYPE task_status RENAME VALUE 'queued' TO 'Queued';
ALTER TYPE task_status RENAME VALUE 'in_progress' TO 'InProgress';
ALTER TYPE task_status RENAME VALUE 'complete' TO 'Completed';
ALTER TYPE task_status RENAME VALUE 'error' TO 'Error';
ALTER TYPE task_status RENAME VALUE 'manual_review' TO 'ManualReview';
ALTER TYPE task_status RENAME VALUE 'cancelled' TO 'Cancelled';
ALTER TYPE task_status RENAME VALUE 'paused' TO 'Paused';
CREATE TYPE "SitemapCurationStatusEnum" AS ENUM (
    'New', 'Selected', 'Maybe', 'Not a Fit', 'Archived'
);
CREATE TYPE "SitemapAnalysisStatusEnum" AS ENUM ('Queued', 'Processing', 'Completed', 'Error');
CREATE TABLE local_businesses (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), business_name text);

ALTER TABLE domains
    ADD local_business_id uuid,
    ADD sitemap_curation_status "SitemapCurationStatusEnum" DEFAULT 'New',
    ADD sitemap_analysis_status "SitemapAnalysisStatusEnum",
    ADD sitemap_analysis_error text,
    ADD CONSTRAINT fk_domains_local_business FOREIGN KEY (local_business_id)
        REFERENCES local_businesses ON UPDATE CASCADE ON DELETE SET NULL;
CREATE INDEX idx_domains_local_business_id ON domains (local_business_id);
CREATE INDEX idx_domains_sitemap_analysis_status ON domains (sitemap_analysis_status);
CREATE INDEX idx_domains_sitemap_curation_status ON domains (sitemap_curation_status);
"""

_NOVEMBER: LiteralString = """
ALTER TYPE task_status ADD VALUE 'Processing';
ALTER TYPE task_status ADD VALUE 'Complete';
ALTER TYPE "SitemapCurationStatusEnum" RENAME TO sitemap_curation_status_enum;
ALTER TYPE sitemap_curation_status_enum ADD VALUE 'Completed';
CREATE TYPE sitemap_analysis AS ENUM ('pending', 'queued', 'processing', 'submitted', 'failed');
ALTER TABLE domains ALTER sitemap_analysis_status TYPE sitemap_analysis USING NULL;
DROP TYPE "SitemapAnalysisStatusEnum";
ALTER TYPE sitemap_analysis RENAME TO "SitemapAnalysisStatusEnum";
ALTER TABLE domains ALTER sitemap_analysis_status SET DEFAULT 'pending';
-- no column uses it: domains.status stays a varchar
CREATE TYPE domain_status AS ENUM ('pending', 'processing', 'completed', 'error');
CREATE TYPE hubspot_sync_status AS ENUM (
    'New', 'Selected', 'Queued', 'Processing', 'Complete', 'Error', 'Skipped'
);
CREATE TYPE hubspot_sync_processing_status AS ENUM ('Queued', 'Processing', 'Complete', 'Error');

ALTER TABLE domains
    ADD hubspot_sync_status hubspot_sync_status NOT NULL DEFAULT 'New',
    ADD hubspot_processing_status hubspot_sync_processing_status,
    ADD hubspot_processing_error text;
CREATE INDEX idx_domains_hubspot_sync_status ON domains (hubspot_sync_status);
CREATE INDEX idx_domains_hubspot_processing_status ON domains (hubspot_processing_status);
"""

_STEPS = {
    Generation.MARCH_2025: _MARCH,
    Generation.MAY_2025: _MAY,
    Generation.NOVEMBER_2025: _NOVEMBER,
}
