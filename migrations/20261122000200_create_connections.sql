-- Integrations, connections, subscriptions.

CREATE TABLE integrations (
    id                uuid PRIMARY KEY,
    environment_id    uuid NOT NULL REFERENCES environments (id),
    unique_key        text NOT NULL,
    provider          text NOT NULL,
    display_name      text NOT NULL,
    forward_webhooks  boolean NOT NULL,
    credentials       bytea,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    deleted_at        timestamptz
);
COMMENT ON TABLE integrations IS 'A provider and its settings in one environment, named by its unique key.';
COMMENT ON COLUMN integrations.credentials IS 'Sealed JSON: client id, client secret, scopes of the app registration.';
CREATE UNIQUE INDEX integrations_unique_key ON integrations (environment_id, unique_key) WHERE deleted_at IS NULL;

CREATE TABLE integration_secrets (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    integration_id  uuid NOT NULL REFERENCES integrations (id),
    hash            bytea NOT NULL,
    sealed          bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    valid_until     timestamptz,
    CONSTRAINT integration_secrets_hash_length CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE integration_secrets IS 'Webhook secrets: the current one has no end, a replaced one ends after its grace.';
COMMENT ON COLUMN integration_secrets.hash IS 'Keyed hash, compared with the hash of a clientState.';
COMMENT ON COLUMN integration_secrets.sealed IS 'Sealed: it must be shown again.';
CREATE INDEX integration_secrets_integration ON integration_secrets (environment_id, integration_id);
CREATE UNIQUE INDEX integration_secrets_current ON integration_secrets (environment_id, integration_id)
    WHERE valid_until IS NULL;

CREATE TABLE connections (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment_id        uuid NOT NULL REFERENCES environments (id),
    integration_id        uuid NOT NULL REFERENCES integrations (id),
    connection_id         text NOT NULL,
    tenant_id             uuid,
    connection_config     jsonb NOT NULL,
    metadata              jsonb,
    tags                  jsonb NOT NULL,
    end_user              jsonb,
    webhook_url_override  text,
    credentials           bytea NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    last_fetched_at       timestamptz,
    deleted_at            timestamptz
);
COMMENT ON TABLE connections IS 'One customer''s authorization at the provider.';
COMMENT ON COLUMN connections.id IS 'The integer id of Nango''s wire format, and the connection''s key inside Waypost.';
COMMENT ON COLUMN connections.tenant_id IS 'The Entra tenant as a GUID, whatever connection_config calls it.';
COMMENT ON COLUMN connections.credentials IS 'Sealed JSON.';
CREATE UNIQUE INDEX connections_connection_id ON connections (environment_id, integration_id, connection_id)
    WHERE deleted_at IS NULL;
CREATE INDEX connections_tenant ON connections (environment_id, integration_id, tenant_id)
    WHERE deleted_at IS NULL AND tenant_id IS NOT NULL;

CREATE TABLE subscriptions (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    integration_id  uuid NOT NULL REFERENCES integrations (id),
    graph_id        uuid,
    tenant_id       uuid NOT NULL,
    state_hash      bytea NOT NULL,
    resource        text NOT NULL,
    change_type     text NOT NULL,
    expires_at      timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT subscriptions_state_hash_length CHECK (octet_length(state_hash) = 32)
);
COMMENT ON TABLE subscriptions IS 'Graph subscriptions that Waypost tracks. While graph_id is null its create is in flight.';
COMMENT ON COLUMN subscriptions.state_hash IS 'Keyed hash of its clientState: this alone vouches for its items.';
CREATE UNIQUE INDEX subscriptions_graph_id ON subscriptions (environment_id, integration_id, graph_id);
CREATE INDEX subscriptions_pending ON subscriptions (environment_id, integration_id) WHERE graph_id IS NULL;

CREATE TABLE subscription_connections (
    environment_id   uuid NOT NULL REFERENCES environments (id),
    subscription_id  uuid NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    connection       bigint NOT NULL REFERENCES connections (id),
    PRIMARY KEY (subscription_id, connection)
);
COMMENT ON TABLE subscription_connections IS 'Which connections a subscription serves.';
CREATE INDEX subscription_connections_connection ON subscription_connections (connection);
