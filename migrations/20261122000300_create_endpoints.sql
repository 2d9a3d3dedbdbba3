-- Endpoints: callback URLs of the SaaS backend.

CREATE TABLE endpoints (
    id               uuid PRIMARY KEY,
    environment_id   uuid NOT NULL REFERENCES environments (id),
    kind             text NOT NULL,
    connection       bigint REFERENCES connections (id),
    url              text,
    description      text NOT NULL DEFAULT '',
    headers          bytea,
    header_names     text[] NOT NULL DEFAULT '{}',
    filter           jsonb NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'enabled',
    disabled_reason  text,
    disabled_at      timestamptz,
    retention_warned_on date,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT endpoints_kind CHECK (kind IN ('primary', 'secondary', 'override', 'custom')),
    CONSTRAINT endpoints_url CHECK (url IS NOT NULL OR kind IN ('primary', 'secondary')),
    CONSTRAINT endpoints_override CHECK ((connection IS NOT NULL) = (kind = 'override')),
    CONSTRAINT endpoints_status CHECK (status IN ('enabled', 'disabled')),
    CONSTRAINT endpoints_disabled CHECK (
        (status = 'disabled') = (disabled_reason IS NOT NULL) AND (status = 'disabled') = (disabled_at IS NOT NULL)
    )
);
COMMENT ON TABLE endpoints IS 'Where events go. primary and secondary exist from the start; without a url they get nothing.';
COMMENT ON COLUMN endpoints.connection IS 'The connection of an override.';
COMMENT ON COLUMN endpoints.headers IS 'Sealed JSON: headers that the endpoint wants added.';
COMMENT ON COLUMN endpoints.filter IS 'What it wants; {} for all.';
COMMENT ON COLUMN endpoints.retention_warned_on IS 'The day it was last told that undelivered events are about to leave.';
CREATE INDEX endpoints_environment ON endpoints (environment_id, id) WHERE kind <> 'override';
CREATE UNIQUE INDEX endpoints_named ON endpoints (environment_id, kind) WHERE kind IN ('primary', 'secondary');
CREATE UNIQUE INDEX endpoints_override_connection ON endpoints (connection) WHERE kind = 'override';

CREATE TABLE endpoint_secrets (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    endpoint_id     uuid NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    sealed          bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    valid_until     timestamptz
);
COMMENT ON TABLE endpoint_secrets IS 'Signing secrets. The current one has no end; a replaced one signs along until its end.';
CREATE INDEX endpoint_secrets_endpoint ON endpoint_secrets (endpoint_id);
CREATE UNIQUE INDEX endpoint_secrets_current ON endpoint_secrets (endpoint_id) WHERE valid_until IS NULL;
