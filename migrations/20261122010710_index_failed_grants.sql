-- Sign-ins that failed are looked for every minute: there are few of them.
SET LOCAL lock_timeout = '5s';

CREATE INDEX grants_failed ON grants (environment_id, key) WHERE failure IS NOT NULL;
