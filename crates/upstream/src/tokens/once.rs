//! A token for credentials that no connection has any more: asked for each time, and kept nowhere.

use waypost_core::id::EnvironmentId;
use waypost_core::token::{Standing, TokenMark};
use waypost_postgres::grant::{Outcome, SignIn, StoredGrant};

use super::{Access, TokenError, Tokens, failed};

impl Tokens {
    /// A token for `sign_in`, whose connection may be gone.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) async fn access_once(
        &self,
        environment: EnvironmentId,
        sign_in: &SignIn,
    ) -> Result<Access, TokenError> {
        let plan = self.plan(environment, sign_in)?;
        let token = match &plan.means {
            Ok(means) => match self.request(&plan, means, &nothing()).await {
                Outcome::Granted(token) => token,
                Outcome::Failed(failure) => return Err(failed(failure)),
            },
            // What was brought along is all there is.
            Err(lack) => plan.grant.imported.clone().ok_or_else(|| lack.clone())?,
        };
        let known = Some((TokenMark::of(&token.access_token), token.lifetime));
        let grant =
            StoredGrant { standing: Standing { token: known, ..nothing().standing }, token: Some(token) };
        plan.live(grant).map(|live| live.access)
    }
}

fn nothing() -> StoredGrant {
    let standing = Standing { generation: 0, token: None, leased_until: None, failure: None };
    StoredGrant { standing, token: None }
}
