-- list_subscriptions
SELECT s.id, s.integration_id, i.unique_key, s.graph_id, s.tenant_id, s.status, s.resource, s.change_type,
       s.include_resource_data, s.auto_renew, s.lifetime_seconds, s.expires_at, s.renew_at, s.granted_at, s.acted_at,
       s.notification_url,
       (SELECT c.label FROM certificates c
        WHERE c.environment_id = $1 AND c.integration_id = s.integration_id AND c.label = s.certificate_label
        LIMIT 1) AS own_certificate,
       s.client_id, s.creator_id, s.last_error, s.created_at, s.updated_at,
       ARRAY(
           SELECT c.connection_id FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
           WHERE sc.subscription_id = s.id AND sc.environment_id = $1 AND c.deleted_at IS NULL ORDER BY c.id
       ) AS "connections!: Vec<String>",
       ARRAY(
           SELECT c.id FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
           WHERE sc.subscription_id = s.id AND sc.environment_id = $1 AND c.deleted_at IS NULL ORDER BY c.id
       ) AS "connection_keys!: Vec<i64>"
FROM subscriptions s
JOIN integrations i ON i.id = s.integration_id AND i.environment_id = $1
WHERE s.environment_id = $1
  AND ($2::uuid IS NULL OR s.id = $2)
  AND ($3::uuid IS NULL OR s.graph_id = $3)
  AND ($4::uuid IS NULL OR s.id > $4)
  AND ($5::text IS NULL OR s.status = $5)
  AND ($6::text IS NULL OR i.unique_key = $6)
  -- of this connection, by its name on the wire
  AND ($7::text IS NULL OR EXISTS (
      SELECT FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
      WHERE sc.subscription_id = s.id AND c.environment_id = $1 AND c.connection_id = $7 AND c.deleted_at IS NULL
  ))
ORDER BY s.id
LIMIT $8
