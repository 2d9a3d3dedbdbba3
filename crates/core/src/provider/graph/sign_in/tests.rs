//! Every row of the table, and what is done where no row fits.

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;

fn refusal(status: u16, error: &str, codes: &[i64]) -> Refusal {
    let body = json!({"error": error, "error_description": "AADSTS0: text", "error_codes": codes});
    Refusal::read(status, body.to_string().as_bytes(), None)
}

#[test]
fn every_known_number_has_its_class() {
    use Class::{Configuration, Defect, Operator, Tenant, Throttled, Transient, User};
    // Written from Microsoft's list, apart from the table itself.
    let wanted = [
        (Operator, &[7_000_215, 7_000_222, 700_027, 70_002, 7_000_112, 70_001, 50_194][..]),
        (Tenant, &[700_016, 700_011, 500_011, 65_001, 53_003]),
        (Configuration, &[90_002, 90_038, 900_382, 900_432]),
        (Defect, &[70_011, 28_002, 50_196, 54_005]),
        (Throttled, &[90_055]),
        (Transient, &[90_033, 50_033, 90_006, 90_024, 90_090]),
        (User, &[700_082, 70_008, 70_043, 50_173, 50_076, 50_079, 50_057]),
    ];
    let mut rows = 0;
    for (class, codes) in wanted {
        for code in codes {
            // Neither the status nor `error` decides where a number is known.
            for (status, error) in [(400, "invalid_grant"), (401, "invalid_client"), (503, "server_error")] {
                let verdict = refusal(status, error, &[*code]).verdict();
                assert_eq!(verdict.class, class, "{code}");
                assert!(!verdict.words.is_empty());
                assert_eq!(verdict.stop, *code == 50_196, "{code}");
            }
            rows += 1;
        }
    }
    assert_eq!(rows, CODES.len(), "a row is not tested");
}

#[test]
fn only_what_passes_by_itself_needs_nobody() {
    for class in Class::ALL {
        let passes = matches!(class, Class::Throttled | Class::Transient | Class::Unreachable);
        assert_eq!(class.passes(), passes, "{class}");
        assert_eq!(Class::from_word(class.as_str()), Some(class));
    }
    assert_eq!(Class::from_word("nobody"), None);
}

#[test]
fn the_first_known_number_decides() {
    assert_eq!(refusal(400, "invalid_client", &[1, 700_016, 90_033]).verdict().class, Class::Tenant);
}

#[test]
fn without_a_known_number_error_and_status_decide() {
    for (error, class, _) in ERRORS {
        assert_eq!(refusal(400, error, &[1]).verdict().class, *class, "{error}");
    }
    assert_eq!(refusal(429, "invalid_client", &[]).verdict().class, Class::Throttled);
    assert_eq!(refusal(503, "invalid_client", &[]).verdict().class, Class::Transient);
    assert_eq!(refusal(400, "something_new", &[]).verdict().class, Class::Operator);
}

#[test]
fn the_text_never_decides() {
    let body = json!({"error": "invalid_client", "error_description": "AADSTS90033: try again", "error_codes": [7_000_215]});
    assert_eq!(Refusal::read(400, body.to_string().as_bytes(), None).verdict().class, Class::Operator);
}

#[test]
fn an_answer_that_is_none_of_entras_is_trouble_that_passes() {
    for body in ["", "<html>", "[]", "{}", r#"{"error":7}"#] {
        for status in [302, 400, 404, 502] {
            let verdict = Refusal::read(status, body.as_bytes(), None).verdict();
            assert_eq!(verdict.class, Class::Transient, "{status} {body}");
        }
    }
}

#[test]
fn what_is_kept_of_a_refusal_is_short_plain_and_without_secrets() {
    let text = format!("AADSTS7000215: secret s3cr3t\r\nTrace ID: x {}", "y".repeat(5000));
    let body = json!({"error": "invalid_client", "error_description": text, "error_codes": vec![1; 100], "trace_id": "t"});
    let refusal = Refusal::read(401, body.to_string().as_bytes(), None).without(&["s3cr3t", ""]);
    assert!(
        refusal.description.starts_with("AADSTS7000215: secret ***  Trace ID"),
        "{}",
        refusal.description
    );
    assert!(refusal.description.chars().count() <= LONGEST_TEXT);
    assert_eq!(refusal.codes.len(), MOST_CODES);
    assert_eq!(refusal.trace_id.as_deref(), Some("t"));
}

#[test]
fn a_grant_is_read_with_numbers_as_text_and_without_a_life() {
    let granted: Granted = serde_json::from_str(
        r#"{"access_token":"t0k","expires_in":"3599","ext_expires_in":7,"token_type":"Bearer"}"#,
    )
    .unwrap();
    assert_eq!((granted.expires_in, granted.ext_expires_in), (3599, Some(7)));
    assert_eq!(granted.access_token.expose_secret(), "t0k");
    assert!(!format!("{granted:?}").contains("t0k"));
    let bare: Granted = serde_json::from_str(r#"{"access_token":"t0k"}"#).unwrap();
    assert_eq!((bare.expires_in, bare.ext_expires_in), (3540, None));
    assert!(serde_json::from_str::<Granted>(r#"{"expires_in":1}"#).is_err());
    assert!(serde_json::from_str::<Granted>(r#"{"access_token":"t","expires_in":"soon"}"#).is_err());
}
