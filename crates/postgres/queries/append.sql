-- append
WITH stored AS (
    INSERT INTO events (id, environment_id, integration_id, connection, tenant_id, subscriptions, kind,
                        routing, rich, items, received_at, item_keys, body, proof)
    SELECT id, environment_id, integration_id, connection, tenant_id, subscriptions::uuid[], kind,
           routing, rich, items, received_at, item_keys, body, proof
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::uuid[], $6::text[], $7::smallint[],
                $8::smallint[], $9::boolean[], $10::integer[], $11::timestamptz[], $12::text[],
                $13::bytea[], $14::bytea[])
      AS e (id, environment_id, integration_id, connection, tenant_id, subscriptions, kind, routing, rich,
            items, received_at, item_keys, body, proof)
), waiting AS (
    INSERT INTO unmatched (event_id, environment_id, integration_id, tenant_id)
    SELECT id, environment_id, integration_id, tenant_id
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $5::uuid[], $8::smallint[])
      AS e (id, environment_id, integration_id, tenant_id, routing)
    WHERE routing = 2
), unproven AS (
    INSERT INTO proofs (event_id, environment_id, due_at)
    SELECT id, environment_id, received_at
    FROM unnest($1::uuid[], $2::uuid[], $9::boolean[], $11::timestamptz[])
      AS e (id, environment_id, rich, received_at)
    WHERE rich
)
INSERT INTO deliveries (id, event_id, environment_id, endpoint_id, due_at, give_up_at, held_at, lease_token,
                        lease_until)
SELECT * FROM unnest($15::uuid[], $16::uuid[], $17::uuid[], $18::uuid[], $19::timestamptz[],
                     $20::timestamptz[], $21::timestamptz[], $22::uuid[], $23::timestamptz[])
