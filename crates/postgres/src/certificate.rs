//! Certificates for encrypted notifications, and the private keys that open them.
//!
//! An integration has one current certificate, and each of its connections may have one of its own. Whoever replaces a
//! current one leaves it for opening until nothing can name it; then its private key is destroyed. A private key leaves
//! this module only to open something.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::certificate::{Certificate, CertificateStatus, Label};
use waypost_core::connection::ConnectionId;
use waypost_core::id::{CertificateId, ConnectionKey, EnvironmentId, IntegrationId};
use waypost_core::integration::UniqueKey;
use waypost_core::page::{Listed, Page};
use waypost_crypto::certificate::{CertifiedKey, MakeError};
use zeroize::Zeroizing;

use crate::audit::Change;
use crate::{Actor, ActorKind, Store, StoreError, TenantStore};

const TABLE: &str = "certificates";
const PRIVATE_KEY: &str = "private_key";
/// The constraint that leaves each integration and connection one current certificate.
const CURRENT: &str = "certificates_current";

/// A certificate that is about to be kept, ready to be stored.
#[derive(Debug)]
pub struct NewCertificate<'a> {
    label: Option<Label>,
    certified: &'a CertifiedKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The certificate that a new subscription names.
#[derive(Debug, Clone)]
pub struct Current {
    /// What notifications will call it.
    pub label: Label,
    /// The certificate, DER.
    pub der: Vec<u8>,
}

/// Whose certificate it is: the integration's, or a connection's own.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The environment.
    pub environment: EnvironmentId,
    /// The integration.
    pub integration: IntegrationId,
    /// The connection.
    pub connection: Option<ConnectionKey>,
}

/// A private key that may open an item.
#[derive(Debug)]
pub struct KeptKey {
    /// Its certificate.
    pub id: CertificateId,
    /// What items call it.
    pub label: String,
    /// The certificate's thumbprint.
    pub thumbprint: String,
    /// The key: PKCS#8, DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotated {
    /// This one is current now.
    Done(Box<Certificate>),
    /// This one was here already, and is current now.
    Known(Box<Certificate>),
    /// There is no integration of that key.
    UnknownIntegration,
    /// It has no connection of that id.
    UnknownConnection,
}

struct Row {
    id: Uuid,
    label: String,
    connection_id: Option<String>,
    der: Vec<u8>,
    thumbprint: String,
    bits: i32,
    not_after: DateTime<Utc>,
    status: String,
    created_at: DateTime<Utc>,
    replaced_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
}

impl<'a> NewCertificate<'a> {
    /// Takes a certificate and its key. Without a `label` its own id is what notifications call it.
    ///
    /// # Errors
    /// [`MakeError`] when the machine's cryptography fails.
    pub fn of(certified: &'a CertifiedKey, label: Option<Label>) -> Result<Self, MakeError> {
        Ok(Self { label, pkcs8: certified.key().to_pkcs8()?, certified })
    }
}

