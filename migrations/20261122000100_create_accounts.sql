-- Accounts, environments and their keys.

CREATE TABLE accounts (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT accounts_name_length CHECK (char_length(name) BETWEEN 1 AND 255)
);
COMMENT ON TABLE accounts IS 'A company that uses this Waypost.';

CREATE TABLE environments (
    id                     uuid PRIMARY KEY,
    account_id             uuid NOT NULL REFERENCES accounts (id),
    name                   text NOT NULL,
    signing_key            bytea NOT NULL,
    forward_client_state   boolean NOT NULL,
    on_auth_creation       boolean NOT NULL,
    on_auth_refresh_error  boolean NOT NULL,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    deleted_at             timestamptz
);
COMMENT ON TABLE environments IS 'The wall between tenants: owns everything below. Its id is in the ingress URLs.';
COMMENT ON COLUMN environments.signing_key IS 'Sealed. Keys X-Nango-Signature and X-Nango-Hmac-Sha256.';
COMMENT ON COLUMN environments.forward_client_state IS 'Whether forwarded items keep their clientState.';
COMMENT ON COLUMN environments.deleted_at IS 'Set when deleted: from then on it is unknown to everybody.';
CREATE UNIQUE INDEX environments_account_name ON environments (account_id, name) WHERE deleted_at IS NULL;

CREATE TABLE api_keys (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    display_name    text NOT NULL,
    scopes          text[] NOT NULL,
    hash            bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    CONSTRAINT api_keys_hash_length CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE api_keys IS 'Keys of the environment API. The key itself is shown once and never stored.';
COMMENT ON COLUMN api_keys.hash IS 'Keyed hash of the key, to look it up.';
COMMENT ON COLUMN api_keys.last_used_at IS 'At most a minute old while the key is in use.';
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_environment ON api_keys (environment_id, id);

CREATE TABLE own_keys (
    name    text PRIMARY KEY,
    sealed  bytea NOT NULL
);
COMMENT ON TABLE own_keys IS 'Keys that Waypost made for itself once and must never lose or replace.';
COMMENT ON COLUMN own_keys.sealed IS 'Sealed; sealed anew when the encryption key is rotated.';
