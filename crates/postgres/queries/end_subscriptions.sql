-- end_subscriptions
-- What Graph has, or may have, is deleted there by whoever empties graph_deletions; the credentials go along as they are,
-- since they may be destroyed in this very transaction. A row without any connection can't be deleted at Graph: it ends
-- there by itself.
WITH ended AS (
    DELETE FROM subscriptions WHERE environment_id = $1 AND id = ANY($2::uuid[])
    RETURNING id, environment_id, integration_id, graph_id, status, state_hash, notification_url, resource_key, expires_at,
              posted_at, created_at
)
INSERT INTO graph_deletions (id, environment_id, integration_id, connection, graph_id, state_hash, notification_url,
                             resource_key, connection_credentials, integration_credentials, created_at, due_at, give_up_at)
SELECT gen_random_uuid(), e.environment_id, e.integration_id, c.id, e.graph_id, e.state_hash, e.notification_url,
       e.resource_key, c.credentials, i.credentials, $3, $3,
       -- Past its end there is nothing left to delete.
       coalesce(e.expires_at, $3::timestamptz + interval '3 days')
FROM ended e
JOIN integrations i ON i.id = e.integration_id
CROSS JOIN LATERAL (
    SELECT c.id, c.credentials FROM subscription_connections sc JOIN connections c ON c.id = sc.connection
    -- A live one first: it signs in with what it has then.
    WHERE sc.subscription_id = e.id ORDER BY c.deleted_at NULLS FIRST, c.id LIMIT 1
) c
WHERE e.status IN ('pending', 'active', 'renewal_failing') AND (e.graph_id IS NOT NULL OR e.posted_at IS NOT NULL)
RETURNING id
