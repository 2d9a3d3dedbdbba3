//! Why connecting stopped, for the person in front of it: what happened, and what to do next.
//!
//! Whoever reads this is a customer of the SaaS company, not the operator: nothing of the company's settings is told, but
//! the number of Microsoft's error, by which the company finds the cause.

use waypost_core::connect::error_number;
use waypost_core::provider::graph::sign_in::{Class, Refusal};
use waypost_core::token::Trouble;
use waypost_postgres::StoreError;

/// The longest text of the sign-in host that is shown.
const LONGEST_QUOTE: usize = 300;
/// The numbers by which a tenant says that the app isn't there (yet).
const NOT_THERE_YET: [i64; 5] = [700_016, 700_011, 500_011, 65_001, 7_000_229];
/// The person, or the administrator, said no.
const DECLINED: i64 = 65_004;
/// Somebody who may not consent for the organization tried to.
const NEEDS_ADMINISTRATOR: [i64; 3] = [90_094, 90_093, 65_001];
/// The app is disabled, in its tenant or in the customer's.
const DISABLED: [i64; 2] = [7_000_112, 500_014];

/// Why connecting stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectProblem {
    /// There is no such link, or not any more.
    #[error("there is no such link")]
    UnknownLink,
    /// The link is too old.
    #[error("the link has expired")]
    SessionExpired,
    /// The link has made its connection.
    #[error("the link was used")]
    SessionUsed,
    /// The link offers nothing that could be connected.
    #[error("the integration is not offered by this link")]
    NotOffered,
    /// The integration has no app registration.
    #[error("the integration has no app registration")]
    NotReady,
    /// The state is unknown: it was used before, or never given.
    #[error("the state was used before, or is unknown")]
    StateUsed,
    /// The state is too old.
    #[error("the state has expired")]
    StateExpired,
    /// The state belongs to another browser.
    #[error("the state belongs to another browser")]
    OtherBrowser,
    /// The person, or the administrator, said no.
    #[error("consent was declined")]
    Declined,
    /// The person may not consent for the organization.
    #[error("an administrator is wanted")]
    NeedsAdministrator,
    /// The organization consented before, and nothing shows that the person is an administrator.
    #[error("nothing shows that the person is an administrator, and the organization consented before")]
    AdministratorUnproven,
    /// The account is a personal one.
    #[error("the account is a personal one")]
    PersonalAccount,
    /// The account belongs to another organization than the one that is to connect.
    #[error("the account belongs to another organization")]
    OtherOrganization,
    /// The consent that came back is for another tenant than the one that signed in.
    #[error("the consent names another tenant")]
    TenantSwapped,
    /// The sign-in could not be proven.
    #[error("the sign-in could not be proven")]
    Unproven,
    /// The app is disabled.
    #[error("the app is disabled")]
    AppDisabled,
    /// The company's app registration isn't right.
    #[error("the app registration is not right ({number:?})")]
    Misconfigured {
        /// Microsoft's number.
        number: Option<i64>,
    },
    /// The customer's organization doesn't let it happen.
    #[error("the tenant refuses ({number:?})")]
    TenantRefuses {
        /// Microsoft's number.
        number: Option<i64>,
    },
    /// The consent didn't take effect in time.
    #[error("the consent did not take effect in time")]
    NotInTime,
    /// The connection that was to be renewed is gone.
    #[error("the connection is gone")]
    ConnectionGone,
    /// The sign-in host doesn't answer.
    #[error("the sign-in host can't be reached")]
    Unreachable,
    /// The sign-in host said something else.
    #[error("the sign-in host stopped it ({number:?})")]
    Other {
        /// Microsoft's number.
        number: Option<i64>,
        /// What it said; from the address bar, so it may be anybody's text.
        said: String,
    },
}

impl ConnectProblem {
    /// What an answer with `error` means.
    #[must_use]
    pub fn of_answer(error: &str, description: &str) -> Self {
        let number = error_number(description);
        match number {
            Some(DECLINED) => return Self::Declined,
            Some(number) if NEEDS_ADMINISTRATOR.contains(&number) => return Self::NeedsAdministrator,
            Some(number) if DISABLED.contains(&number) => return Self::AppDisabled,
            _ => {}
        }
        match error {
            "access_denied" | "permission_denied" | "consent_required" if number.is_none() => Self::Declined,
            "temporarily_unavailable" | "server_error" => Self::Unreachable,
            "invalid_client" | "unauthorized_client" | "invalid_scope" | "unsupported_response_type" => {
                Self::Misconfigured { number }
            }
            _ => Self::Other { number, said: quoted(description) },
        }
    }

