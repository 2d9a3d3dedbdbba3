//! What a process serves, by its roles.

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use waypost_harness::Client;
use waypost_harness::program::{Environment, Listen, Program};

use crate::database::Database;

const INGRESS: &str = "/webhook/6a1f2c3d-0000-4000-8000-0000000000aa/graph-cc";

#[tokio::test]
async fn each_role_serves_its_own_routes_and_no_others() {
    let database = Database::create().await;
    let site = database.site();
    site.migrate().await;

    for roles in [&["ingress"][..], &["api"], &["relay"], &["scheduler"], &["ingress", "api"], &[]] {
        let mut program = site.start("waypost", Listen::free(), roles).await;
        program.until_ready().await;
        let has = |role: &str| roles.is_empty() || roles.contains(&role);
        own_listener(&program, has("api")).await;
        if has("ingress") || has("api") {
            public_listener(&program.public(), has("ingress"), has("api")).await;
        } else {
            assert!(
                TcpStream::connect(program.listen().public).await.is_err(),
                "{roles:?} has a public listener"
            );
        }
    }
}

#[tokio::test]
async fn processes_of_one_role_each_do_the_work_together() {
    let database = Database::create().await;
    let site = database.site();
    site.migrate().await;
    let receiver = waypost_harness::Receiver::start().await;
    let mut programs = Vec::new();
    for role in ["ingress", "relay", "scheduler", "api"] {
        programs.push(site.start(role, Listen::free(), &[role]).await);
    }
    for program in &mut programs {
        program.until_ready().await;
    }
    let [ingress, _, _, api] = &programs[..] else { panic!("four processes") };
    let tenant = uuid::Uuid::new_v4();
    let environment = Environment::create(&api.admin(), &api.public()).await;
    environment.connection(&api.public(), "conn-1", tenant).await;
    environment.endpoint(&api.public(), &receiver.url(), "conn-1", &receiver).await;

    let body = environment.notification(tenant, uuid::Uuid::new_v4());
    ingress.public().post(&environment.ingress(), &body).await.expect(202);

    receiver.wait_for(1).await;
}

async fn own_listener(program: &Program, api: bool) {
    let admin = program.admin();
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(admin.anonymous().get(path).await.status, 200, "{path}");
    }
    assert_eq!(admin.get("/admin/accounts").await.status, if api { 200 } else { 404 });
}

async fn public_listener(public: &Client, ingress: bool, api: bool) {
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(public.get(path).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/admin/accounts"] {
        assert_eq!(public.get(path).await.status, 404, "{path}");
    }
    let handshake =
        public.send(public.request(Method::POST, &format!("{INGRESS}?validationToken=hello"))).await;
    assert_eq!(handshake.status, if ingress { 200 } else { 404 }, "{}", handshake.text());
    let unknown = public.post(INGRESS, &json!({"value": []})).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let code = unknown.json()["error"]["code"].clone();
    assert_eq!(code == "unknown_environment", ingress, "{code}");
    let settings = public.get("/environment/webhook-settings").await;
    assert_eq!(settings.status, if api { 401 } else { 404 }, "{}", settings.text());
}
