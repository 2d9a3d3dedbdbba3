//! Resources: read, written, followed, streamed, and told of.

use aws_lc_rs::digest::{SHA256, digest};
use chrono::TimeDelta;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Stage, answer, error};
use crate::{ChangeError, ChangeType, DEMO_CLIENT_ID, DEMO_TENANTS, Fault, Operation};

const TENANT: uuid::Uuid = DEMO_TENANTS[0];

impl Stage {
    /// A call below the version, or of a whole link.
    async fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let token = self.token(TENANT).await;
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}v1.0/{path}", self.simulator.graph_url())
        };
        self.client.request(method, url).bearer_auth(token)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.call(Method::GET, path).await).await
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        answer(self.call(method, path).await.json(&body)).await
    }
}

fn names(page: &Value, member: &str) -> Vec<String> {
    page["value"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_message_is_made_read_changed_moved_and_deleted() {
    let stage = Stage::set().await;
    let (status, made) = stage
        .send(
            Method::POST,
            "users/a/messages",
            json!({"subject": "One", "id": "mine", "body": {"content": "x"}}),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    assert_ne!(id, "mine");
    let (status, read) =
        stage.get(&format!("users/A/mailFolders('inbox')/messages/{id}?$select=subject")).await;
    assert_eq!((status, &read["subject"], read.get("body")), (200, &json!("One"), None), "{read}");
    let (_, changed) =
        stage.send(Method::PATCH, &format!("users/a/messages/{id}"), json!({"subject": "Two"})).await;
    assert_eq!((&changed["subject"], &changed["body"]["content"]), (&json!("Two"), &json!("x")));
    assert_ne!(changed["@odata.etag"], made["@odata.etag"]);
    for (etag, status) in [(&made["@odata.etag"], 412), (&changed["@odata.etag"], 200)] {
        let patch = stage.call(Method::PATCH, &format!("users/a/messages/{id}")).await;
        let patch = patch.header("if-match", etag.as_str().unwrap()).json(&json!({"subject": "Two"}));
        assert_eq!(answer(patch).await.0, status);
    }

    let immutable = stage.call(Method::GET, &format!("users/a/messages/{id}")).await;
    let (_, immutable) = answer(immutable.header("prefer", "IdType=\"ImmutableId\"")).await;
    let immutable = immutable["id"].as_str().unwrap();
    assert_ne!(immutable, id);
    let (status, moved) = stage
        .send(Method::POST, &format!("users/a/messages/{id}/move"), json!({"destinationId": "archive"}))
        .await;
    assert_eq!((status, &moved["parentFolderId"]), (201, &json!("archive")));
    let (status, body) = stage.get(&format!("users/a/messages/{id}")).await;
    assert_eq!((status, error(&body).0), (404, "ErrorItemNotFound"));
    assert_eq!(stage.get(&format!("users/a/messages/{immutable}")).await.0, 200);
    assert_eq!(stage.get("users/a/mailFolders/inbox/messages").await.1["value"], json!([]));
    let path = format!("users/a/messages/{immutable}");
    assert_eq!(answer(stage.call(Method::DELETE, &path).await).await.0, 204);
    assert_eq!(answer(stage.call(Method::DELETE, &path).await).await.0, 404);
    stage.strike().await;
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_paged_to_the_end() {
    let stage = Stage::set().await;
    for (id, subject) in [("1", "b"), ("2", "a"), ("3", "c"), ("4", "d")] {
        stage.control.put_item(TENANT, "users/a/events", json!({"id": id, "subject": subject})).unwrap();
    }
    let mut next =
        Some("users/a/events?$orderby=subject desc&$filter=subject ne 'd'&$top=2&$count=true".to_owned());
    let mut found = Vec::new();
    while let Some(link) = next {
        let (status, page) = stage.get(&link).await;
        assert_eq!((status, &page["@odata.count"]), (200, &json!(3)), "{page}");
        found.extend(names(&page, "subject"));
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(found, ["c", "b", "a"]);
    for query in ["$expand=x", "$top=0", "$filter=contains(a,b)", "$skiptoken=x"] {
        let (status, body) = stage.get(&format!("users/a/events?{query}")).await;
        assert_eq!((status, error(&body).0), (400, "BadRequest"), "{query}");
    }
    let paged = stage.call(Method::GET, "users/a/events").await.header("prefer", "odata.maxpagesize=1");
    assert_eq!(answer(paged).await.1["value"].as_array().unwrap().len(), 1);
    stage.strike().await;
}

#[tokio::test]
async fn permissions_and_persons_bound_what_can_be_reached() {
    let stage = Stage::set().await;
    stage.control.put_item(TENANT, "users/a/messages", json!({"id": "1"})).unwrap();
    let (status, body) = stage.get("me/messages").await;
    assert_eq!((status, error(&body).0), (400, "BadRequest"));
    stage.control.set_permissions(DEMO_CLIENT_ID, TENANT, Some(vec!["Mail.Read".to_owned()]));
    assert_eq!(stage.get("users/a/messages/1").await.0, 200);
    assert_eq!(stage.send(Method::PATCH, "users/a/messages/1", json!({})).await.0, 403);
    assert_eq!(stage.get("users/a/events").await.0, 403);
    let other = stage.token(DEMO_TENANTS[1]).await;
    let url = format!("{}v1.0/users/a/messages/1", stage.simulator.graph_url());
    assert_eq!(answer(stage.client.get(url).bearer_auth(other)).await.0, 404);
    stage.strike().await;
}

/// Follows a round to its end: the items and the link of the next.
async fn round(stage: &Stage, start: &str) -> (Vec<Value>, String) {
    let (mut items, mut next) = (Vec::new(), start.to_owned());
    loop {
        let (status, page) = stage.get(&next).await;
        assert_eq!(status, 200, "{page}");
        items.extend(page["value"].as_array().unwrap().iter().cloned());
        if let Some(link) = page["@odata.deltaLink"].as_str() {
            return (items, link.to_owned());
        }
        page["@odata.nextLink"].as_str().unwrap().clone_into(&mut next);
    }
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_delta_query_tells_everything_once_and_then_only_what_changed() {
    let stage = Stage::set().await;
    stage.control.behave(|behaviour| behaviour.item_page_size = 2);
    let inbox = "users/a/mailFolders/inbox/messages";
    for id in ["1", "2", "3", "4", "5"] {
        stage.control.put_item(TENANT, inbox, json!({"id": id, "subject": id, "body": "b"})).unwrap();
    }
    stage.control.delete_item(TENANT, &format!("{inbox}/2")).unwrap();
    let (items, link) = round(&stage, &format!("{inbox}/delta?$select=subject")).await;
    assert_eq!(ids(&items), ["1", "3", "4", "5"]);
    assert!(items.iter().all(|item| item.get("body").is_none() && item["subject"].is_string()));
    assert_eq!(round(&stage, &link).await.0, Vec::<Value>::new());

    stage.control.delete_item(TENANT, &format!("{inbox}/1")).unwrap();
    stage.control.put_item(TENANT, &format!("{inbox}/3"), json!({"subject": "new"})).unwrap();
    stage.control.put_item(TENANT, "users/a/mailFolders/other/messages", json!({"id": "6"})).unwrap();
    let (items, next) = round(&stage, &link).await;
    assert_eq!(ids(&items), ["1", "3"]);
    assert_eq!(items[0]["@removed"], json!({"reason": "deleted"}));
    assert_eq!((&items[1]["subject"], items[1].get("body")), (&json!("new"), None));
    // A round can be asked for again: nothing is lost with an answer that did not arrive.
    assert_eq!(ids(&round(&stage, &link).await.0), ["1", "3"]);
    assert_eq!(round(&stage, &next).await.0, Vec::<Value>::new());
    let (status, _) = stage.get(&link.replace("inbox", "other")).await;
    assert_eq!(status, 400, "a token belongs to its folder");
    stage.strike().await;
}

#[tokio::test]
async fn forgotten_delta_tokens_ask_for_a_new_beginning_in_the_words_of_the_service() {
    let stage = Stage::set().await;
    for (path, code) in [
        ("users/a/mailFolders/inbox/messages/delta", "SyncStateNotFound"),
        ("drives/d/root/delta", "resyncRequired"),
        ("users/delta", "resyncRequired"),
    ] {
        let (_, link) = round(&stage, path).await;
        stage.control.expire_delta_tokens(TENANT);
        let (status, body) = stage.get(&link).await;
        assert_eq!((status, error(&body).0), (410, code), "{path}");
        round(&stage, path).await;
    }
    assert_eq!(stage.get("users/a/calendarView/delta").await.0, 400);
    let span = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-12-31T00:00:00Z";
    let (_, link) = round(&stage, &format!("users/a/calendarView/delta?{span}")).await;
    round(&stage, &link).await;
    stage.control.put_item(TENANT, "users", json!({"id": "u"})).unwrap();
    let (items, link) = round(&stage, "users/delta?$deltatoken=latest").await;
    assert_eq!(items, Vec::<Value>::new());
    stage.control.put_item(TENANT, "users/u", json!({"mail": "u@contoso.example"})).unwrap();
    assert_eq!(ids(&round(&stage, &link).await.0), ["u"]);
    stage.strike().await;
}

#[tokio::test]
async fn a_change_reaches_every_subscription_that_it_concerns_and_no_other() {
    let stage = Stage::set().await;
    for (resource, change_type) in [
        ("users/a/messages", "created,deleted"),
        ("users/a/mailFolders('inbox')/messages", "created"),
        ("users/a/mailFolders('other')/messages", "created"),
        ("users/b/messages", "created"),
        ("chats/getAllMessages", "created"),
        ("drives/d/root", "updated"),
        ("users", "updated"),
    ] {
        let mut wish = stage.wish("a");
        wish["resource"] = json!(resource);
        wish["changeType"] = json!(change_type);
        stage.subscribe(TENANT, wish).await;
    }
    let resources = async |path: &str, change: ChangeType, value: Value| {
        let before = stage.receiver.notifications().len();
        let changed = stage.control.change(TENANT, path, change, value).unwrap();
        stage.control.wait_settled().await;
        let requests = &stage.receiver.notifications()[before..];
        let items: Vec<Value> =
            requests.iter().flat_map(|request| request.json()["value"].as_array().unwrap().clone()).collect();
        (changed.item, items)
    };
    let (item, told) = resources("users/a/mailFolders/inbox/messages", ChangeType::Created, json!({})).await;
    assert_eq!(told.len(), 2);
    for one in &told {
        assert_eq!(one["resourceData"]["id"], item["id"]);
        assert_eq!(one["resource"], json!(format!("Users/a/Messages/{}", item["id"].as_str().unwrap())));
        assert_eq!(one["resourceData"]["@odata.etag"], item["@odata.etag"]);
    }
    let path = format!("users/a/messages/{}", item["id"].as_str().unwrap());
    assert_eq!(resources(&path, ChangeType::Updated, json!({"subject": "x"})).await.1.len(), 0);
    assert_eq!(resources(&path, ChangeType::Deleted, Value::Null).await.1.len(), 1);
    let (item, told) =
        resources("chats/19:x@thread.v2/messages", ChangeType::Created, json!({"body": {}})).await;
    let expected = format!("chats('19:x@thread.v2')/messages('{}')", item["id"].as_str().unwrap());
    assert_eq!(told[0]["resource"], json!(expected));
    let (_, told) = resources("drives/d/root", ChangeType::Created, json!({"name": "a.txt"})).await;
    assert_eq!((&told[0]["resource"], &told[0]["resourceData"]), (&json!("drives/d/root"), &Value::Null));
    let (_, told) = resources("users/u", ChangeType::Created, json!({})).await;
    assert_eq!((told.len(), &told[0]["changeType"]), (1, &json!("updated")));
    let nothing = stage.control.change(TENANT, "users/a/messages/gone", ChangeType::Deleted, Value::Null);
    assert_eq!(nothing.unwrap_err(), ChangeError::NotFound);
    let wide = stage.control.change(TENANT, "chats/getAllMessages", ChangeType::Created, json!({}));
    assert_eq!(wide.unwrap_err(), ChangeError::Path);
    stage.strike().await;
}

#[tokio::test]
async fn subscriptions_with_immutable_ids_are_told_those() {
    let stage = Stage::set().await;
    let token = stage.token(TENANT).await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let create = stage.client.post(url).bearer_auth(token).header("prefer", "IdType=\"ImmutableId\"");
    assert_eq!(answer(create.json(&stage.wish("a"))).await.0, 201);
    let (_, made) = stage.send(Method::POST, "users/a/messages", json!({"subject": "by the api"})).await;
    stage.control.wait_settled().await;
    let told = stage.receiver.notifications()[0].json();
    let id = told["value"][0]["resourceData"]["id"].as_str().unwrap();
    assert_ne!(json!(id), made["id"]);
    assert_eq!(stage.get(&format!("users/a/messages/{id}")).await.1["subject"], "by the api");
    stage.strike().await;
}

#[tokio::test]
async fn large_content_flows_both_ways_and_in_parts() {
    const LENGTH: u64 = 20 * 1024 * 1024 + 7;
    let stage = Stage::set().await;
    stage.control.make_up_content(TENANT, "users/a/photo/$value", LENGTH).unwrap();
    let whole = stage.call(Method::GET, "users/a/photo/$value").await.send().await.unwrap();
    assert_eq!(whole.content_length(), Some(LENGTH));
    let whole = whole.bytes().await.unwrap();
    assert_eq!(u64::try_from(whole.len()).unwrap(), LENGTH);
    assert!((0_u64..).zip(whole.iter()).all(|(place, byte)| u64::from(*byte) == place % 251));
    let part = stage.call(Method::GET, "users/a/photo/$value").await.header("range", "bytes=70000-70009");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], format!("bytes 70000-70009/{LENGTH}"));
    assert_eq!(part.bytes().await.unwrap(), whole.slice(70_000..70_010));

    let put = stage.call(Method::PUT, "drives/d/items/file-1/content").await.header("content-type", "x/y");
    let (status, item) = answer(put.body(whole.clone())).await;
    assert_eq!((status, &item["size"]), (201, &json!(LENGTH)), "{item}");
    let view = stage.control.content_view(TENANT, "drives/d/items/file-1/content").unwrap();
    assert_eq!(view.sha256, Some(hex::encode(digest(&SHA256, &whole))));
    let put = stage.call(Method::PUT, "users/a/photo/$value").await.body("small");
    assert_eq!(answer(put).await.0, 204);
    assert_eq!(stage.control.content(TENANT, "users/a/photo/$value").unwrap(), "small");
    let (_, children) = stage.get("drives/d/root/children").await;
    assert_eq!(names(&children, "id"), ["file-1"]);
    stage.strike().await;
}

#[tokio::test]
async fn every_part_of_a_batch_is_answered_for_itself() {
    let stage = Stage::set().await;
    stage.control.put_item(TENANT, "users/a/messages", json!({"id": "1", "subject": "x"})).unwrap();
    let throttled = Fault::throttled(Operation::GetItem, 1, 7).where_target("/messages/2");
    stage.control.set_fault([throttled]);
    let (status, body) = stage
        .send(
            Method::POST,
            "$batch",
            json!({"requests": [
                {"id": "a", "method": "GET", "url": "/users/a/messages/1?$select=subject"},
                {"id": "b", "method": "GET", "url": "/users/a/messages/2"},
                {"id": "c", "method": "POST", "url": "/users/a/events", "body": {"subject": "y"},
                 "headers": {"Content-Type": "application/json"}},
                {"id": "d", "method": "POST", "url": "/subscriptions", "body": stage.wish("a"),
                 "headers": {"Content-Type": "application/json"}},
            ]}),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    let statuses: Vec<_> =
        body["responses"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [200, 429, 201, 201], "{body}");
    assert_eq!(body["responses"][0]["body"]["subject"], "x");
    assert_eq!(body["responses"][1]["headers"]["Retry-After"], "7");
    assert_eq!(stage.control.subscriptions().len(), 1);
    assert_eq!(stage.control.calls(Operation::GetItem), 2);

    let chained = json!({"requests": [
        {"id": "1", "method": "GET", "url": "/users/a/messages/none"},
        {"id": "2", "method": "DELETE", "url": "/users/a/messages/1", "dependsOn": ["1"]},
    ]});
    let (_, body) = stage.send(Method::POST, "$batch", chained).await;
    assert_eq!(body["responses"][1]["status"], 424);
    assert!(stage.control.item(TENANT, "users/a/messages/1").is_some());
    let part = |id: usize| json!({"id": id.to_string(), "method": "GET", "url": "/users"});
    for requests in [
        (0..21).map(part).collect::<Vec<_>>(),
        Vec::new(),
        vec![part(1), part(1)],
        vec![json!({"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/users"})],
        vec![json!({"id": "1", "method": "GET", "url": "/users", "dependsOn": ["2"]})],
    ] {
        assert_eq!(stage.send(Method::POST, "$batch", json!({"requests": requests})).await.0, 400);
    }
    stage.strike().await;
}

#[tokio::test]
async fn what_is_sent_lies_among_what_was_sent() {
    let stage = Stage::set().await;
    let (status, _) =
        stage.send(Method::POST, "users/a/sendMail", json!({"message": {"subject": "hi"}})).await;
    assert_eq!(status, 202);
    let (_, sent) = stage.get("users/a/mailFolders/sentitems/messages").await;
    assert_eq!(names(&sent, "subject"), ["hi"]);
    stage.clock.advance(TimeDelta::minutes(1));
    let filter = "users/a/messages?$filter=lastModifiedDateTime gt 2026-03-01T12:00:30Z";
    assert_eq!(stage.get(filter).await.1["value"], json!([]));
    stage.strike().await;
}