    /// What a refused request for a token means.
    #[must_use]
    pub fn of_trouble(trouble: &Trouble) -> Self {
        let Trouble::Refused(refusal) = trouble else { return Self::Unreachable };
        let number = refusal.codes.first().copied();
        if refusal.codes.iter().any(|code| DISABLED.contains(code)) {
            return Self::AppDisabled;
        }
        match refusal.verdict().class {
            Class::Operator | Class::Configuration | Class::Defect => Self::Misconfigured { number },
            Class::Tenant => Self::TenantRefuses { number },
            Class::User => Self::Unproven,
            Class::Throttled | Class::Transient | Class::Unreachable => Self::Unreachable,
        }
    }

    /// A word for it in metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::UnknownLink => "unknown_link",
            Self::SessionExpired => "session_expired",
            Self::SessionUsed => "session_used",
            Self::NotOffered => "not_offered",
            Self::NotReady => "not_ready",
            Self::StateUsed => "state_used",
            Self::StateExpired => "state_expired",
            Self::OtherBrowser => "other_browser",
            Self::Declined => "declined",
            Self::NeedsAdministrator => "needs_administrator",
            Self::AdministratorUnproven => "administrator_unproven",
            Self::PersonalAccount => "personal_account",
            Self::OtherOrganization => "other_organization",
            Self::TenantSwapped => "tenant_swapped",
            Self::Unproven => "unproven",
            Self::AppDisabled => "app_disabled",
            Self::Misconfigured { .. } => "misconfigured",
            Self::TenantRefuses { .. } => "tenant_refuses",
            Self::NotInTime => "not_in_time",
            Self::ConnectionGone => "connection_gone",
            Self::Unreachable => "unreachable",
            Self::Other { .. } => "other",
        }
    }

    /// What happened, as a headline.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::UnknownLink => "This link leads nowhere",
            Self::SessionExpired => "This link has expired",
            Self::SessionUsed => "This link was already used",
            Self::NotOffered => "This can't be connected by this link",
            Self::NotReady | Self::Misconfigured { .. } => "The connection isn't set up correctly",
            Self::StateUsed => "This sign-in was already used",
            Self::StateExpired => "This sign-in took too long",
            Self::OtherBrowser => "This sign-in began in another browser",
            Self::Declined => "Access was declined",
            Self::NeedsAdministrator | Self::AdministratorUnproven => "An administrator is needed",
            Self::PersonalAccount => "A personal account can't be connected",
            Self::OtherOrganization => "This account belongs to another organization",
            Self::TenantSwapped => "The organization doesn't match",
            Self::Unproven => "The sign-in couldn't be confirmed",
            Self::AppDisabled => "The application is disabled",
            Self::TenantRefuses { .. } => "Your organization doesn't allow this",
            Self::NotInTime => "Microsoft hasn't confirmed the consent yet",
            Self::ConnectionGone => "The connection no longer exists",
            Self::Unreachable => "Microsoft doesn't answer",
            Self::Other { .. } => "Microsoft stopped the sign-in",
        }
    }

    /// What it means and what to do next.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::UnknownLink => {
                "Check that the whole link was copied, or ask for a new one where you got it."
            }
            Self::SessionExpired => "Links work for half an hour. Ask for a new one where you got it.",
            Self::SessionUsed => {
                "Each link makes one connection. If something is still missing, ask for a new one where you got it."
            }
            Self::NotOffered => "Go back to where you got the link and begin from there.",
            Self::NotReady => {
                "The company that sent you here has to store its app registration first. Please let it know."
            }
            Self::StateUsed => {
                "Nothing was changed by this page. Begin again with the link that you were given."
            }
            Self::StateExpired => "Signing in may take a quarter of an hour. Please begin again.",
            Self::OtherBrowser => {
                "To keep you safe, a sign-in has to end in the browser in which it began, with cookies allowed. If somebody sent you this address, close the page. Else open the link that you were given in this browser."
            }
            Self::Declined => {
                "Nothing was connected. If that was a slip, begin again and choose Accept. If you may not decide this, ask an administrator of your organization to open the link."
            }
            Self::NeedsAdministrator => {
                "Only an administrator of your organization can allow this. Ask one to open the link, within half an hour of its making."
            }
            Self::AdministratorUnproven => {
                "Your organization let this application in before, so only an administrator may connect it now, and Microsoft doesn't tell whether you are one. Please pass this on to the company that sent you here: its app registration has to put directory roles (the optional claim wids) into ID tokens. Then an administrator of your organization can open a new link."
            }
            Self::PersonalAccount => {
                "Sign in with a work or school account of the organization that is to be connected."
            }
            Self::OtherOrganization => {
                "Begin again and sign in with an account of the organization that this link is meant for."
            }
            Self::TenantSwapped => {
                "The consent came from another organization than the account that you signed in with, so nothing was connected. Begin again, and use the same account both times."
            }
            Self::Unproven => "Nothing was connected. Please begin again.",
            Self::AppDisabled => {
                "The application was disabled, in your organization or by the company that runs it. Ask an administrator of your organization to enable it under Enterprise applications, or ask the company."
            }
            Self::Misconfigured { .. } => {
                "This can't be mended here: an administrator of the company that sent you here has to correct its app registration. Please let it know, with the number below if there is one."
            }
            Self::TenantRefuses { .. } => {
                "A policy of your organization, or a missing consent, stands against it. Ask an administrator of your organization, with the number below."
            }
            Self::NotInTime => {
                "Consent can take some minutes to work everywhere at Microsoft. Wait a little, then begin again. Should an administrator be asked for then, the page says what to do."
            }
            Self::ConnectionGone => "Go back to where you got the link and connect anew.",
            Self::Unreachable => "Nothing was connected. Try again in a few minutes.",
            Self::Other { .. } => {
                "Nothing was connected. Begin again, or pass on what Microsoft says to the company that sent you here."
            }
        }
    }

    /// Microsoft's number, to look up or to pass on.
    #[must_use]
    pub const fn number(&self) -> Option<i64> {
        match self {
            Self::Misconfigured { number } | Self::TenantRefuses { number } | Self::Other { number, .. } => {
                *number
            }
            _ => None,
        }
    }

    /// What the sign-in host said, where that is all that is known. Not to be trusted.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Other { said, .. } if !said.is_empty() => Some(said),
            _ => None,
        }
    }
}

