-- Encrypted notifications: certificates to open them, key sets to prove who sent them, and what came of the proofs.

CREATE TABLE certificates (
    id              uuid PRIMARY KEY,
    environment_id  uuid NOT NULL REFERENCES environments (id),
    integration_id  uuid NOT NULL REFERENCES integrations (id),
    connection      bigint REFERENCES connections (id),
    label           text NOT NULL,
    der             bytea NOT NULL,
    thumbprint      text NOT NULL,
    bits            integer NOT NULL,
    not_after       timestamptz NOT NULL,
    private_key     bytea,
    status          text NOT NULL,
    created_at      timestamptz NOT NULL,
    replaced_at     timestamptz,
    retired_at      timestamptz,
    CONSTRAINT certificates_label CHECK (char_length(label) BETWEEN 1 AND 128),
    CONSTRAINT certificates_status CHECK (status IN ('current', 'retiring', 'retired')),
    CONSTRAINT certificates_replaced CHECK ((status = 'current') <= (replaced_at IS NULL)),
    CONSTRAINT certificates_retired CHECK (
        (status = 'retired') = (retired_at IS NOT NULL) AND (status = 'retired') = (private_key IS NULL)
    )
);
COMMENT ON TABLE certificates IS 'What encrypted notifications are encrypted for, with the private keys that open them.';
COMMENT ON COLUMN certificates.connection IS 'The connection it belongs to alone; null when all of the integration share it.';
COMMENT ON COLUMN certificates.label IS 'encryptionCertificateId: how notifications name it.';
COMMENT ON COLUMN certificates.thumbprint IS 'SHA-1 of the certificate in upper-case hexadecimal digits, as Graph writes it.';
COMMENT ON COLUMN certificates.private_key IS 'Sealed PKCS#8. Destroyed when it is retired.';
COMMENT ON COLUMN certificates.status IS 'current: new subscriptions name it; retiring: it only opens; retired: nothing can name it.';
CREATE UNIQUE INDEX certificates_current ON certificates (environment_id, integration_id, coalesce(connection, 0))
    WHERE status = 'current';
CREATE INDEX certificates_label ON certificates (environment_id, integration_id, label) WHERE status <> 'retired';
CREATE INDEX certificates_integration ON certificates (environment_id, integration_id, id);
CREATE INDEX certificates_retiring ON certificates (replaced_at) WHERE status = 'retiring';

CREATE TABLE key_sets (
    url         text PRIMARY KEY,
    tried_at    timestamptz NOT NULL,
    fetched_at  timestamptz
);
COMMENT ON TABLE key_sets IS 'Key sets that validation tokens are checked with. Shared by all processes; belongs to no environment.';
COMMENT ON COLUMN key_sets.tried_at IS 'When somebody last began to fetch it: the others leave it alone for a while.';
COMMENT ON COLUMN key_sets.fetched_at IS 'The tried_at of the last fetch that succeeded.';

CREATE TABLE key_set_keys (
    url           text NOT NULL REFERENCES key_sets (url) ON DELETE CASCADE,
    kid           text NOT NULL,
    issuer        text NOT NULL,
    modulus       text NOT NULL,
    exponent      text NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    PRIMARY KEY (url, kid, issuer)
);
COMMENT ON TABLE key_set_keys IS 'Public keys of the sets. One whose last_seen_at is before the set''s fetched_at is retired.';
COMMENT ON COLUMN key_set_keys.issuer IS 'As published, with {tenantid} where the tenant stands; empty when the key names none.';
COMMENT ON COLUMN key_set_keys.modulus IS 'As published: base64url.';

CREATE TABLE proofs (
    event_id        uuid PRIMARY KEY,
    environment_id  uuid NOT NULL,
    due_at          timestamptz,
    tries           integer NOT NULL DEFAULT 0,
    checked_at      timestamptz,
    findings        jsonb,
    verdicts        jsonb
);
COMMENT ON TABLE proofs IS 'What was found out about the senders of events with encrypted items. Written with the event.';
COMMENT ON COLUMN proofs.due_at IS 'When to look next; null once nothing can change any more.';
COMMENT ON COLUMN proofs.findings IS 'What each validation token showed.';
COMMENT ON COLUMN proofs.verdicts IS 'What that and its opening mean for each encrypted item.';
CREATE INDEX proofs_due ON proofs (due_at) WHERE due_at IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['certificates', 'proofs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_environment ON %I TO waypost_tenant
             USING (environment_id = (SELECT current_environment()))
             WITH CHECK (environment_id = (SELECT current_environment()))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO waypost_tenant', name);
    END LOOP;
END
$$;
