-- find_routes
SELECT w.integration_id AS "integration_id!", w.graph_id AS "graph_id?", NULL::uuid AS "tenant?",
       NULL::text AS "name?", s.id AS "subscription?", s.tenant_id AS "subscription_tenant?",
       s.state_hash AS "state_hash?", c.id AS "connection?", c.connection_id AS "connection_id?", o.id AS "override_endpoint?"
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (environment_id, integration_id, graph_id)
CROSS JOIN LATERAL (
    SELECT id, tenant_id, state_hash FROM subscriptions
    WHERE environment_id = w.environment_id AND integration_id = w.integration_id AND graph_id = w.graph_id
    LIMIT 1
) s
LEFT JOIN LATERAL (
    SELECT c.id, c.connection_id FROM subscription_connections sc
    CROSS JOIN LATERAL (
        SELECT id, connection_id FROM connections WHERE id = sc.connection AND deleted_at IS NULL LIMIT 1
    ) c
    WHERE sc.subscription_id = s.id
) c ON true
LEFT JOIN LATERAL (
    SELECT id FROM endpoints WHERE connection = c.id AND kind = 'override' LIMIT 1
) o ON true
UNION ALL
SELECT w.integration_id, NULL, w.tenant_id, NULL, NULL, NULL, NULL, c.id, c.connection_id, o.id
FROM unnest($4::uuid[], $5::uuid[], $6::uuid[]) AS w (environment_id, integration_id, tenant_id)
CROSS JOIN LATERAL (
    SELECT id, connection_id FROM connections
    WHERE environment_id = w.environment_id AND integration_id = w.integration_id
      AND tenant_id = w.tenant_id AND deleted_at IS NULL
) c
LEFT JOIN LATERAL (
    SELECT id FROM endpoints WHERE connection = c.id AND kind = 'override' LIMIT 1
) o ON true
UNION ALL
SELECT w.integration_id, NULL, NULL, w.connection_id, NULL, NULL, NULL, c.id, c.connection_id, o.id
FROM unnest($7::uuid[], $8::uuid[], $9::text[]) AS w (environment_id, integration_id, connection_id)
CROSS JOIN LATERAL (
    SELECT id, connection_id FROM connections
    WHERE environment_id = w.environment_id AND integration_id = w.integration_id
      AND connection_id = w.connection_id AND deleted_at IS NULL
    LIMIT 1
) c
LEFT JOIN LATERAL (
    SELECT id FROM endpoints WHERE connection = c.id AND kind = 'override' LIMIT 1
) o ON true
