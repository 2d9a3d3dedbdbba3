//! What a person can do with a Waypost that stays up: addresses, keys, and commands to try.

use std::path::Path;

use serde_json::json;
use waypost_simulator::{DEMO_DOMAINS, DEMO_USERS};

use super::house::House;
use super::provision::{Addresses, Demo, INTEGRATION};
use super::report::Ways;
use crate::output;

/// A fresh link to connect by included.
pub(super) async fn of(
    house: &House,
    demo: &Demo,
    addresses: Addresses,
    data_dir: &Path,
) -> anyhow::Result<Ways> {
    let simulator = house.simulator()?.base_url();
    let simulator = simulator.as_str().trim_end_matches('/');
    let Addresses { public, admin } = addresses;
    // What opens doors is shown to a person at a terminal only: what goes elsewhere is kept, as logs are.
    let shown = output::is_terminal();
    let (key, token) = if shown {
        (demo.api.token().to_owned(), demo.admin_token.clone())
    } else {
        let secrets = data_dir.join("secrets.json");
        let command = format!(
            "WAYPOST__ADMIN__JWT_SECRET=\"$(jq -r .jwt_secret {})\" waypost admin token --role operator",
            secrets.display()
        );
        ("$KEY".to_owned(), command)
    };
    let link = if shown {
        let link = demo.api.connect_link(INTEGRATION, &json!({"id": "you", "display_name": "You"})).await?;
        format!("{link}   (open it in a browser; works once, for half an hour)")
    } else {
        "made by POST /connect/sessions".to_owned()
    };
    let contoso = &demo.customers[0];
    let (id, person, tenant) = (&contoso.connection_id, contoso.person, contoso.tenant);
    let users = format!(
        "Adele Vance (administrator) and Alex Wilber of {} and of {}",
        DEMO_DOMAINS[0], DEMO_DOMAINS[1]
    );
    let values = vec![
        ("connect link", link),
        ("its users", users),
        ("API", format!("http://{public}")),
        (
            "API key",
            if shown { key.clone() } else { "made by POST /admin/environments/{uuid}/api-keys".to_owned() },
        ),
        ("admin API", format!("http://{admin}/admin/accounts")),
        ("admin token", token),
        ("metrics", format!("http://{admin}/metrics")),
        ("health", format!("http://{admin}/health/ready")),
        ("simulator", simulator.to_owned()),
    ];
    let authorized = format!("curl -s -H 'Authorization: Bearer {key}'");
    let through = format!("{authorized} -H 'Provider-Config-Key: {INTEGRATION}' -H 'Connection-Id: {id}'");
    let change = json!({
        "tenant": tenant, "path": format!("users/{}/messages", DEMO_USERS[1]), "changeType": "created",
        "value": {"subject": "Hello"},
    });
    let commands = vec![
        format!("{authorized} http://{public}/subscriptions"),
        format!("{authorized} 'http://{public}/events?status=quarantined'"),
        format!("{authorized} http://{public}/deliveries"),
        format!("{through} http://{public}/proxy/v1.0/users/{person}/messages"),
        format!("curl -s {simulator}/_control/change -H 'content-type: application/json' -d '{change}'"),
    ];
    Ok(Ways { values, commands })
}
