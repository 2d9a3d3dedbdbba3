-- Whether a person who can't be shown to be an administrator may connect an organization that let the app in before.

ALTER TABLE integrations ADD COLUMN connect_without_admin_proof boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN integrations.connect_without_admin_proof IS
    'Lets anybody of an organization that consented before connect it, where the ID token tells no directory roles.';
