//! Which resources are read, what is refused, and how what was read stands in the body.

use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::*;

fn path(resource: &str) -> Option<String> {
    Target::parse(resource, None)
        .ok()
        .map(|target| format!("{}{}", target.version().as_str(), target.path_and_query(None)))
}

fn item(resource: &str) -> Value {
    json!({"changeType": "updated", "resource": resource})
}

fn envelope(items: &[Value]) -> Vec<u8> {
    let payload = json!({"connectionId": "c", "payload": {"value": items}, "type": "forward"});
    canonical::canonical(payload.to_string().as_bytes()).unwrap()
}

fn outgoing(body: &[u8], found: &[Found]) -> Vec<Value> {
    let bytes = Plan::read(body).unwrap().outgoing(found);
    assert_eq!(canonical::canonical(&bytes).unwrap(), *bytes, "it stays canonical");
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    whole["payload"]["value"].as_array().unwrap().clone()
}

#[test]
fn resources_are_read_as_graph_writes_them() {
    for (resource, wanted) in [
        ("Users/7f/Messages/AAMk=", "v1.0/Users/7f/Messages/AAMk="),
        ("/users('7f')/events('A-_x')", "v1.0/users('7f')/events('A-_x')"),
        ("chats('19:a@thread.v2')/messages('1612')", "v1.0/chats('19:a@thread.v2')/messages('1612')"),
        ("chats('19:a/b@thread.v2')/messages('1')", "v1.0/chats('19:a%2Fb@thread.v2')/messages('1')"),
        ("users/a%20b/messages/x%2By", "v1.0/users/a%20b/messages/x%2By"),
        ("users/ä/messages/x+y", "v1.0/users/%C3%A4/messages/x%2By"),
        ("v1.0/groups/7f", "v1.0/groups/7f"),
        ("beta/users/7f", "beta/users/7f"),
        ("drives/b!x/root", "v1.0/drives/b!x/root"),
        ("sites/contoso.sharepoint.com,1,2/lists/3", "v1.0/sites/contoso.sharepoint.com,1,2/lists/3"),
        (
            "communications/onlineMeetings(joinWebUrl='https%3A%2F%2Fteams.example%2Fa')",
            "v1.0/communications/onlineMeetings(joinWebUrl='https:%2F%2Fteams.example%2Fa')",
        ),
    ] {
        assert_eq!(path(resource).as_deref(), Some(wanted), "{resource}");
    }
}

#[test]
fn what_is_not_plainly_one_resource_is_refused() {
    let long = format!("users/{}", "a".repeat(3_000));
    let deep = format!("users/{}", vec!["a"; 30].join("/"));
    for resource in [
        "",
        "/",
        "users",
        "v1.0",
        "v1.0/users",
        "https://evil.example/users/1",
        "//evil.example/users/1",
        "\\\\evil.example\\users\\1",
        "@evil.example/users/1",
        ".evil.example/users/1",
        "users/../../admin/1",
        "users/%2e%2e/groups/1",
        "users/1/%2E/x",
        "users/1%2Fmessages/2",
        "users//messages/1",
        "users/1/",
        "users/1?$expand=messages",
        "users/1%3F$expand=messages",
        "users/1#x",
        "users/1%23x",
        "users/1%252e%252e",
        "users/1/messages/2/$value",
        "users/1/%24value",
        "$batch/1",
        "users/1\u{0}",
        "users/1%0d%0aHost:evil",
        "users/%zz",
        "users/%C3",
        "users/%",
        "users('1')('2')/x",
        "users('1'x')/x",
        "users('../../groups')/x",
        "users('1/x",
        "users(1)x/y",
        "auditLogs/signIns/1",
        "beta/v1.0/users/1",
        "users/1&x=y",
        &long,
        &deep,
    ] {
        assert_eq!(path(resource), None, "{resource:?}");
    }
}

