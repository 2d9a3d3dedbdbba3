//! What connections and integrations have in common of the credentials that they are given.
//!
//! Must not: let a private key into an answer.

use secrecy::SecretString;
use waypost_core::integration::ClientCertificate;
use waypost_core::provider::catalogue::AuthMode;

use crate::error::ApiError;

/// The longest certificate or private key, in bytes.
const LONGEST_PEM: usize = 64 * 1024;

/// Whether credentials of the type `kind` may sign in to a provider of `mode`.
pub(crate) fn fits(kind: &str, mode: AuthMode) -> bool {
    let certified = mode == AuthMode::Certificate && kind == AuthMode::ClientCredentials.as_str();
    certified || kind == mode.as_str()
}

/// The certificate that is given under `credentials`, once it was read and found to belong to its key.
pub(crate) fn certificate(
    certificate: Option<String>,
    private_key: Option<SecretString>,
) -> Result<Option<ClientCertificate>, ApiError> {
    use secrecy::ExposeSecret as _;
    let refused = |name: &str, message: &str| ApiError::invalid_field(&["credentials", name], message);
    let given = match (certificate, private_key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(private_key)) => ClientCertificate { certificate, private_key },
        (Some(_), None) => {
            return Err(refused("client_private_key", "the certificate's private key is missing"));
        }
        (None, Some(_)) => {
            return Err(refused("client_certificate", "the private key's certificate is missing"));
        }
    };
    if given.certificate.len().max(given.private_key.expose_secret().len()) > LONGEST_PEM {
        return Err(refused("client_certificate", "a certificate and its key have at most 64 KiB each"));
    }
    match given.read() {
        Ok(_) => Ok(Some(given)),
        Err(error) => Err(refused("client_certificate", &error.to_string())),
    }
}
