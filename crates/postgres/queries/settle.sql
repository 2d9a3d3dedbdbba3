-- settle
WITH k AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::integer[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::smallint[],
        $8::timestamptz[], $9::smallint[], $10::boolean[], $11::uuid[], $12::integer[], $13::timestamptz[],
        $14::integer[], $15::smallint[], $16::text[], $17::bytea[])
      AS k (n, delivery_id, event_id, environment_id, endpoint_id, token, ending, due_at, step, held,
            attempt_id, number, started_at, duration_ms, status_code, error, response)
), ended AS (
    DELETE FROM deliveries d USING k
    WHERE d.id = k.delivery_id AND d.lease_token = k.token AND k.ending IS NOT NULL
    RETURNING k.n, d.id, d.event_id, d.environment_id, d.endpoint_id, k.ending,
              d.attempts + (k.attempt_id IS NOT NULL)::integer AS attempts
), kept AS (
    UPDATE deliveries d
    SET lease_token = NULL, lease_until = NULL, step = coalesce(k.step, d.step),
        due_at = coalesce(k.due_at, d.due_at), attempts = d.attempts + (k.attempt_id IS NOT NULL)::integer,
        held_at = CASE WHEN k.held THEN $18::timestamptz END
    FROM k
    WHERE d.id = k.delivery_id AND d.lease_token = k.token AND k.ending IS NULL
    RETURNING k.n
), result AS (
    INSERT INTO delivery_results (delivery_id, event_id, environment_id, endpoint_id, ending, attempts, ended_at)
    SELECT id, event_id, environment_id, endpoint_id, ending, attempts, $18 FROM ended
), attempt AS (
    INSERT INTO attempts (delivery_id, id, environment_id, endpoint_id, number, started_at, duration_ms,
                          status_code, error, response, lease_lost)
    SELECT delivery_id, attempt_id, environment_id, endpoint_id, number, started_at, duration_ms,
           status_code, error, response,
           n NOT IN (SELECT n FROM ended UNION ALL SELECT n FROM kept)
    FROM k WHERE attempt_id IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING id
)
-- An attempt that was there already was settled before: what it told counts no second time.
SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM kept) AS "applied!",
       ARRAY(SELECT id FROM attempt) AS "attempts!"
