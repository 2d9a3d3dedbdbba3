-- list_events
SELECT event.id, event.kind, event.routing, event.tenant_id, event.subscriptions, event.items,
       event.received_at, deliveries.worst AS "worst?", connections.connection_id AS "connection_id?",
       integrations.unique_key AS "unique_key?"
FROM events event
LEFT JOIN LATERAL (
    -- The places of waypost_core::delivery::DeliveryStatus::WORST_FIRST.
    SELECT min(place)::smallint AS worst FROM (
        SELECT CASE WHEN held_at IS NOT NULL THEN 1 WHEN lease_token IS NULL THEN 2 ELSE 3 END AS place
        FROM deliveries WHERE event_id = event.id AND environment_id = $1
        UNION ALL
        SELECT CASE ending WHEN 0 THEN 5 WHEN 4 THEN 4 ELSE 0 END
        FROM delivery_results WHERE event_id = event.id AND environment_id = $1
          -- No delivery is older than its event, by the milliseconds at the start of their ids.
          AND delivery_id >= (left(event.id::text, 13) || '-0000-0000-000000000000')::uuid
    ) each
) deliveries ON true
LEFT JOIN connections ON connections.id = event.connection
LEFT JOIN integrations ON integrations.id = event.integration_id
WHERE event.environment_id = $1
  AND ($2::uuid IS NULL OR event.id = $2) AND ($3::uuid IS NULL OR event.id < $3)
  AND ($4::uuid IS NULL OR event.id >= $4) AND ($5::uuid IS NULL OR event.id < $5)
  AND ($6::text IS NULL OR event.connection IN (
      SELECT id FROM connections WHERE environment_id = $1 AND connection_id = $6))
  AND ($7::text IS NULL OR event.integration_id IN (
      SELECT id FROM integrations WHERE environment_id = $1 AND unique_key = $7))
  AND ($8::smallint[] IS NULL OR event.kind = ANY($8))
  AND ($9::uuid IS NULL OR event.tenant_id = $9)
  AND ($10::uuid IS NULL OR (
      SELECT graph_id FROM subscriptions WHERE environment_id = $1 AND id = $10) = ANY(event.subscriptions))
  AND ($11::uuid IS NULL OR $11 = ANY(event.subscriptions))
  -- A quarantined event (3) is that whatever its deliveries were.
  AND ($12::smallint IS NULL OR (event.routing = $12 AND (deliveries.worst IS NULL OR $12 = 3)))
  AND ($13::smallint IS NULL OR (deliveries.worst = $13 AND event.routing <> 3))
  -- What is rare is looked for where it stands.
  AND ($13::smallint IS NULL OR $13 NOT IN (1, 2, 3) OR event.id IN (
      SELECT event_id FROM deliveries WHERE environment_id = $1))
  AND ($13::smallint IS NULL OR $13 NOT IN (0, 4) OR event.id IN (
      SELECT event_id FROM delivery_results WHERE environment_id = $1 AND ending <> 0))
ORDER BY event.id DESC LIMIT $14
