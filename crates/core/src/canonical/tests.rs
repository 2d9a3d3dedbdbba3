//! Tests of canonical JSON: rules one by one, properties, and Node's own answer.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;

fn text(raw: &str) -> String {
    String::from_utf8(canonical(raw.as_bytes()).unwrap()).unwrap()
}

fn broken(raw: &[u8]) -> (Rule, usize) {
    let error = canonical(raw).unwrap_err();
    (error.rule(), error.offset())
}

fn without(raw: &str, dropped: &[&str]) -> String {
    let mut out = Vec::new();
    canonical_object_without(raw.as_bytes(), dropped, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn keys_are_sorted_at_every_depth_and_space_is_dropped() {
    let raw = " { \"b\" : [ { \"d\" : 1 , \"c\" : { } } , [ ] ] ,\r\n\t\"a\" : null } ";
    assert_eq!(text(raw), r#"{"a":null,"b":[{"c":{},"d":1},[]]}"#);
}

#[test]
fn a_graph_notification_comes_out_in_the_order_of_the_contract() {
    let raw = r##"{"value":[{"subscriptionId":"s1","clientState":"cs","tenantId":"t1","changeType":"updated",
        "resource":"users/u1","resourceData":{"id":"u1","@odata.type":"#Microsoft.Graph.User"}}]}"##;
    let expected = concat!(
        r#"{"value":[{"changeType":"updated","clientState":"cs","resource":"users/u1","#,
        r##""resourceData":{"@odata.type":"#Microsoft.Graph.User","id":"u1"},"##,
        r#""subscriptionId":"s1","tenantId":"t1"}]}"#,
    );
    assert_eq!(text(raw), expected);
}

#[test]
fn array_indices_come_first_and_by_number() {
    let raw =
        r#"{"b":0,"10":0,"9":0,"01":0,"-1":0,"4294967295":0,"4294967294":0,"0":0,"\u0031":0,"":0,"1.0":0}"#;
    let expected =
        r#"{"0":0,"1":0,"9":0,"10":0,"4294967294":0,"":0,"-1":0,"01":0,"1.0":0,"4294967295":0,"b":0}"#;
    assert_eq!(text(raw), expected);
}

#[test]
fn keys_are_ordered_by_utf16_units_and_not_by_code_points() {
    let raw = "{\"\u{ffee}\":1,\"\u{1f600}\":2,\"\u{e000}\":3,\"\u{d7ff}\":4,\"\\udc00\":5,\"\\ud83d\":6}";
    let expected =
        "{\"\u{d7ff}\":4,\"\\ud83d\":6,\"\u{1f600}\":2,\"\\udc00\":5,\"\u{e000}\":3,\"\u{ffee}\":1}";
    assert_eq!(text(raw), expected);
}

