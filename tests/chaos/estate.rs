//! What the load is sent to: an environment with one connection and one endpoint for each fate that a notification can meet.

use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;
use waypost_harness::program::Environment;
use waypost_harness::{Client, Receiver, Reply};

/// Of so many notifications to the endpoint that takes them, one is refused at first.
const REFUSED_AT_FIRST: usize = 20;
/// For how many notifications these refusals are prepared.
const PREPARED: usize = 200_000;

/// What becomes of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// Its endpoint takes it, sometimes only when asked again.
    Delivered,
    /// Its endpoint refuses it until the schedule is used up.
    Dead,
    /// Its endpoint is disabled.
    Held,
    /// Nobody has a connection for its tenant.
    Unmatched,
}

/// The environment and its receivers.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) environment: Environment,
    /// Gets what is meant to be delivered.
    pub(crate) taker: Receiver,
    refuser: Receiver,
}

impl Fate {
    /// The fate of the `number`th notification: most are delivered.
    pub(crate) fn of(number: usize) -> Self {
        match number % 20 {
            5 => Self::Dead,
            10 => Self::Held,
            15 => Self::Unmatched,
            _ => Self::Delivered,
        }
    }

    /// The Entra tenant whose notifications meet it.
    pub(crate) fn tenant(self) -> Uuid {
        Uuid::from_u128(0x0c4a_0500_0000_4000_8000_0000_0000_0001 + self as u128)
    }

    /// The status that an event of this fate ends with.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Held => "held",
            Self::Unmatched => "unmatched",
        }
    }
}

impl Estate {
    /// Sets it up over `admin`, an operator's client, and `public`, where the environment API is.
    pub(crate) async fn build(admin: &Client, public: &Client) -> Self {
        let environment = Environment::create(admin, public).await;
        let (taker, refuser) = (Receiver::start().await, Receiver::start().await);
        refuser.answer(Reply::status(500));
        let hiccup = (1..=PREPARED).map(|number| {
            Reply::status(if number % REFUSED_AT_FIRST == 0 { StatusCode::BAD_GATEWAY.as_u16() } else { 200 })
        });
        taker.script(hiccup);
        for (fate, receiver) in [(Fate::Delivered, &taker), (Fate::Dead, &refuser), (Fate::Held, &taker)] {
            let connection = format!("conn-{}", fate.status());
            environment.connection(public, &connection, fate.tenant()).await;
            let endpoint = environment.endpoint(public, &receiver.url(), &connection, receiver).await;
            if fate == Fate::Held {
                let disable = format!("/endpoints/{endpoint}/disable");
                environment.api(public).post(&disable, &json!({})).await.expect(200);
            }
        }
        Self { environment, taker, refuser }
    }

    /// How many requests were refused.
    pub(crate) fn refused(&self) -> usize {
        self.refuser.received().len()
    }
}