/// Whether a refusal says that a consent has not arrived everywhere: worth another try.
pub(super) fn is_not_there_yet(refusal: &Refusal) -> bool {
    refusal.codes.iter().any(|code| NOT_THERE_YET.contains(code))
}

fn quoted(text: &str) -> String {
    let spaced = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    spaced.take(LONGEST_QUOTE).collect::<String>().trim().to_owned()
}

/// Why connecting stopped, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// For the person.
    #[error(transparent)]
    Problem(#[from] ConnectProblem),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        use ConnectProblem::{AppDisabled, Declined, Misconfigured, NeedsAdministrator, Unreachable};
        for (error, description, expected) in [
            ("permission_denied", "AADSTS65004: User declined to consent.", Declined),
            ("access_denied", "", Declined),
            ("access_denied", "AADSTS90094: Admin consent is required.", NeedsAdministrator),
            ("unauthorized_client", "AADSTS7000112: Application is disabled.", AppDisabled),
            ("invalid_scope", "AADSTS70011: scope", Misconfigured { number: Some(70_011) }),
            ("server_error", "", Unreachable),
        ] {
            assert_eq!(ConnectProblem::of_answer(error, description), expected, "{error}: {description}");
        }
        let other = ConnectProblem::of_answer("odd", "<b>\r\nAADSTS1: odd</b>");
        assert_eq!(other.number(), Some(1));
        assert_eq!(other.said(), Some("<b>  AADSTS1: odd</b>"));
        assert_eq!(ConnectProblem::of_answer("odd", &"x".repeat(9999)).said().map(str::len), Some(300));
    }

    #[test]
    fn refusals_are_told_apart_and_only_a_missing_consent_is_waited_for() {
        let refused = |code: i64| {
            let body = serde_json::json!({"error": "invalid_client", "error_codes": [code]}).to_string();
            Refusal::read(401, body.as_bytes(), None)
        };
        for (code, word) in [
            (7_000_215, "misconfigured"),
            (7_000_222, "misconfigured"),
            (7_000_112, "app_disabled"),
            (53_003, "tenant_refuses"),
            (54_005, "misconfigured"),
            (50_076, "unproven"),
            (90_033, "unreachable"),
        ] {
            let refusal = refused(code);
            assert!(!is_not_there_yet(&refusal), "{code}");
            assert_eq!(
                ConnectProblem::of_trouble(&Trouble::Refused(Box::new(refusal))).word(),
                word,
                "{code}"
            );
        }
        assert!(is_not_there_yet(&refused(700_016)));
        assert_eq!(
            ConnectProblem::of_trouble(&Trouble::Unreachable("x".into())),
            ConnectProblem::Unreachable
        );
    }
}
