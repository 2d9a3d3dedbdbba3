-- Whether and how the changed resource is read for notifications that bring no data.

ALTER TABLE integrations
    ADD COLUMN fetch_resource boolean NOT NULL DEFAULT false,
    ADD COLUMN fetch_select text;
COMMENT ON COLUMN integrations.fetch_resource IS 'Whether the changed resource of an item without data is read at delivery and goes along. What is read is never stored.';
COMMENT ON COLUMN integrations.fetch_select IS 'The properties that are asked for, separated by commas; null asks for all.';
