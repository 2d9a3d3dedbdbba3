//! What is kept of proofs where several look at one event at a time.

use chrono::TimeDelta;
use waypost_core::event::NewEvent;
use waypost_core::proof::{ItemProof, ItemVerdict, Proof};
use waypost_core::provider::graph::validation_token::{Doubt, Findings, Forgery};

use crate::scene::Scene;

fn proof(verdict: ItemVerdict, outcome: &str) -> Proof {
    let findings: Findings = serde_json::from_value(
        serde_json::json!([{"audience": "app", "tenant": "t", "outcome": {outcome: word(verdict)}}]),
    )
    .unwrap();
    Proof { findings: Some(findings), items: Some(vec![ItemProof { item: 0, verdict }]) }
}

fn word(verdict: ItemVerdict) -> serde_json::Value {
    match verdict {
        ItemVerdict::Forged(forgery) => serde_json::json!(forgery),
        ItemVerdict::Unknown(doubt) => serde_json::json!(doubt),
        other => panic!("{other:?} is no word of a token's"),
    }
}

#[tokio::test]
async fn a_doubt_that_is_written_late_does_not_undo_a_verdict() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let decided = proof(ItemVerdict::Forged(Forgery::Signature), "bad");
    let doubtful = proof(ItemVerdict::Unknown(Doubt::KeysUnavailable), "open");
    let later = Some(scene.now() + TimeDelta::minutes(1));

    for decided_first in [true, false] {
        let event = NewEvent { rich: true, ..tenant.event() };
        let id = event.id;
        scene.append(vec![event], Vec::new()).await;
        let mut writes = [(decided.clone(), None), (doubtful.clone(), later)];
        if !decided_first {
            writes.reverse();
        }
        for (proof, due_at) in writes {
            scene.store.keep_proof_across_environments(id, proof, due_at).await.unwrap();
        }

        let known = scene.store.find_proof_across_environments(id).await.unwrap().unwrap();
        assert_eq!(known.proof, decided, "decided first: {decided_first}");
        let due = scene.store.next_proof_due_across_environments().await.unwrap();
        assert_eq!(due, None, "nobody has to look again; decided first: {decided_first}");
    }
}