#[test]
fn the_version_comes_from_the_path_or_the_resources_own_address() {
    let version = |resource, id| Target::parse(resource, id).unwrap().version();
    for (id, wanted) in [
        (None, Version::V1),
        (Some("Users/1/Messages/2"), Version::V1),
        (Some("https://graph.microsoft.com/v1.0/users/1"), Version::V1),
        (Some("https://graph.microsoft.com/beta/users/1"), Version::Beta),
        (Some("https://graph.microsoft.com"), Version::V1),
        (Some("./beta/users/1"), Version::Beta),
    ] {
        assert_eq!(version("users/1", id), wanted, "{id:?}");
    }
    assert_eq!(version("v1.0/users/1", Some("https://graph.microsoft.com/beta/users/1")), Version::V1);
}

#[test]
fn only_what_is_in_a_mailbox_wants_immutable_ids() {
    let wants = |resource| Target::parse(resource, None).unwrap().wants_immutable_ids();
    for resource in [
        "Users/1/Messages/2",
        "users('1')/events('2')",
        "me/contacts/1",
        "Users/1/mailFolders('inbox')/Messages/2",
        "beta/groups/1/events/2",
    ] {
        assert!(wants(resource), "{resource}");
    }
    for resource in
        ["chats('1')/messages('2')", "users/1", "users/1/chats/2/messages/3", "teams/1/channels/2/messages/3"]
    {
        assert!(!wants(resource), "{resource}");
    }
}

#[test]
fn a_select_is_a_list_of_property_names() {
    let parse = |text: &str| Select::parse(text).map(String::from).ok();
    assert_eq!(parse("subject").as_deref(), Some("subject"));
    assert_eq!(parse(" subject , from,subject,_x,a/b ").as_deref(), Some("subject,from,_x,a/b"));
    for refused in
        ["", ",", "a,", "a b", "a&$expand=b", "a;b", "1a", "a/", "*", "ä", "a?x", &"a".repeat(2_001)]
    {
        assert_eq!(parse(refused), None, "{refused:?}");
    }
    let target = Target::parse("users/1", None).unwrap();
    let select = Select::parse("id,mail").unwrap();
    assert_eq!(target.path_and_query(Some(&select)), "/users/1?$select=id,mail");
}

#[test]
fn only_changes_that_bring_no_data_ask_for_it() {
    let rich = |name: &str| json!({"changeType": "updated", "resource": "users/1", name: {}});
    let body = envelope(&[
        item("users/1/messages/2"),
        json!({"changeType": "Deleted", "resource": "users/1/messages/3"}),
        json!({"lifecycleEvent": "missed", "resource": "users/1/messages"}),
        rich("encryptedContent"),
        rich("decryptedContent"),
        json!({"resource": "users/1/messages/4"}),
        json!({"changeType": "created"}),
        item("https://evil.example/users/1"),
        item("users/1/messages/2"),
    ]);
    let plan = Plan::read(&body).unwrap();
    let paths: Vec<_> = plan.targets().iter().map(|target| target.path_and_query(None)).collect();
    assert_eq!(paths, ["/users/1/messages/2", "/users/1/messages/4"], "each resource once");
    assert!(!plan.is_empty());

    let found =
        [Found::content(b"{\"b\": 1.0, \"a\": [] }"), Found::Failed(FetchError::answered(404, "", ""))];
    let items = outgoing(&body, &found);
    let content = json!({"a": [], "b": 1});
    assert_eq!((&items[0]["fetchedContent"], &items[8]["fetchedContent"]), (&content, &content));
    assert_eq!(
        (&items[5]["fetchError"]["code"], &items[5]["fetchError"]["status"]),
        (&json!("gone"), &json!(404))
    );
    assert_eq!(items[6]["fetchError"]["code"], "noResource");
    assert_eq!(items[7]["fetchError"]["code"], "resourceRefused");
    assert_eq!(items[1]["fetchError"]["code"], "deleted");
    for untouched in &items[2..=4] {
        assert!(untouched.get("fetchedContent").is_none() && untouched.get("fetchError").is_none());
    }
    for (index, item) in items.iter().enumerate() {
        assert!(item.get("fetchedContent").is_none() || item.get("fetchError").is_none(), "{index}");
    }
}

