-- What sign-ins at the provider have brought: tokens, or why there is none.

CREATE TABLE grants (
    environment_id      uuid NOT NULL REFERENCES environments (id),
    key                 bytea NOT NULL,
    cloud               text NOT NULL,
    tenant_id           uuid,
    client_id           text NOT NULL,
    generation          bigint NOT NULL DEFAULT 0,
    token               bytea,
    obtained_at         timestamptz,
    refresh_at          timestamptz,
    expires_at          timestamptz,
    lease_token         uuid,
    leased_until        timestamptz,
    failure             jsonb,
    told                boolean NOT NULL DEFAULT false,
    credential_ends_at  timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (environment_id, key),
    CONSTRAINT grants_key_length CHECK (octet_length(key) = 32),
    CONSTRAINT grants_token_times CHECK ((token IS NULL) = (obtained_at IS NULL) AND (token IS NULL) = (refresh_at IS NULL))
);
COMMENT ON TABLE grants IS 'One token for all connections that sign in alike: same cloud, tenant, app, credential and scopes.';
COMMENT ON COLUMN grants.key IS 'Keyed hash of what is signed in with: other credentials are another grant.';
COMMENT ON COLUMN grants.generation IS 'Rises with each request for a token that ended: what a caller read before tells whether it is still true.';
COMMENT ON COLUMN grants.token IS 'Sealed JSON: access token, refresh token, what the sign-in host said with them.';
COMMENT ON COLUMN grants.refresh_at IS 'From then on the next token is asked for.';
COMMENT ON COLUMN grants.expires_at IS 'Null for a token that was brought along without an end.';
COMMENT ON COLUMN grants.leased_until IS 'Until then whoever holds lease_token asks for the next token; nobody else does.';
COMMENT ON COLUMN grants.failure IS 'Why the last request failed, in words for people, and when it is tried again; null after a success.';
COMMENT ON COLUMN grants.told IS 'Whether the failure is worth telling: each connection is told once, see connection_grants.';
COMMENT ON COLUMN grants.credential_ends_at IS 'When the client secret or certificate ends, as far as it is known.';
CREATE INDEX grants_credential_end ON grants (credential_ends_at) WHERE credential_ends_at IS NOT NULL;

CREATE TABLE connection_grants (
    connection      bigint PRIMARY KEY REFERENCES connections (id),
    environment_id  uuid NOT NULL REFERENCES environments (id),
    grant_key       bytea NOT NULL,
    told_event      uuid,
    warned_days     smallint,
    CONSTRAINT connection_grants_grant FOREIGN KEY (environment_id, grant_key) REFERENCES grants (environment_id, key)
);
COMMENT ON TABLE connection_grants IS 'Which grant a connection used last, and what its customer was told of it.';
COMMENT ON COLUMN connection_grants.told_event IS 'The auth event that told of the failure; null when none is told.';
COMMENT ON COLUMN connection_grants.warned_days IS 'How many days ahead the end of the credential was announced last.';
CREATE INDEX connection_grants_grant_key ON connection_grants (environment_id, grant_key);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['grants', 'connection_grants'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_environment ON %I TO waypost_tenant
             USING (environment_id = (SELECT current_environment()))
             WITH CHECK (environment_id = (SELECT current_environment()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO waypost_tenant', name);
    END LOOP;
END
$$;