impl Store {
    /// The current certificate of the connection when it has its own, else of its integration.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn current_certificate_across_environments(
        &self,
        owner: Owner,
    ) -> Result<Option<Current>, StoreError> {
        let row = sqlx::query!(
            "-- find_current_certificate
             SELECT label, der FROM certificates
             WHERE environment_id = $1 AND integration_id = $2 AND status = 'current'
               AND coalesce(connection, 0) IN (0, $3)
             ORDER BY coalesce(connection, 0) DESC LIMIT 1",
            owner.environment.uuid(),
            owner.integration.uuid(),
            owner.connection.map_or(0, ConnectionKey::number),
        );
        let Some(row) = row.fetch_optional(self.workers()).await? else { return Ok(None) };
        let wrong = |_| StoreError::inconsistent(TABLE, "label", &row.label);
        Ok(Some(Current { label: Label::parse(row.label.as_str()).map_err(wrong)?, der: row.der }))
    }

    /// Keeps the first certificate of an integration. False when it has a current one already, as when somebody else
    /// was quicker.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_first_certificate_across_environments(
        &self,
        owner: Owner,
        new: &NewCertificate<'_>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.workers().begin().await?;
        match self.insert_certificate(&mut tx, owner, new).await {
            Err(error) if error.breaks(CURRENT) => return Ok(false),
            result => result?,
        };
        let actor = Actor { kind: ActorKind::System, name: "waypost".to_owned(), request_id: String::new() };
        let object = owner.integration.to_string();
        let change = Change { action: "certificate.create", object: &object, detail: new.detail() };
        self.record(&mut tx, Some(owner.environment), &actor, change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The private keys that items of a connection may be encrypted for, by what the items call them; the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn opening_keys_across_environments(
        &self,
        owner: Owner,
        labels: &[String],
    ) -> Result<Vec<KeptKey>, StoreError> {
        let rows = sqlx::query!(
            r#"-- find_opening_keys
               SELECT id, label, thumbprint, private_key AS "private_key!" FROM certificates
               WHERE environment_id = $1 AND integration_id = $2 AND label = ANY($4) AND status <> 'retired'
                 AND coalesce(connection, 0) IN (0, $3)
               ORDER BY id DESC LIMIT 64"#,
            owner.environment.uuid(),
            owner.integration.uuid(),
            owner.connection.map_or(0, ConnectionKey::number),
            labels,
        );
        let rows = rows.fetch_all(self.workers()).await?;
        let opened = rows.into_iter().map(|row| {
            Ok(KeptKey {
                pkcs8: self.open(TABLE, PRIVATE_KEY, row.id.as_bytes(), &row.private_key)?,
                id: CertificateId::from_uuid(row.id),
                label: row.label,
                thumbprint: row.thumbprint,
            })
        });
        opened.collect()
    }

    /// Destroys the private keys of certificates that were replaced before `cutoff` and that no living subscription
    /// names, and tells how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire_certificates_across_environments(
        &self,
        cutoff: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "-- retire_certificates
             UPDATE certificates SET status = 'retired', private_key = NULL, retired_at = $2
             WHERE status = 'retiring' AND replaced_at < $1 AND NOT EXISTS (
                 SELECT FROM subscriptions
                 WHERE environment_id = certificates.environment_id AND integration_id = certificates.integration_id
                   AND certificate_label = certificates.label AND status IN ('pending', 'active', 'renewal_failing')
             )",
            cutoff,
            self.clock().now(),
        );
        Ok(done.execute(self.workers()).await?.rows_affected())
    }

    async fn insert_certificate(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        owner: Owner,
        new: &NewCertificate<'_>,
    ) -> Result<CertificateId, StoreError> {
        let now = self.clock().now();
        let id = CertificateId::at(now);
        let certificate = new.certified.certificate();
        let label = new.label.clone().unwrap_or_else(|| Label::of(id));
        let not_after = DateTime::from_timestamp(certificate.not_after(), 0);
        sqlx::query!(
            "INSERT INTO certificates (id, environment_id, integration_id, connection, label, der, thumbprint, bits, not_after,
                                       private_key, status, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'current', $11)",
            id.uuid(),
            owner.environment.uuid(),
            owner.integration.uuid(),
            owner.connection.map(ConnectionKey::number),
            label.as_str(),
            certificate.der(),
            certificate.thumbprint(),
            i32::try_from(certificate.bits()).unwrap_or(i32::MAX),
            not_after.unwrap_or(DateTime::<Utc>::MAX_UTC),
            self.seal(TABLE, PRIVATE_KEY, id.uuid().as_bytes(), &new.pkcs8),
            now,
        )
        .execute(&mut **tx)
        .await?;
        Ok(id)
    }
}

impl NewCertificate<'_> {
    fn detail(&self) -> serde_json::Value {
        let certificate = self.certified.certificate();
        json!({ "thumbprint": certificate.thumbprint(), "bits": certificate.bits(), "private_key": "***" })
    }
}

