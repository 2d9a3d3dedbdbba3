-- Hosts beside the provider's own that proxied calls may take a connection's token to.

ALTER TABLE integrations ADD COLUMN proxy_token_hosts text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN integrations.proxy_token_hosts IS
    'Hosts (with a port where it is not the usual one) that Base-Url-Override may name with the token going along.';
