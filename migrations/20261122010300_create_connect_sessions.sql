-- Connect sessions: links by which a customer connects in a browser, and how far each has come.

SET LOCAL lock_timeout = '5s';

-- Who connects by a link is nobody of the operator's.
ALTER TABLE audit_log DROP CONSTRAINT audit_log_actor_kind;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_actor_kind
    CHECK (actor_kind IN ('admin', 'api_key', 'system', 'end_user')) NOT VALID;

CREATE TABLE connect_sessions (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    token_hash      bytea NOT NULL,
    link_hash       bytea NOT NULL,
    link            bytea NOT NULL,
    wish            jsonb NOT NULL,
    browser_hash    bytea,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    connected_at    timestamptz,
    CONSTRAINT connect_sessions_token_hash_length CHECK (octet_length(token_hash) = 32),
    CONSTRAINT connect_sessions_link_hash_length CHECK (octet_length(link_hash) = 32),
    CONSTRAINT connect_sessions_browser_hash_length CHECK (octet_length(browser_hash) = 32)
);
COMMENT ON TABLE connect_sessions IS 'Links by which one customer may make one connection, for half an hour.';
COMMENT ON COLUMN connect_sessions.token_hash IS 'Keyed hash of the token that the environment''s own backend and frontend use.';
COMMENT ON COLUMN connect_sessions.link_hash IS 'Keyed hash of the last part of the link; not the token, since links stay in histories.';
COMMENT ON COLUMN connect_sessions.link IS 'Sealed: pages lead back to it.';
COMMENT ON COLUMN connect_sessions.wish IS 'What was asked for: end user, integrations, defaults. No secrets.';
COMMENT ON COLUMN connect_sessions.browser_hash IS 'Keyed hash of the cookie of the browser that last began to sign in by it.';
COMMENT ON COLUMN connect_sessions.connected_at IS 'When it was used up: a session makes one connection.';
CREATE UNIQUE INDEX connect_sessions_token_hash ON connect_sessions (token_hash);
CREATE UNIQUE INDEX connect_sessions_link_hash ON connect_sessions (link_hash);
CREATE INDEX connect_sessions_environment ON connect_sessions (environment_id, expires_at);
CREATE INDEX connect_sessions_expired ON connect_sessions (expires_at);
CREATE INDEX connect_sessions_browser ON connect_sessions (browser_hash, id) WHERE browser_hash IS NOT NULL;

CREATE TABLE connect_states (
    hash            bytea PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    session_id      uuid NOT NULL REFERENCES connect_sessions (id) ON DELETE CASCADE,
    unique_key      text NOT NULL,
    browser_hash    bytea NOT NULL,
    step            text NOT NULL,
    secrets         bytea,
    tenant_id       uuid,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    tried_at        timestamptz,
    CONSTRAINT connect_states_hash_length CHECK (octet_length(hash) = 32),
    CONSTRAINT connect_states_browser_hash_length CHECK (octet_length(browser_hash) = 32),
    CONSTRAINT connect_states_step CHECK (step IN ('sign_in', 'consent', 'proof')),
    CONSTRAINT connect_states_of_step CHECK (
        (step = 'sign_in') = (secrets IS NOT NULL) AND (step = 'sign_in') = (tenant_id IS NULL)
    )
);
COMMENT ON TABLE connect_states IS 'People who are at the sign-in host, or wait for a consent to take effect. Each is used once.';
COMMENT ON COLUMN connect_states.hash IS 'Keyed hash of the parameter state.';
COMMENT ON COLUMN connect_states.unique_key IS 'The integration that is being connected.';
COMMENT ON COLUMN connect_states.browser_hash IS 'Keyed hash of the cookie of the browser that must come back with it.';
COMMENT ON COLUMN connect_states.step IS 'sign_in: who is it; consent: the administrator decides; proof: the consent is tried out.';
COMMENT ON COLUMN connect_states.secrets IS 'Sealed JSON: PKCE verifier and nonce.';
COMMENT ON COLUMN connect_states.tenant_id IS 'The tenant that the person was proven to belong to.';
COMMENT ON COLUMN connect_states.tried_at IS 'When a proof was last tried: pages may be loaded more often than that.';
CREATE INDEX connect_states_session ON connect_states (session_id, created_at);
CREATE INDEX connect_states_proof ON connect_states (browser_hash, created_at) WHERE step = 'proof';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['connect_sessions', 'connect_states'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_environment ON %I TO waypost_tenant
             USING (environment_id = (SELECT current_environment()))
             WITH CHECK (environment_id = (SELECT current_environment()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO waypost_tenant', name);
    END LOOP;
END
$$;