impl TenantStore {
    /// A page of the certificates of an integration and of its connections, the newest first; `None` when there is no
    /// such integration.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn list_certificates(
        &self,
        integration: &UniqueKey,
        page: &Page<CertificateId>,
    ) -> Result<Option<Listed<Certificate, CertificateId>>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(integration) = self.integration_id(&mut tx, integration).await? else { return Ok(None) };
        let after = page.after.map(CertificateId::uuid);
        let rows =
            self.select_certificates(&mut tx, integration, (None, after), i64::from(page.limit) + 1).await?;
        tx.commit().await?;
        Ok(Some(Listed::cut(rows, page.limit, |certificate| certificate.id)))
    }

    /// Puts a certificate in the place of the current one of an integration, or of one of its connections. The one
    /// before goes on opening what names it. A certificate that is here already isn't kept twice under one name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate_certificate(
        &self,
        integration: &UniqueKey,
        connection: Option<&ConnectionId>,
        new: &NewCertificate<'_>,
    ) -> Result<Rotated, StoreError> {
        let mut tx = self.begin().await?;
        let Some(id) = self.integration_id(&mut tx, integration).await? else {
            return Ok(Rotated::UnknownIntegration);
        };
        let mut owner = Owner { environment: self.environment, integration: id, connection: None };
        if let Some(connection) = connection {
            let key = self.connection_key(&mut tx, id, connection).await?;
            let Some(key) = key else { return Ok(Rotated::UnknownConnection) };
            owner.connection = Some(key);
        }
        let known = self.same_certificate(&mut tx, owner, new).await?;
        let current = match known {
            Some((id, CertificateStatus::Current)) => id,
            before => {
                let before = before.map(|(id, _)| id);
                let id = self.make_current(&mut tx, owner, before, new).await?;
                let object = format!("{integration}/{id}");
                let change = Change { action: "certificate.rotate", object: &object, detail: new.detail() };
                self.record(&mut tx, change).await?;
                id
            }
        };
        let found = self.select_certificates(&mut tx, id, (Some(current.uuid()), None), 1).await?.pop();
        tx.commit().await?;
        let found = Box::new(found.ok_or_else(|| StoreError::inconsistent(TABLE, "id", current))?);
        Ok(if known.is_some() { Rotated::Known(found) } else { Rotated::Done(found) })
    }

    /// The same certificate of the same owner, as far as it can still open anything: by the same name, where `new` brings
    /// one.
    async fn same_certificate(
        &self,
        tx: &mut sqlx::PgConnection,
        owner: Owner,
        new: &NewCertificate<'_>,
    ) -> Result<Option<(CertificateId, CertificateStatus)>, StoreError> {
        let row = sqlx::query!(
            "SELECT id, status FROM certificates
             WHERE environment_id = $1 AND integration_id = $2 AND coalesce(connection, 0) = $3 AND status <> 'retired'
               AND der = $4 AND ($5::text IS NULL OR label = $5)
             ORDER BY status, id DESC LIMIT 1",
            owner.environment.uuid(),
            owner.integration.uuid(),
            owner.connection.map_or(0, ConnectionKey::number),
            new.certified.certificate().der(),
            new.label.as_ref().map(Label::as_str) as Option<&str>,
        );
        let Some(row) = row.fetch_optional(tx).await? else { return Ok(None) };
        let id = CertificateId::from_uuid(row.id);
        let status = CertificateStatus::named(&row.status);
        Ok(Some((id, status.ok_or_else(|| StoreError::inconsistent(TABLE, "status", id))?)))
    }

    /// Makes a certificate the current one: that of the id `known`, or a new one.
    async fn make_current(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        owner: Owner,
        known: Option<CertificateId>,
        new: &NewCertificate<'_>,
    ) -> Result<CertificateId, StoreError> {
        sqlx::query!(
            "UPDATE certificates SET status = 'retiring', replaced_at = $4
             WHERE environment_id = $1 AND integration_id = $2 AND coalesce(connection, 0) = $3 AND status = 'current'",
            owner.environment.uuid(),
            owner.integration.uuid(),
            owner.connection.map_or(0, ConnectionKey::number),
            self.store.clock().now(),
        )
        .execute(&mut **tx)
        .await?;
        let Some(known) = known else { return self.store.insert_certificate(tx, owner, new).await };
        sqlx::query!(
            "UPDATE certificates SET status = 'current', replaced_at = NULL WHERE environment_id = $1 AND id = $2",
            owner.environment.uuid(),
            known.uuid(),
        )
        .execute(&mut **tx)
        .await?;
        Ok(known)
    }

    /// Destroys the private keys of an integration that is being deleted, or of some of its connections.
    pub(crate) async fn destroy_certificates(
        &self,
        tx: &mut sqlx::PgConnection,
        integration: IntegrationId,
        connections: Option<&[i64]>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE certificates SET status = 'retired', private_key = NULL, retired_at = $4
             WHERE environment_id = $1 AND integration_id = $2 AND status <> 'retired'
               AND ($3::bigint[] IS NULL OR connection = ANY($3))",
            self.environment.uuid(),
            integration.uuid(),
            connections as Option<&[i64]>,
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// The integration of that key; nobody else rotates its certificates until the transaction ends.
    async fn integration_id(
        &self,
        tx: &mut sqlx::PgConnection,
        key: &UniqueKey,
    ) -> Result<Option<IntegrationId>, StoreError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL FOR UPDATE",
            self.environment.uuid(),
            key.as_str(),
        );
        Ok(id.fetch_optional(tx).await?.map(IntegrationId::from_uuid))
    }

    async fn connection_key(
        &self,
        tx: &mut sqlx::PgConnection,
        integration: IntegrationId,
        connection: &ConnectionId,
    ) -> Result<Option<ConnectionKey>, StoreError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM connections
             WHERE environment_id = $1 AND integration_id = $2 AND connection_id = $3 AND deleted_at IS NULL FOR SHARE",
            self.environment.uuid(),
            integration.uuid(),
            connection.as_str(),
        );
        Ok(id.fetch_optional(tx).await?.map(ConnectionKey::from_number))
    }

    /// Certificates, the newest first: the one of an id, or those before an id.
    async fn select_certificates(
        &self,
        tx: &mut sqlx::PgConnection,
        integration: IntegrationId,
        (only, after): (Option<Uuid>, Option<Uuid>),
        limit: i64,
    ) -> Result<Vec<Certificate>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT certificate.id, certificate.label, connections.connection_id AS "connection_id?", certificate.der,
                      certificate.thumbprint, certificate.bits, certificate.not_after, certificate.status,
                      certificate.created_at, certificate.replaced_at, certificate.retired_at
               FROM certificates certificate
               LEFT JOIN connections ON connections.id = certificate.connection AND connections.environment_id = $1
               WHERE certificate.environment_id = $1 AND certificate.integration_id = $2
                 AND ($3::uuid IS NULL OR certificate.id = $3) AND ($4::uuid IS NULL OR certificate.id < $4)
               ORDER BY certificate.id DESC LIMIT $5"#,
            self.environment.uuid(),
            integration.uuid(),
            only as Option<Uuid>,
            after as Option<Uuid>,
            limit,
        );
        rows.fetch_all(tx).await?.into_iter().map(Certificate::try_from).collect()
    }
}

impl TryFrom<Row> for Certificate {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let id = CertificateId::from_uuid(row.id);
        let wrong = |column| StoreError::inconsistent(TABLE, column, id);
        Ok(Self {
            id,
            label: Label::parse(row.label).map_err(|_| wrong("label"))?,
            connection: row
                .connection_id
                .map(ConnectionId::parse)
                .transpose()
                .map_err(|_| wrong("connection"))?,
            der: row.der,
            thumbprint: row.thumbprint,
            bits: u32::try_from(row.bits).map_err(|_| wrong("bits"))?,
            not_after: row.not_after,
            status: CertificateStatus::named(&row.status).ok_or_else(|| wrong("status"))?,
            created_at: row.created_at,
            replaced_at: row.replaced_at,
            retired_at: row.retired_at,
        })
    }
}
