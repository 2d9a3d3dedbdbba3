-- What was refused, and who changed what.

CREATE TABLE rejections (
    environment_id  uuid NOT NULL,
    integration_id  uuid NOT NULL,
    minute          timestamptz NOT NULL,
    reason          text NOT NULL,
    count           bigint NOT NULL,
    samples         jsonb NOT NULL,
    PRIMARY KEY (environment_id, minute, integration_id, reason)
);
CREATE INDEX rejections_minute ON rejections (minute);
COMMENT ON TABLE rejections IS 'What ingress refused: counts per integration, reason and minute, with a few samples.';
COMMENT ON COLUMN rejections.samples IS 'At most five, without secrets or content.';

CREATE TABLE audit_log (
    id              uuid PRIMARY KEY,
    at              timestamptz NOT NULL,
    environment_id  uuid,
    actor_kind      text NOT NULL,
    actor           text NOT NULL,
    request_id      text NOT NULL,
    action          text NOT NULL,
    object          text NOT NULL,
    detail          jsonb NOT NULL,
    CONSTRAINT audit_log_actor_kind CHECK (actor_kind IN ('admin', 'api_key', 'system'))
);
COMMENT ON TABLE audit_log IS 'Every change, with who and when. Nobody updates or deletes rows.';
COMMENT ON COLUMN audit_log.detail IS 'What changed, secrets masked.';
CREATE INDEX audit_log_environment ON audit_log (environment_id, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION refuse_change IS 'Keeps the audit log as it was written, even from the owner of the table.';
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM CURRENT_USER, PUBLIC;
