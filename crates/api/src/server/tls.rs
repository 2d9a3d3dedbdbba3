//! TLS of the public listener: 1.2 and 1.3, from a certificate chain and a key in PEM files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds no PEM of the wanted kind.
    #[error("{setting}: {path} can't be read as PEM")]
    Pem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("server.tls_cert: {path} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// They don't fit together, or are of a kind that isn't supported.
    #[error("server.tls_cert and server.tls_key can't be used together")]
    Unusable(#[source] rustls::Error),
}

impl TlsFiles {
    pub(crate) fn load(&self) -> Result<ServerConfig, TlsError> {
        let unreadable =
            |source| TlsError::Pem { setting: "server.tls_cert", path: self.certificate.clone(), source };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(TlsError::Empty { path: self.certificate.clone() });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Pem {
            setting: "server.tls_key",
            path: self.key.clone(),
            source,
        })?;
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Unusable)
    }
}
