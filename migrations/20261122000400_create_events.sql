-- Events, deliveries and their history.
--
-- History is partitioned by the UTC day inside its ids: a UUIDv7 begins with its milliseconds, so a range of ids is a
-- range of time, the primary key is the id alone, and a look-up by id touches one partition.

CREATE TABLE events (
    id              uuid NOT NULL PRIMARY KEY,
    environment_id  uuid NOT NULL,
    integration_id  uuid,
    connection      bigint,
    tenant_id       uuid,
    subscriptions   uuid[] NOT NULL,
    kind            smallint NOT NULL,
    routing         smallint NOT NULL,
    rich            boolean NOT NULL,
    items           integer NOT NULL,
    received_at     timestamptz NOT NULL,
    item_keys       text NOT NULL,
    body            bytea NOT NULL,
    proof           bytea
) PARTITION BY RANGE (id);
COMMENT ON TABLE events IS 'What one accepted POST holds for one connection, and Waypost''s own notices. One partition a day.';
COMMENT ON COLUMN events.subscriptions IS 'Graph ids of the subscriptions that its items name.';
COMMENT ON COLUMN events.kind IS 'See waypost_core::event::EventKind.';
COMMENT ON COLUMN events.routing IS '0 routed, 1 unrouted, 2 unmatched, 3 quarantined.';
COMMENT ON COLUMN events.body IS 'Sealed: the bytes to send; of an unmatched event the payload alone.';
COMMENT ON COLUMN events.proof IS 'Sealed: the validationTokens of a POST with rich items.';
CREATE INDEX events_environment ON events (environment_id, id);

CREATE TABLE unmatched (
    event_id        uuid PRIMARY KEY,
    environment_id  uuid NOT NULL,
    integration_id  uuid NOT NULL,
    tenant_id       uuid
);
COMMENT ON TABLE unmatched IS 'Events that wait for a connection of their tenant. What the matcher sweeps.';
-- Ends with the id, to take the oldest of a tenant first; without a tenant nothing can ever match.
CREATE INDEX unmatched_tenant ON unmatched (environment_id, integration_id, tenant_id, event_id)
    WHERE tenant_id IS NOT NULL;

CREATE TABLE deliveries (
    id              uuid PRIMARY KEY,
    event_id        uuid NOT NULL,
    environment_id  uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    due_at          timestamptz NOT NULL,
    give_up_at      timestamptz NOT NULL,
    held_at         timestamptz,
    lease_token     uuid,
    lease_until     timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    step            smallint NOT NULL DEFAULT 0,
    CONSTRAINT deliveries_lease CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
    CONSTRAINT deliveries_held_or_leased CHECK (held_at IS NULL OR lease_token IS NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE deliveries IS 'Unfinished deliveries only: the hot table. Narrow, and without foreign keys.';
COMMENT ON COLUMN deliveries.give_up_at IS 'Past this it dies at its next failure. Moved on by the time it was held.';
COMMENT ON COLUMN deliveries.held_at IS 'Since when it waits for its endpoint.';
COMMENT ON COLUMN deliveries.lease_token IS 'Random; whoever settles must show it.';
COMMENT ON COLUMN deliveries.step IS 'Which wait of the schedule comes before its next attempt.';
-- What is due, by tenant and endpoint, so that one backlog costs the others nothing.
CREATE INDEX deliveries_due ON deliveries (environment_id, endpoint_id, due_at)
    WHERE lease_token IS NULL AND held_at IS NULL;
CREATE INDEX deliveries_held ON deliveries (endpoint_id, id) WHERE held_at IS NOT NULL;
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE lease_token IS NOT NULL;
CREATE INDEX deliveries_event ON deliveries (event_id);

CREATE TABLE delivery_results (
    delivery_id     uuid NOT NULL PRIMARY KEY,
    event_id        uuid NOT NULL,
    environment_id  uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    ending          smallint NOT NULL,
    attempts        integer NOT NULL,
    ended_at        timestamptz NOT NULL
) PARTITION BY RANGE (delivery_id);
COMMENT ON TABLE delivery_results IS 'How each delivery ended. One partition a day, by the day it was made.';
COMMENT ON COLUMN delivery_results.ending IS '0 delivered, 1 exhausted, 2 too old, 3 retention, 4 discarded.';
CREATE INDEX delivery_results_event ON delivery_results (event_id);
CREATE INDEX delivery_results_environment ON delivery_results (environment_id, delivery_id);
-- What people look for: few among many.
CREATE INDEX delivery_results_failed ON delivery_results (environment_id, delivery_id) WHERE ending <> 0;

CREATE TABLE attempts (
    delivery_id     uuid NOT NULL,
    id              uuid NOT NULL,
    environment_id  uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    number          integer NOT NULL,
    started_at      timestamptz NOT NULL,
    duration_ms     integer NOT NULL,
    status_code     smallint,
    error           text,
    response        bytea,
    lease_lost      boolean NOT NULL,
    PRIMARY KEY (delivery_id, id),
    CONSTRAINT attempts_outcome CHECK ((status_code IS NULL) <> (error IS NULL))
) PARTITION BY RANGE (delivery_id);
COMMENT ON TABLE attempts IS 'Every HTTP request made for a delivery. One partition a day, by the delivery''s day.';
COMMENT ON COLUMN attempts.response IS 'Sealed JSON: response headers and the first 16 KiB of the body.';
COMMENT ON COLUMN attempts.lease_lost IS 'It ended after its lease had passed to another process: it changed nothing.';
