-- The second wall between tenants, behind TenantStore: an API request's transaction takes the role waypost_tenant, which
-- has no rights beyond these policies, and names its environment in the setting waypost.environment. Without the setting
-- it sees no row at all. Workers use the login role, which owns the tables.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'waypost_tenant') THEN
        CREATE ROLE waypost_tenant NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this cluster was migrated at the same moment
END
$$;
DO $$
BEGIN
    IF NOT pg_has_role(CURRENT_USER, 'waypost_tenant', 'MEMBER') THEN
        EXECUTE format('GRANT waypost_tenant TO %I', CURRENT_USER);
    END IF;
END
$$;

CREATE FUNCTION current_environment() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('waypost.environment', true), '')::uuid
$$;
COMMENT ON FUNCTION current_environment IS 'The environment that the transaction speaks for; null when it names none.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'api_keys', 'integrations', 'integration_secrets', 'connections', 'subscriptions', 'subscription_connections',
        'endpoints', 'endpoint_secrets', 'events', 'unmatched', 'deliveries', 'delivery_results', 'attempts',
        'rejections', 'audit_log'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_environment ON %I TO waypost_tenant
             USING (environment_id = (SELECT current_environment()))
             WITH CHECK (environment_id = (SELECT current_environment()))', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO waypost_tenant', name);
        IF name <> 'audit_log' THEN
            EXECUTE format('GRANT UPDATE, DELETE ON %I TO waypost_tenant', name);
        END IF;
    END LOOP;
END
$$;

ALTER TABLE environments ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_environment ON environments TO waypost_tenant
    USING (id = (SELECT current_environment())) WITH CHECK (id = (SELECT current_environment()));
GRANT SELECT, UPDATE ON environments TO waypost_tenant;