#[test]
fn of_duplicate_keys_the_last_one_stands_however_they_are_escaped() {
    assert_eq!(text(r#"{"a":1,"b":2,"\u0061":{"x":1,"x":2}}"#), r#"{"a":{"x":2},"b":2}"#);
    assert_eq!(text(r#"{"\ud83d\ude00":1,"😀":2}"#), r#"{"😀":2}"#);
    assert_eq!(text(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
}

#[test]
fn strings_are_escaped_as_json_stringify_does() {
    let raw = r#""\" \\ \/ \b\f\n\r\t \u0008\u0000\u001F\u007f \u2028\u00e9\uD83D\uDE00 / é""#;
    let expected = "\"\\\" \\\\ / \\b\\f\\n\\r\\t \\b\\u0000\\u001f\u{7f} \u{2028}\u{e9}\u{1f600} / \u{e9}\"";
    assert_eq!(text(raw), expected);
}

#[test]
fn lone_surrogates_stay_escapes_in_lower_case() {
    assert_eq!(text(r#""\uD83D""#), r#""\ud83d""#);
    assert_eq!(text(r#""\uDE00\uD83D""#), r#""\ude00\ud83d""#);
    assert_eq!(text(r#""\uD83D\uD83D\uDE00""#), "\"\\ud83d\u{1f600}\"");
    assert_eq!(text(r#""\uD83Dx\uDE00\uD83D\n""#), r#""\ud83dx\ude00\ud83d\n""#);
}

#[test]
fn a_number_takes_the_form_of_javascript_when_its_value_is_kept() {
    let forms = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0e7", "0"),
        ("0e99999999999999999999", "0"),
        ("1.0", "1"),
        ("1E2", "100"),
        ("-1.50e+1", "-15"),
        ("0.1", "0.1"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("12e-8", "1.2e-7"),
        ("100000000000000000000", "100000000000000000000"),
        ("1000000000000000000000", "1e+21"),
        ("999999999999999", "999999999999999"),
        ("9007199254740991", "9007199254740991"),
        ("1.7976931348623157E308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
    ];
    for (raw, expected) in forms {
        assert_eq!(text(raw), expected, "{raw}");
    }
}

#[test]
fn a_number_keeps_its_text_when_javascript_would_change_its_value() {
    let kept = [
        "12345678901234567890",
        "-9007199254740993",
        "1e400",
        "-1E400",
        "1e-400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0.1000000000000000055511151231257827",
        "3.14159265358979323846264338327950288",
        "1.00000000000000000000000000000000000001",
        "4e-324",
    ];
    for raw in kept {
        assert_eq!(text(raw), raw);
    }
}

#[test]
fn what_is_not_json_is_refused_with_the_rule_and_the_place() {
    let cases: [(&[u8], Rule, usize); 38] = [
        (b"", Rule::End, 0),
        (b"  ", Rule::End, 2),
        (b"\xef\xbb\xbf{}", Rule::Value, 0),
        (b"{\"a\":\"\xff\"}", Rule::Utf8, 6),
        (b"\"\xed\xa0\x80\"", Rule::Utf8, 1),
        (b"[1,]", Rule::Value, 3),
        (b"[1 2]", Rule::Separator, 3),
        (b"[1", Rule::End, 2),
        (b"[", Rule::End, 1),
        (b"]", Rule::Value, 0),
        (b"{\"a\":1,}", Rule::Key, 7),
        (b"{a:1}", Rule::Key, 1),
        (b"{\"a\" 1}", Rule::Colon, 5),
        (b"{\"a\":}", Rule::Value, 5),
        (b"{\"a\":1]", Rule::Separator, 6),
        (b"{\"a\"", Rule::End, 4),
        (b"\"a", Rule::End, 2),
        (b"\"a\nb\"", Rule::Control, 2),
        (b"\"\\x\"", Rule::Escape, 2),
        (b"\"\\u12g4\"", Rule::Escape, 5),
        (b"\"\\u+123\"", Rule::Escape, 3),
        ("\"\\u12é\"".as_bytes(), Rule::Escape, 5),
        (b"\"\\ud800\\u12\"", Rule::Escape, 11),
        (b"\"\\", Rule::End, 2),
        (b"\"\\u00", Rule::End, 5),
        (b"01", Rule::Trailing, 1),
        (b"-", Rule::End, 1),
        (b"-a", Rule::Digit, 1),
        (b"1.", Rule::End, 2),
        (b"1.e1", Rule::Digit, 2),
        (b"1e+", Rule::End, 3),
        (b"+1", Rule::Value, 0),
        (b".5", Rule::Value, 0),
        (b"tru", Rule::End, 3),
        (b"nulL", Rule::Value, 3),
        (b"NaN", Rule::Value, 0),
        (b"{} {}", Rule::Trailing, 3),
        (b"[]\0", Rule::Trailing, 2),
    ];
    for (raw, rule, offset) in cases {
        assert_eq!(broken(raw), (rule, offset), "{}", String::from_utf8_lossy(raw));
    }
    assert_eq!(
        canonical(b"[1 2]").unwrap_err().to_string(),
        "expected a comma or a closing bracket at byte 3"
    );
}

#[test]
fn nesting_is_allowed_to_its_limit_and_no_further() {
    let nested = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth / 2), "]}".repeat(depth / 2));
    assert_eq!(text(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
    assert_eq!(broken(nested(MAX_DEPTH + 2).as_bytes()), (Rule::Depth, MAX_DEPTH * 3));
    assert_eq!(broken("[".repeat(100_000).as_bytes()), (Rule::Depth, MAX_DEPTH));
    // Depth is what is open, not what was opened.
    let wide = format!("[{}[]]", "[],".repeat(1000));
    assert_eq!(text(&wide), wide);
}

#[test]
fn members_of_the_outermost_object_can_be_dropped() {
    let raw = r#"{"z":{"clientState":1},"clientState":"s","a":1,"client\u0053tate":"t"}"#;
    assert_eq!(without(raw, &["clientState"]), r#"{"a":1,"z":{"clientState":1}}"#);
    assert_eq!(without(raw, &["clientState", "a", "z", "absent"]), "{}");
    assert_eq!(without(raw, &[]), text(raw));
    assert_eq!(without(r#"{"a":1,"b":2}"#, &["a"]), r#"{"b":2}"#);
}

#[test]
fn only_an_object_can_lose_members_and_a_failure_leaves_the_output_as_it_was() {
    let mut out = b"before".to_vec();
    let error = canonical_object_without(b" [1]", &[], &mut out).unwrap_err();
    assert_eq!((error.rule(), error.offset()), (Rule::Object, 1));
    assert!(canonical_object_without(br#"{"b":1,"a":"#, &[], &mut out).is_err());
    assert!(write_canonical(br#"{"b":1,"a":2}}"#, &mut out).is_err());
    assert_eq!(out, b"before");
    write_canonical(br#"{"b":1,"a":2}"#, &mut out).unwrap();
    assert_eq!(out, br#"before{"a":2,"b":1}"#);
}

#[test]
fn a_written_string_is_escaped_as_json_stringify_does() {
    let mut out = Vec::new();
    write_string("a\"b\\c\u{0}\u{8}\u{b}\u{c}\n\r\t\u{1f}\u{7f}/\u{2028}é😀", &mut out);
    let expected = "\"a\\\"b\\\\c\\u0000\\b\\u000b\\f\\n\\r\\t\\u001f\u{7f}/\u{2028}é😀\"";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

/// The inside of a string literal, with every kind of escape, also broken pairs of surrogates.
fn string_body() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_filter("must be escaped", |character| !matches!(character, '\0'..='\x1f' | '"' | '\\'))
            .prop_map(String::from),
        4 => "[ -!#-\\[\\]-~]{1,6}",
        2 => any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
        1 => (0xd800_u16..0xe000).prop_map(|unit| format!("\\u{unit:04X}")),
        1 => any::<char>().prop_map(|character| {
            character.encode_utf16(&mut [0; 2]).iter().fold(String::new(), |mut text, unit| {
                write!(text, "\\u{unit:04X}").unwrap();
                text
            })
        }),
        2 => prop::sample::select(vec![
            "\\n", "\\r", "\\t", "\\b", "\\f", "\\/", "\\\\", "\\\"", "\u{2028}", "\u{7f}", "\u{ffff}", "😀", "é",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// Few enough to collide, and all that order treats differently.
fn key_body() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "\\u0061",
            "A",
            "ab",
            "",
            "0",
            "1",
            "01",
            "10",
            "9",
            "-1",
            "1.5",
            "\\u0031",
            "4294967294",
            "4294967295",
            "4294967296",
            "99999999999",
            "__proto__",
            "toJSON",
            "length",
            "é",
            "😀",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\ude00",
            "\u{e000}",
            "\u{ffff}",
            "\u{d7ff}",
            "@odata.type",
        ])
        .prop_map(str::to_owned),
        (0_u32..20).prop_map(|index| index.to_string()),
        string_body(),
    ]
}

/// Number texts whose value a double holds as far as its shortest decimal goes.
fn exact_number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(|number| number.to_string()),
        (-1000_i32..1000).prop_map(|number| number.to_string()),
        (-1000_i32..1000, 0_usize..4).prop_map(|(number, zeros)| format!("{number}.0{}", "0".repeat(zeros))),
        (-9999_i32..9999, -30_i32..30).prop_map(|(number, exponent)| format!("{number}E{exponent:+}")),
        prop::num::f64::ANY
            .prop_filter("JSON has no such number", |double| double.is_finite())
            .prop_flat_map(|double| {
                prop::sample::select(vec![format!("{double}"), format!("{double:e}"), format!("{double:E}")])
            }),
        prop::sample::select(vec!["-0", "0.0", "1e21", "1e-7", "5e-324", "1.7976931348623157e308", "0e400"])
            .prop_map(str::to_owned),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just(""), 1 => prop::sample::select(vec![" ", "\t", "\r ", "   "])]
}

/// JSON texts on one line, with duplicate keys, odd escapes and odd spaces.
fn document(number: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        number,
        string_body().prop_map(|body| format!("\"{body}\"")),
    ];
    leaf.prop_recursive(5, 60, 8, |value| {
        let element = (space(), value.clone(), space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let member = (space(), key_body(), space(), value)
            .prop_map(|(a, key, b, value)| format!("{a}\"{key}\"{b}:{value}{a}"));
        prop_oneof![
            1 => prop::collection::vec(element, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            3 => prop::collection::vec(member, 0..12).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn any_number() -> BoxedStrategy<String> {
    prop_oneof![exact_number(), "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?"].boxed()
}

proptest! {
    #[test]
    fn the_canonical_form_of_a_canonical_form_is_itself(raw in document(any_number())) {
        let once = text(&raw);
        prop_assert_eq!(text(&once), once);
    }

    #[test]
    fn the_order_in_which_members_came_does_not_matter(
        members in prop::collection::hash_map("[a-z0-9é😀\u{ffee}]{0,3}", document(any_number()), 0..6),
    ) {
        let written: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let forth = format!("{{{}}}", written.join(","));
        let back = format!("{{{}}}", written.iter().rev().map(String::as_str).collect::<Vec<_>>().join(","));
        prop_assert_eq!(text(&forth), text(&back));
    }

    #[test]
    fn a_number_never_changes_its_value(raw in any_number()) {
        let written = text(&raw);
        prop_assert_eq!(raw.parse::<f64>().unwrap().to_bits() << 1, written.parse::<f64>().unwrap().to_bits() << 1);
        prop_assert!(written == raw || decimal(&written) == decimal(&raw), "{} became {}", raw, written);
    }

    #[test]
    fn a_written_string_is_canonical_and_says_the_same(said in ".{0,40}") {
        let mut out = Vec::new();
        write_string(&said, &mut out);
        prop_assert_eq!(&canonical(&out).unwrap(), &out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), said);
    }

    #[test]
    fn what_is_json_is_decided_as_serde_json_does(
        raw in document(any_number()),
        at in any::<prop::sample::Index>(),
        put in prop::sample::select(vec!["", ",", "\"", "\\", "}", "]", ":", "0", "-", "e", ".", " ", "\u{1}", "u"]),
    ) {
        let mut places = raw.char_indices().map(|(place, _)| place).collect::<Vec<_>>();
        places.push(raw.len());
        let mut changed = raw;
        changed.insert_str(places[at.index(places.len())], put);
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&changed).is_ok();
        prop_assert_eq!(canonical(changed.as_bytes()).is_ok(), theirs, "{}", changed);
    }

    #[test]
    fn bytes_from_anywhere_never_panic(raw in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(once) = canonical(&raw) {
            prop_assert_eq!(canonical(&once).unwrap(), once);
        }
    }

    #[test]
    fn dropping_a_member_is_the_same_as_never_having_had_it(
        members in prop::collection::vec((key_body(), document(any_number())), 0..6),
    ) {
        let object = |members: &[(String, String)]| {
            let written: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", written.join(","))
        };
        let mut kept = members.clone();
        kept.retain(|(key, _)| serde_json::from_str::<String>(&format!("\"{key}\"")).ok().as_deref() != Some("a"));
        prop_assert_eq!(without(&object(&members), &["a"]), text(&object(&kept)));
    }
}

/// A number text as sign, digits and exponent, written apart from the code under test: all digits as one
/// integer, its trailing zeros moved into the exponent.
fn decimal(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (negative, whole) = (whole.starts_with('-'), whole.trim_start_matches('-'));
    let mut digits = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
    let mut exponent = exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap();
    while digits.ends_with('0') {
        digits.pop();
        exponent += 1;
    }
    if digits.is_empty() { (false, digits, 0) } else { (negative, digits, exponent) }
}

/// What a JavaScript receiver does with one document on each line.
const SCRIPT: &str = "
const sorted = (value) => Array.isArray(value) ? value.map(sorted)
  : value !== null && typeof value === 'object'
    ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
    : value;
const lines = require('fs').readFileSync(0, 'utf8').split('\\n');
process.stdout.write(lines.map((line) => JSON.stringify(sorted(JSON.parse(line)))).join('\\n'));
";

#[test]
fn node_writes_every_document_as_we_do() {
    let mut runner = TestRunner::deterministic();
    let strategy = document(exact_number().boxed());
    let documents: Vec<String> =
        (0..800).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();

    let node = Command::new("node").args(["-e", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut node = match node {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("node is not on PATH: not compared with JavaScript's own JSON.stringify");
            return;
        }
        started => started.unwrap(),
    };
    // Dropped here, which is how Node learns that this was all.
    node.stdin.take().unwrap().write_all(documents.join("\n").as_bytes()).unwrap();
    let answer = node.wait_with_output().unwrap();
    assert!(answer.status.success());

    let answer = String::from_utf8(answer.stdout).unwrap();
    let theirs: Vec<&str> = answer.split('\n').collect();
    assert_eq!(theirs.len(), documents.len());
    for (raw, theirs) in documents.iter().zip(theirs) {
        assert_eq!(text(raw), theirs, "{raw}");
    }
}
