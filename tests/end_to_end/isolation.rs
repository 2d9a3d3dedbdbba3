//! The wall between tenants: whatever is sent by whom, nobody gets anything of another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use waypost_harness::notification::{collection, item_with};
use waypost_harness::{Receiver, Tenant, TestApp};

const ENVIRONMENTS: usize = 3;
const TENANTS: usize = 3;
const POSTS: usize = 60;

/// The Entra tenants are the same in all environments: only the environment tells customers apart.
fn entra(number: usize) -> String {
    format!("33333333-cccc-4000-8000-00000000000{number}")
}

/// A generator that gives the same numbers in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

struct World {
    tenants: Vec<Tenant>,
    receivers: Vec<Receiver>,
    /// What each connection of each environment should get.
    wanted: Vec<BTreeMap<String, BTreeSet<String>>>,
}

/// Environments of one name with connections of one name. Entra tenant 0 has two connections, the last one none.
async fn world(app: &TestApp) -> World {
    let (mut tenants, mut receivers) = (Vec::new(), Vec::new());
    for number in 0..ENVIRONMENTS {
        let tenant = app.tenant(&format!("account {number}")).await;
        let receiver = Receiver::start().await;
        tenant.primary(&receiver).await;
        tenant.connection("conn-0", &entra(0)).await;
        tenant.connection("conn-0-too", &entra(0)).await;
        tenant.connection("conn-1", &entra(1)).await;
        tenants.push(tenant);
        receivers.push(receiver);
    }
    World { tenants, receivers, wanted: vec![BTreeMap::new(); ENVIRONMENTS] }
}

impl World {
    /// Posts a batch of items of several tenants to one environment, and notes who should get them.
    async fn post(&mut self, dice: &mut Dice, post: usize) {
        let environment = dice.roll(ENVIRONMENTS);
        let items: Vec<Value> = (0..=dice.roll(6))
            .map(|place| {
                let (tenant, mark) = (dice.roll(TENANTS), format!("{environment}-{post}-{place}"));
                let forged = dice.roll(5) == 0;
                if !forged {
                    let connections: &[&str] = [&["conn-0", "conn-0-too"][..], &["conn-1"], &[]][tenant];
                    for connection in connections {
                        self.wanted[environment]
                            .entry((*connection).to_owned())
                            .or_default()
                            .insert(mark.clone());
                    }
                }
                let mut item = item_with(&entra(tenant), &json!({"mark": mark}));
                if forged {
                    item["clientState"] = json!("forged");
                }
                item
            })
            .collect();
        self.tenants[environment].post_notification(&collection(&items)).await.expect(202);
    }

    fn got(&self, environment: usize) -> BTreeMap<String, BTreeSet<String>> {
        let mut got: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for request in self.receivers[environment].received() {
            for item in request.items() {
                let new = got
                    .entry(request.connection())
                    .or_default()
                    .insert(item["mark"].as_str().unwrap().to_owned());
                assert!(new, "{item} came twice");
            }
        }
        got
    }
}

#[tokio::test]
async fn whatever_is_posted_each_connection_gets_its_own_items_and_no_others() {
    let app = TestApp::spawn().await;
    let mut world = world(&app).await;
    let mut dice = Dice(20_261_122);

    for post in 0..POSTS {
        world.post(&mut dice, post).await;
    }
    app.until_settled().await;

    for environment in 0..ENVIRONMENTS {
        assert_eq!(world.got(environment), world.wanted[environment], "environment {environment}");
    }
    for (environment, tenant) in world.tenants.iter().enumerate() {
        for event in tenant.list("/events?kind=forward").await {
            let shown =
                tenant.api.get(&format!("/events/{}", event["id"].as_str().unwrap())).await.expect(200);
            for item in shown["payload"]["value"].as_array().unwrap() {
                assert!(item["mark"].as_str().unwrap().starts_with(&format!("{environment}-")), "{item}");
            }
        }
    }
}

#[tokio::test]
async fn a_forged_environment_in_the_path_needs_that_environments_own_secret() {
    let app = TestApp::spawn().await;
    let receiver = Receiver::start().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    umbrella.primary(&receiver).await;
    umbrella.connection("conn-1", &entra(0)).await;
    let secret = json!({"custom": {"webhookSecret": "only-umbrella-knows-this"}});
    umbrella.api.patch("/integrations/graph-cc", &secret).await.expect(200);
    app.clock().advance(chrono::TimeDelta::hours(25)); // past the grace of the one before

    // What acme's integration would vouch for.
    umbrella.accept(&[item_with(&entra(0), &json!({}))]).await;

    assert!(umbrella.list("/events?kind=forward").await.is_empty());
    assert!(acme.list("/events?kind=forward").await.is_empty());
    assert_eq!(receiver.count(), 0);
}
