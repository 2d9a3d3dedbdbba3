//! What is read, and what is refused where.

use actix_web::test::TestRequest;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    name: String,
    #[serde(default)]
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[expect(dead_code, reason = "only its type matters")]
    size: u8,
}

fn refusal<T: fmt::Debug>(parsed: Result<T, ApiError>) -> (&'static str, Vec<Issue>) {
    match parsed.unwrap_err() {
        ApiError::Invalid { code, issues, .. } => (code, issues),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_that_fits_is_read() {
    let body: Outer = parse_body(br#"{"name":"n","inner":[{"size":1}]}"#).unwrap();
    assert_eq!((body.name.as_str(), body.inner.len()), ("n", 1));
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    for (json, code, path) in [
        (r#"{"name":"n","nmae":1}"#, "unrecognized_keys", vec!["nmae"]),
        (
            r#"{"name":"n","inner":[{"size":1},{"size":1,"colour":2}]}"#,
            "unrecognized_keys",
            vec!["inner", "1", "colour"],
        ),
        (r#"{"name":7}"#, "invalid_type", vec!["name"]),
        (r#"{"name":"n","inner":[{"size":256}]}"#, "invalid_value", vec!["inner", "0", "size"]),
        (r#"{"name":"n","inner":[{}]}"#, "invalid_type", vec!["inner", "0", "size"]),
        ("{}", "invalid_type", vec!["name"]),
        ("", "invalid_type", vec!["name"]),
        ("7", "invalid_type", vec![]),
    ] {
        let (found, issues) = refusal(parse_body::<Outer>(json.as_bytes()));
        assert_eq!(found, "invalid_body", "{json}");
        assert_eq!(
            (issues[0].code, &issues[0].path),
            (code, &path.iter().map(|&part| part.to_owned()).collect()),
            "{json}"
        );
        assert!(!issues[0].message.contains(" at line "), "{json}");
    }
}

#[test]
fn what_is_not_json_is_refused_as_such() {
    for json in ["{", "nonsense", r#"{"name":"n"} x"#, "{\"name\":\"\u{1}\"}", r#"{"name":"\ud800"}"#] {
        assert_eq!(refusal(parse_body::<Outer>(json.as_bytes())).0, "invalid_json", "{json}");
    }
    assert_eq!(refusal(parse_body::<Outer>(b"{\"name\":\"\xff\"}")).0, "invalid_json");
}

#[test]
fn a_text_with_a_nul_is_refused_wherever_it_stands() {
    for json in [r#"{"name":"a\u0000"}"#, r#"{"name":"n","a\u0000":1}"#, r#"{"name":"n","inner":["\u0000"]}"#]
    {
        assert_eq!(refusal(parse_body::<Outer>(json.as_bytes())).0, "invalid_body", "{json}");
    }
    let escaped: Outer = parse_body(br#"{"name":"\\u0000"}"#).unwrap();
    assert_eq!(escaped.name, r"\u0000");
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    status: Option<String>,
    force_refresh: Option<bool>,
}

#[test]
fn a_query_is_read_strictly() {
    let read: Filters = parse_query("status=a%20b&force_refresh=true").unwrap();
    assert_eq!((read.status.as_deref(), read.force_refresh), (Some("a b"), Some(true)));
    for (query, code, path) in [
        ("statsu=a", "unrecognized_keys", "statsu"),
        ("force_refresh=maybe", "invalid_value", "force_refresh"),
        ("status=a%00", "invalid_value", "status"),
    ] {
        let (found, issues) = refusal(parse_query::<Filters>(query));
        assert_eq!(found, "invalid_query_params");
        assert_eq!(
            (issues[0].code, issues[0].path.as_slice()),
            (code, [path.to_owned()].as_slice()),
            "{query}"
        );
    }
    assert_eq!(refusal(parse_query::<Filters>("status=a&status=b")).0, "invalid_query_params");
}

#[test]
fn what_a_library_cannot_read_is_told_with_what_to_write() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its types matter")]
    struct Filters {
        since: Option<chrono::DateTime<chrono::Utc>>,
        tenant: Option<uuid::Uuid>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    for time in ["zz", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00Zz"] {
        let (_, issues) = refusal(parse_query::<Filters>(&format!("since={time}")));
        assert_eq!(issues[0].message, "a time is wanted, as 2026-11-22T06:00:00Z", "{time}");
    }
    for (query, path, message) in [
        ("tenant=zz", "tenant", "a GUID is wanted, as 84bd8158-6d4d-4958-8b9f-9d6445542f95"),
        ("tenant=&tenant=", "tenant", "a GUID is wanted, as 84bd8158-6d4d-4958-8b9f-9d6445542f95"),
    ] {
        let (_, issues) = refusal(parse_query::<Filters>(query));
        assert_eq!((issues[0].path.join("."), issues[0].message.as_str()), (path.to_owned(), message));
    }
    let twice = "since=2026-01-01T00:00:00Z&since=2026-01-01T00:00:00Z";
    let (_, issues) = refusal(parse_query::<Filters>(twice));
    assert_eq!(
        (issues[0].path.join("."), issues[0].message.as_str()),
        ("since".to_owned(), "it may be given once")
    );
    let (_, issues) = refusal(parse_query::<Nothing>("a=1"));
    assert_eq!(issues[0].message, "unknown field `a`");
}

#[test]
fn only_json_is_taken_where_a_content_type_is_set() {
    for (content_type, is_json) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("text/plain", false),
        ("application/jsonp", false),
        ("", false),
    ] {
        let request = TestRequest::post().insert_header((CONTENT_TYPE, content_type)).to_http_request();
        assert_eq!(content_type_is_json(&request), is_json, "{content_type}");
    }
    assert!(content_type_is_json(&TestRequest::post().to_http_request()));
}

#[actix_web::test]
async fn a_body_is_cut_off_at_the_limit_by_counted_bytes() {
    let (_, payload) = TestRequest::post().set_payload(vec![b' '; 11]).to_http_parts();
    assert!(matches!(read(payload, 10).await, Err(ApiError::PayloadTooLarge { limit: 10 })));
    let (_, payload) = TestRequest::post().set_payload(vec![b' '; 10]).to_http_parts();
    assert_eq!(read(payload, 10).await.unwrap().len(), 10);
}

#[actix_web::test]
async fn an_id_that_does_not_parse_is_not_found() {
    let request =
        |id: &'static str| TestRequest::default().param("environment", "x").param("id", id).to_http_request();
    assert_eq!(Id::<u32>::extract(&request("7")).await.unwrap().0, 7);
    assert_eq!(Id::<u32>::extract(&request("x")).await.unwrap_err().code(), "not_found");
}

#[test]
fn a_wrong_type_is_told_in_words_of_json_without_the_value() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its types matter")]
    struct Everything {
        text: Option<String>,
        list: Option<Vec<String>>,
        object: Option<serde_json::Map<String, Value>>,
        #[serde(default, deserialize_with = "as_object")]
        fields: Option<Inner>,
        flag: Option<bool>,
        number: Option<f64>,
        count: Option<u32>,
        small: Option<u8>,
        time: Option<chrono::DateTime<chrono::Utc>>,
        guid: Option<uuid::Uuid>,
        word: Option<Word>,
        bare: Option<Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Deliver,
        Discard,
    }

    for (json, message) in [
        (r#"{"text":7}"#, "must be a text, not a number"),
        (r#"{"text":[]}"#, "must be a text, not a list"),
        (r#"{"text":{}}"#, "must be a text, not an object"),
        (r#"{"text":true}"#, "must be a text, not true or false"),
        (r#"{"list":"secret"}"#, "must be a list, not a text"),
        (r#"{"list":[null]}"#, "must be a text, not null"),
        (r#"{"object":[]}"#, "must be an object, not a list"),
        (r#"{"fields":[7]}"#, "must be an object, not a list"),
        (r#"{"bare":7}"#, "must be an object, not a number"),
        (r#"{"bare":[]}"#, "must be an object"),
        (r#"{"flag":"yes"}"#, "must be true or false, not a text"),
        (r#"{"number":"7"}"#, "must be a number, not a text"),
        (r#"{"count":-1}"#, "must be a whole number from 0"),
        (r#"{"count":1.5}"#, "must be a whole number from 0"),
        (r#"{"small":256}"#, "must be a whole number from 0 to 255"),
        (r#"{"time":7}"#, "a time is wanted, as 2026-11-22T06:00:00Z"),
        (r#"{"time":"secret"}"#, "a time is wanted, as 2026-11-22T06:00:00Z"),
        (r#"{"guid":7}"#, "a GUID is wanted, as 84bd8158-6d4d-4958-8b9f-9d6445542f95"),
        (r#"{"word":"secret"}"#, r#"must be one of "deliver", "discard""#),
        (r#"{"word":7}"#, "must be of another type"),
        (r#"{"word":["deliver"]}"#, "must be of another type"),
        ("[]", "must be an object, not a list"),
        ("null", "must be an object, not null"),
        (r#""secret""#, "must be an object, not a text"),
    ] {
        let (code, issues) = refusal(parse_body::<Everything>(json.as_bytes()));
        assert_eq!((code, issues[0].message.as_str()), ("invalid_body", message), "{json}");
    }
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    for (json, message) in [
        ("{", "The body is not valid JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"name":1e999}"#, "The body is not valid JSON: number out of range at line 1 column 13"),
        (r#"{"name":"n"} x"#, "The body is not valid JSON: trailing characters at line 1 column 14"),
    ] {
        let ApiError::Invalid { message: told, .. } = parse_body::<Outer>(json.as_bytes()).unwrap_err()
        else {
            panic!("{json}")
        };
        assert_eq!(told, message, "{json}");
    }
}

#[test]
fn a_null_is_no_value_where_one_must_be_given() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Changes {
        #[serde(default, deserialize_with = "given")]
        name: Option<String>,
        #[serde(default, deserialize_with = "given_object")]
        inner: Option<Inner>,
    }
    let absent: Changes = parse_body(b"{}").unwrap();
    assert!(absent.name.is_none() && absent.inner.is_none());
    let there: Changes = parse_body(br#"{"name":"n","inner":{"size":1}}"#).unwrap();
    assert!(there.name.is_some() && there.inner.is_some());
    for (json, message) in [
        (r#"{"name":null}"#, "must be a text, not null"),
        (r#"{"inner":null}"#, "must be an object, not null"),
        (r#"{"inner":[1]}"#, "must be an object, not a list"),
    ] {
        let (_, issues) = refusal(parse_body::<Changes>(json.as_bytes()));
        assert_eq!((issues[0].message.as_str(), issues[0].path.len()), (message, 1), "{json}");
    }
}
