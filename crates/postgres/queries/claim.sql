-- claim
WITH RECURSIVE turn AS (
    -- Hops from endpoint to endpoint over the index of what is due: its cost doesn't grow with a backlog.
    (SELECT environment_id, endpoint_id FROM deliveries
     WHERE lease_token IS NULL AND held_at IS NULL AND (environment_id, endpoint_id) > ($1, $2)
     ORDER BY environment_id, endpoint_id LIMIT 1)
    UNION ALL
    SELECT n.environment_id, n.endpoint_id FROM turn
    CROSS JOIN LATERAL (
        SELECT environment_id, endpoint_id FROM deliveries
        WHERE lease_token IS NULL AND held_at IS NULL
          AND (environment_id, endpoint_id) > (turn.environment_id, turn.endpoint_id)
        ORDER BY environment_id, endpoint_id LIMIT 1
    ) n
), due AS (
    SELECT d.id, turn.environment_id,
           row_number() OVER (PARTITION BY turn.endpoint_id ORDER BY d.due_at) AS round
    FROM (SELECT * FROM turn LIMIT $3) turn
    LEFT JOIN LATERAL (
        SELECT remaining FROM unnest($4::uuid[], $5::bigint[]) AS b (endpoint_id, remaining)
        WHERE b.endpoint_id = turn.endpoint_id LIMIT 1
    ) busy ON true
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM deliveries
        WHERE environment_id = turn.environment_id AND endpoint_id = turn.endpoint_id
          AND lease_token IS NULL AND held_at IS NULL AND due_at <= $6
        ORDER BY due_at
        LIMIT least(coalesce(busy.remaining, $7::bigint), $8::bigint)
        FOR UPDATE SKIP LOCKED
    ) d
), ranked AS (
    SELECT id, row_number() OVER (PARTITION BY environment_id ORDER BY round, id) AS place FROM due
), chosen AS MATERIALIZED (
    SELECT id FROM (SELECT id FROM ranked ORDER BY place, id LIMIT $8::bigint) c ORDER BY id
)
UPDATE deliveries d SET lease_token = $9, lease_until = $10
FROM chosen WHERE d.id = chosen.id
RETURNING d.id, d.event_id, d.environment_id, d.endpoint_id, d.attempts, d.step, d.give_up_at
