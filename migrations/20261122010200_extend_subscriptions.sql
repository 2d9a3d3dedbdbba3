-- Subscriptions as they are wanted, what must still be deleted at Graph, and templates.
SET LOCAL lock_timeout = '5s';

ALTER TABLE subscriptions
    ADD COLUMN status                 text NOT NULL DEFAULT 'active',
    ADD COLUMN origin                 text NOT NULL DEFAULT 'import',
    ADD COLUMN kept                   boolean NOT NULL DEFAULT false,
    ADD COLUMN wish_key               bytea,
    ADD COLUMN resource_key           text,
    ADD COLUMN state_sealed           bytea,
    ADD COLUMN cloud                  text,
    ADD COLUMN client_id              text,
    ADD COLUMN identity               text,
    ADD COLUMN creator_id             text,
    ADD COLUMN include_resource_data  boolean NOT NULL DEFAULT false,
    ADD COLUMN certificate_label      text,
    ADD COLUMN options                jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN lifetime_seconds       bigint,
    ADD COLUMN auto_renew             boolean NOT NULL DEFAULT true,
    ADD COLUMN notification_url       text,
    ADD COLUMN granted_at             timestamptz,
    ADD COLUMN renew_at               timestamptz,
    ADD COLUMN acted_at               timestamptz,
    ADD COLUMN last_error             jsonb,
    ADD COLUMN posted_at              timestamptz,
    ADD COLUMN due_at                 timestamptz,
    ADD COLUMN tries                  integer NOT NULL DEFAULT 0;
UPDATE subscriptions SET status = 'pending' WHERE graph_id IS NULL;
ALTER TABLE subscriptions
    ADD CONSTRAINT subscriptions_status CHECK (
        status IN ('pending', 'active', 'renewal_failing', 'removed', 'expired')
        AND (status = 'pending') = (graph_id IS NULL)
    ),
    ADD CONSTRAINT subscriptions_origin CHECK (origin IN ('api', 'template', 'proxy', 'import')),
    ADD CONSTRAINT subscriptions_wish_key_length CHECK (octet_length(wish_key) = 32);
COMMENT ON COLUMN subscriptions.origin IS 'Who wanted it first.';
COMMENT ON COLUMN subscriptions.kept IS 'Whether it is tried again until Graph grants it: a template''s, or one that was joined while it was pending.';
COMMENT ON COLUMN subscriptions.wish_key IS 'Digest of all that makes two wishes the same; null until its owner is known.';
COMMENT ON COLUMN subscriptions.resource_key IS 'The resource in its one spelling.';
COMMENT ON COLUMN subscriptions.state_sealed IS 'The clientState, sealed: a subscription that is made anew keeps it.';
COMMENT ON COLUMN subscriptions.identity IS 'As whom Graph was called: only that identity can manage it.';
COMMENT ON COLUMN subscriptions.creator_id IS 'Graph''s id of that identity.';
COMMENT ON COLUMN subscriptions.options IS 'Further members of the create, and prefer: what it is made anew with. Never a secret.';
COMMENT ON COLUMN subscriptions.lifetime_seconds IS 'How long it shall live at a time; null for as long as Graph grants.';
COMMENT ON COLUMN subscriptions.granted_at IS 'When Graph last granted its life.';
COMMENT ON COLUMN subscriptions.acted_at IS 'Last PATCH or reauthorize: Graph takes one in 10 minutes.';
COMMENT ON COLUMN subscriptions.posted_at IS 'When its create was sent; null before, and once its outcome is known.';
COMMENT ON COLUMN subscriptions.due_at IS 'When somebody looks after it while it is pending; moved ahead by whoever does.';
CREATE UNIQUE INDEX subscriptions_wish ON subscriptions (environment_id, wish_key)
    WHERE wish_key IS NOT NULL AND status IN ('pending', 'active', 'renewal_failing');
-- Of all environments: Graph notifies one place, so that two that hold one id would take it from each other.
CREATE UNIQUE INDEX subscriptions_live_graph_id ON subscriptions (graph_id)
    WHERE graph_id IS NOT NULL AND status IN ('active', 'renewal_failing');
CREATE INDEX subscriptions_due ON subscriptions (due_at) WHERE status = 'pending' AND due_at IS NOT NULL;

CREATE TABLE subscription_graph_ids (
    environment_id   uuid NOT NULL REFERENCES environments (id),
    integration_id   uuid NOT NULL REFERENCES integrations (id),
    graph_id         uuid NOT NULL,
    subscription_id  uuid NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    valid_until      timestamptz NOT NULL,
    PRIMARY KEY (environment_id, integration_id, graph_id)
);
COMMENT ON TABLE subscription_graph_ids IS 'Ids that subscriptions had at Graph before they were made anew: Graph sends late.';
CREATE INDEX subscription_graph_ids_subscription ON subscription_graph_ids (subscription_id);

CREATE TABLE graph_deletions (
    id                       uuid PRIMARY KEY,
    environment_id           uuid NOT NULL REFERENCES environments (id),
    integration_id           uuid NOT NULL REFERENCES integrations (id),
    connection               bigint NOT NULL REFERENCES connections (id),
    graph_id                 uuid,
    state_hash               bytea NOT NULL,
    notification_url         text,
    resource_key             text,
    connection_credentials   bytea NOT NULL,
    integration_credentials  bytea,
    created_at               timestamptz NOT NULL,
    due_at                   timestamptz NOT NULL,
    taken_until              timestamptz,
    give_up_at               timestamptz NOT NULL,
    tries                    integer NOT NULL DEFAULT 0,
    last_error               jsonb
);
COMMENT ON TABLE graph_deletions IS 'Subscriptions that nobody wants any more and that Graph may still have.';
COMMENT ON COLUMN graph_deletions.graph_id IS 'Null when its create was in flight: then it is looked for by what follows.';
COMMENT ON COLUMN graph_deletions.taken_until IS 'Until when somebody is at it; null when nobody is.';
COMMENT ON COLUMN graph_deletions.connection_credentials IS 'As they stood in connections, still sealed for that row: what the deletion signs in with once the connection''s own are destroyed.';
COMMENT ON COLUMN graph_deletions.integration_credentials IS 'As they stood in integrations, still sealed for that row.';
CREATE INDEX graph_deletions_due ON graph_deletions (due_at);
CREATE INDEX graph_deletions_graph_id ON graph_deletions (graph_id);
CREATE INDEX graph_deletions_state ON graph_deletions (state_hash) WHERE graph_id IS NULL;
CREATE INDEX graph_deletions_environment ON graph_deletions (environment_id);

CREATE TABLE subscription_templates (
    id                     uuid PRIMARY KEY,
    environment_id         uuid NOT NULL REFERENCES environments (id),
    integration_id         uuid NOT NULL REFERENCES integrations (id),
    position               integer NOT NULL,
    name                   text,
    resource               text NOT NULL,
    change_type            text NOT NULL,
    include_resource_data  boolean NOT NULL,
    lifetime_seconds       bigint,
    auto_renew             boolean NOT NULL,
    created_at             timestamptz NOT NULL
);
COMMENT ON TABLE subscription_templates IS 'Subscriptions that every new connection of an integration gets by itself.';
CREATE UNIQUE INDEX subscription_templates_position ON subscription_templates (environment_id, integration_id, position);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['subscription_graph_ids', 'graph_deletions', 'subscription_templates'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_environment ON %I TO waypost_tenant
             USING (environment_id = (SELECT current_environment()))
             WITH CHECK (environment_id = (SELECT current_environment()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO waypost_tenant', name);
    END LOOP;
END
$$;