#[test]
fn an_event_of_which_nothing_is_read_goes_out_as_it_is() {
    let body = envelope(&[
        json!({"lifecycleEvent": "missed"}),
        json!({"changeType": "created", "resource": "users/1", "encryptedContent": {}}),
    ]);
    let plan = Plan::read(&body).unwrap();
    assert!(plan.is_empty() && plan.targets().is_empty());
    assert_eq!(*plan.outgoing(&[]), body);
}

#[test]
fn an_event_reads_only_so_many_resources() {
    let items: Vec<Value> = (0..=MOST_TARGETS).map(|n| item(&format!("users/{n}"))).collect();
    let body = envelope(&items);
    assert_eq!(Plan::read(&body).unwrap().targets().len(), MOST_TARGETS);
    let items = outgoing(&body, &[]);
    assert_eq!(items[MOST_TARGETS]["fetchError"]["code"], "tooMany");
    assert_eq!(items[0]["fetchError"]["code"], "notRead");
}

#[test]
fn an_answer_that_is_no_object_is_an_error() {
    for body in [&b"[]"[..], b"\"text\"", b"", b"<html>", b"{\"a\":"] {
        assert!(matches!(Found::content(body), Found::Failed(error) if error.code() == "notJson"));
    }
    assert!(matches!(Found::content(b" {} "), Found::Content(content) if *content == b"{}"));
}

#[test]
fn errors_speak_graphs_words_where_there_are_any() {
    let error = FetchError::answered(403, "ErrorAccessDenied", "Access is \"denied\".");
    assert_eq!(
        std::str::from_utf8(&error.written()).unwrap(),
        r#"{"code":"ErrorAccessDenied","message":"Access is \"denied\".","status":403}"#
    );
    assert_eq!(FetchError::answered(410, "", "").code(), "gone");
    assert_eq!(FetchError::answered(500, "x", &"m".repeat(9_000)).message.len(), LONGEST_MESSAGE);
}

proptest! {
    #[test]
    fn no_resource_leads_anywhere_but_below_graph(
        resource in "(users|me|\\.\\.|%2e%2e|https:|v1.0|beta|[a-z0-9'()%/\\\\.?#@:$&=\\PC]{0,6})(/|//|\\\\|%2f)([a-z0-9'()%/\\\\.?#@:$&=\\PC]{0,12}/?){0,4}",
    ) {
        if let Ok(target) = Target::parse(&resource, None) {
            let relative = target.path_and_query(None);
            let base = format!("http://graph.example/base/{}", target.version().as_str());
            let url = Url::parse(&format!("{base}{relative}")).unwrap();
            prop_assert_eq!(url.as_str(), format!("{base}{relative}"), "nothing is resolved or encoded any more");
            prop_assert_eq!(url.host_str(), Some("graph.example"));
            prop_assert!(url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
            let first = relative.split(['/', '(']).nth(1).unwrap().to_ascii_lowercase();
            prop_assert!(!first.contains('.') && !first.is_empty());
        }
    }

    #[test]
    fn content_is_spliced_in_without_touching_the_rest(
        content in "[a-z\"\\\\\\PC]{0,20}", more in proptest::collection::btree_map("[a-z]{1,8}", 0..9_i32, 0..6), count in 1..4_usize,
    ) {
        let items: Vec<Value> = (0..count).map(|n| {
            let mut item = json!(more);
            item["changeType"] = json!("updated");
            item["resource"] = json!(format!("users/{}", n / 2));
            for ours in ["id", "subscriptionid", "clientstate"] { item.as_object_mut().unwrap().remove(ours); }
            item
        }).collect();
        let body = envelope(&items);
        let found: Vec<Found> = (0..count.div_ceil(2))
            .map(|n| Found::content(json!({"id": n, "text": content}).to_string().as_bytes())).collect();
        let sent = outgoing(&body, &found);
        for (n, (before, mut after)) in items.into_iter().zip(sent).enumerate() {
            let fetched = after.as_object_mut().unwrap().remove("fetchedContent");
            prop_assert_eq!(fetched, Some(json!({"id": n / 2, "text": content})));
            prop_assert_eq!(before, after);
        }
    }
}
