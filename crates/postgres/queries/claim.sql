-- claim
WITH RECURSIVE turn AS (
    -- Hops from endpoint to endpoint over the index of what is due: its cost doesn't grow with a backlog.
    (SELECT environment_id, endpoint_id, due_at FROM deliveries
     WHERE lease_token IS NULL AND held_at IS NULL AND (environment_id, endpoint_id) > ($1, $2)
     ORDER BY environment_id, endpoint_id, due_at LIMIT 1)
    UNION ALL
    SELECT n.environment_id, n.endpoint_id, n.due_at FROM turn
    CROSS JOIN LATERAL (
        SELECT environment_id, endpoint_id, due_at FROM deliveries
        WHERE lease_token IS NULL AND held_at IS NULL
          AND (environment_id, endpoint_id) > (turn.environment_id, turn.endpoint_id)
        ORDER BY environment_id, endpoint_id, due_at LIMIT 1
    ) n
), looked AS MATERIALIZED (
    SELECT * FROM turn LIMIT $3
), open AS (
    SELECT looked.environment_id, looked.endpoint_id, coalesce(environment.remaining, $11::bigint) AS for_environment,
           -- Not many more rows are locked than are taken.
           least(coalesce(endpoint.remaining, $7::bigint), 1 + 8 * $8::bigint / count(*) OVER ()) AS for_endpoint
    FROM looked
    LEFT JOIN LATERAL (
        SELECT remaining FROM unnest($4::uuid[], $5::bigint[]) AS busy (id, remaining)
        WHERE busy.id = looked.endpoint_id LIMIT 1
    ) endpoint ON true
    LEFT JOIN LATERAL (
        SELECT remaining FROM unnest($12::uuid[], $13::bigint[]) AS busy (id, remaining)
        WHERE busy.id = looked.environment_id LIMIT 1
    ) environment ON true
    WHERE looked.due_at <= $6 AND coalesce(endpoint.remaining, 1) > 0 AND coalesce(environment.remaining, 1) > 0
), due AS (
    SELECT d.id, open.environment_id, open.for_environment,
           row_number() OVER (PARTITION BY open.endpoint_id ORDER BY d.due_at) AS round
    FROM open
    CROSS JOIN LATERAL (
        SELECT id, due_at FROM deliveries
        WHERE environment_id = open.environment_id AND endpoint_id = open.endpoint_id
          AND lease_token IS NULL AND held_at IS NULL AND due_at <= $6
        ORDER BY due_at LIMIT open.for_endpoint
        FOR UPDATE SKIP LOCKED
    ) d
), ranked AS (
    -- By lot among equals: the oldest backlog would else always be first when places are few.
    SELECT id, for_environment, row_number() OVER (PARTITION BY environment_id ORDER BY round, random()) AS place
    FROM due
), chosen AS MATERIALIZED (
    SELECT id FROM (
        SELECT id FROM ranked WHERE place <= for_environment ORDER BY place, random() LIMIT $8::bigint
    ) c ORDER BY id
), claimed AS (
    UPDATE deliveries d SET lease_token = $9, lease_until = $10
    FROM chosen WHERE d.id = chosen.id
    RETURNING d.id, d.event_id, d.environment_id, d.endpoint_id, d.attempts, d.step, d.give_up_at
)
-- The last endpoint that was looked at stands in every row, and in one without a delivery when none was claimed.
SELECT last.environment_id AS "last_environment!", last.endpoint_id AS "last_endpoint!",
       (SELECT count(*) FROM looked) AS "looked!", claimed.id AS "id?", claimed.event_id AS "event_id?",
       claimed.environment_id AS "environment_id?", claimed.endpoint_id AS "endpoint_id?",
       claimed.attempts AS "attempts?", claimed.step AS "step?", claimed.give_up_at AS "give_up_at?"
FROM (SELECT * FROM looked ORDER BY environment_id DESC, endpoint_id DESC LIMIT 1) last
LEFT JOIN claimed ON true
