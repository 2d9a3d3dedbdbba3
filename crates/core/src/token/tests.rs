//! When a token is used, asked for anew, waited for and given up.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn mark(text: &str) -> TokenMark {
    TokenMark::of(&SecretString::from(text))
}

/// A grant with a token of an hour that was granted at 0.
fn standing() -> Standing {
    Standing {
        generation: 1,
        token: Some((mark("one"), Lifetime::granted(at(0), 3600))),
        leased_until: None,
        failure: None,
    }
}

fn failure(class: Class, next_try_at: DateTime<Utc>) -> Failure {
    Failure {
        class,
        error: "invalid_client".to_owned(),
        codes: vec![7_000_215],
        description: "words".to_owned(),
        since: at(0),
        count: 1,
        failed_at: at(0),
        next_try_at,
    }
}

fn refused(codes: &[i64], retry_after: Option<TimeDelta>) -> Trouble {
    Trouble::Refused(Box::new(Refusal {
        status: 400,
        error: "invalid_client".to_owned(),
        codes: codes.to_vec(),
        description: "AADSTS".to_owned(),
        trace_id: None,
        correlation_id: None,
        retry_after,
    }))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

#[test]
fn a_token_is_used_for_four_fifths_of_its_life_and_replaced_then() {
    let standing = standing();
    assert_eq!(standing.step(Freshness::Cached, 1, at(2879)), Step::Use);
    assert_eq!(standing.step(Freshness::Cached, 1, at(2880)), Step::Ask);
    assert_eq!(standing.step(Freshness::Cached, 1, at(4000)), Step::Ask);
    assert_eq!(Standing { token: None, ..standing }.step(Freshness::Cached, 1, at(0)), Step::Ask);
}

#[test]
fn while_another_asks_a_token_that_has_not_ended_is_used_and_else_it_is_waited_for() {
    let leased = |now: i64| Standing { leased_until: Some(at(now + 1)), ..standing() };
    assert_eq!(leased(3000).step(Freshness::Cached, 1, at(3000)), Step::Use);
    assert_eq!(leased(3600).step(Freshness::Cached, 1, at(3600)), Step::Wait);
    assert_eq!(leased(0).step(Freshness::Forced, 1, at(0)), Step::Wait);
    // Whoever asked is gone: the next one takes over.
    assert_eq!(leased(3600).step(Freshness::Cached, 1, at(3601)), Step::Ask);
}

#[test]
fn a_refused_token_is_replaced_only_while_it_is_the_stored_one() {
    let standing = standing();
    assert_eq!(standing.step(Freshness::Instead(mark("one")), 1, at(0)), Step::Ask);
    assert_eq!(standing.step(Freshness::Instead(mark("before")), 1, at(0)), Step::Use);
}

#[test]
fn a_forced_token_is_newer_than_the_call_and_asked_for_once() {
    let standing = standing();
    assert_eq!(standing.step(Freshness::Forced, 1, at(0)), Step::Ask);
    assert_eq!(standing.step(Freshness::Forced, 0, at(0)), Step::Use);
}

#[test]
fn a_token_that_is_due_as_soon_as_it_is_there_is_still_used_by_those_who_waited() {
    let short = Standing { token: Some((mark("one"), Lifetime::granted(at(0), 1))), ..standing() };
    assert_eq!(short.step(Freshness::Cached, 0, at(0)), Step::Use);
    assert_eq!(short.step(Freshness::Cached, 1, at(1)), Step::Ask);
}

#[test]
fn after_a_failure_nobody_asks_before_its_time_unless_forced() {
    let failed = |class| Standing { token: None, failure: Some(failure(class, at(30))), ..standing() };
    assert_eq!(failed(Class::Operator).step(Freshness::Cached, 1, at(29)), Step::Fail);
    assert_eq!(failed(Class::Operator).step(Freshness::Cached, 1, at(30)), Step::Ask);
    assert_eq!(failed(Class::Operator).step(Freshness::Forced, 1, at(5)), Step::Ask);
    // Whoever waited for the one who asked gets what came of it.
    assert_eq!(failed(Class::Operator).step(Freshness::Forced, 0, at(0)), Step::Fail);
    assert_eq!(failed(Class::Operator).step(Freshness::Cached, 0, at(31)), Step::Fail);
}

#[test]
fn force_moves_nothing_right_after_a_failure_or_where_the_sign_in_host_asked_for_patience() {
    let failed = |failure| Standing { token: None, failure: Some(failure), ..standing() };
    let operator = failed(failure(Class::Operator, at(30)));
    assert_eq!(operator.step(Freshness::Forced, 1, at(4)), Step::Fail);
    assert_eq!(operator.step(Freshness::Forced, 1, at(5)), Step::Ask);
    // Whoever wrote the credentials again doesn't wait for that.
    assert_eq!(operator.step(Freshness::Mended, 1, at(0)), Step::Ask);
    let stopped = Failure { codes: vec![50_196], ..failure(Class::Defect, at(900)) };
    for patient in [failed(failure(Class::Throttled, at(900))), failed(stopped)] {
        for wanted in [Freshness::Forced, Freshness::Mended] {
            assert_eq!(patient.step(wanted, 1, at(899)), Step::Fail);
            assert_eq!(patient.step(wanted, 1, at(900)), Step::Ask);
        }
    }
}

#[test]
fn what_must_work_or_was_mended_is_tried_although_a_token_is_left() {
    let failed = Standing { failure: Some(failure(Class::Operator, at(30))), ..standing() };
    assert_eq!(failed.step(Freshness::Mended, 1, at(0)), Step::Ask);
    assert_eq!(failed.step(Freshness::Working, 1, at(29)), Step::Fail);
    assert_eq!(failed.step(Freshness::Working, 1, at(30)), Step::Ask);
    for wanted in [Freshness::Mended, Freshness::Working] {
        assert_eq!(standing().step(wanted, 1, at(0)), Step::Use);
        assert_eq!(standing().step(wanted, 1, at(2880)), Step::Ask);
    }
}

#[test]
fn a_token_that_has_not_ended_outlives_failures_to_replace_it() {
    let failed = Standing { failure: Some(failure(Class::Operator, at(9999))), ..standing() };
    assert_eq!(failed.step(Freshness::Cached, 1, at(3000)), Step::Use);
    assert_eq!(failed.step(Freshness::Instead(mark("one")), 1, at(3000)), Step::Fail);
    assert_eq!(failed.step(Freshness::Cached, 1, at(3600)), Step::Fail);
}

#[test]
fn a_token_that_was_brought_along_is_used_until_it_ends() {
    let imported = |expires_at| Standing {
        generation: 0,
        token: Some((mark("one"), Lifetime::imported(at(0), expires_at))),
        ..standing()
    };
    assert_eq!(imported(Some(at(100))).step(Freshness::Cached, 0, at(99)), Step::Use);
    assert_eq!(imported(Some(at(100))).step(Freshness::Cached, 0, at(100)), Step::Ask);
    // Nobody knows its end: a better one is asked for, and it serves while there is none.
    assert_eq!(imported(None).step(Freshness::Cached, 0, at(0)), Step::Ask);
    let failed = Standing { failure: Some(failure(Class::Operator, at(9))), ..imported(None) };
    assert_eq!(failed.step(Freshness::Cached, 0, at(0)), Step::Use);
}

#[test]
fn cool_downs_grow_where_somebody_must_act_and_stay_short_where_it_passes() {
    let waits = |trouble: &Trouble| {
        let mut failure = None;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let next = Failure::after(failure.as_ref(), trouble, at(0), &mut rng());
            waits.push((next.next_try_at - at(0)).num_seconds());
            failure = Some(next);
        }
        waits
    };
    let operator = waits(&refused(&[7_000_215], None));
    assert!((30..=36).contains(&operator[0]), "{operator:?}");
    assert!((900..=1080).contains(&operator[7]), "{operator:?}");
    let transient = waits(&refused(&[90_033], None));
    assert!(transient[0] <= 2 && transient[7] <= 36, "{transient:?}");
    let unreachable = waits(&Trouble::Unreachable("no answer".to_owned()));
    assert!(unreachable[0] <= 2 && unreachable[7] <= 36, "{unreachable:?}");
    let stopped = waits(&refused(&[50_196], None));
    assert!(stopped[0] >= 900, "{stopped:?}");
}

#[test]
fn retry_after_is_honoured_within_reason() {
    for (asked, wanted) in [(120, 120), (7200, 3600)] {
        let trouble = refused(&[90_055], Some(TimeDelta::seconds(asked)));
        let failure = Failure::after(None, &trouble, at(0), &mut rng());
        assert_eq!((failure.next_try_at - at(0)).num_seconds(), wanted);
    }
}

#[test]
fn a_failure_is_told_at_once_where_somebody_must_act_and_patiently_where_it_passes() {
    let fails = |trouble: &Trouble, times: u32| {
        (0..times).fold(None, |before: Option<Failure>, _| {
            Some(Failure::after(before.as_ref(), trouble, at(0), &mut rng()))
        })
    };
    let operator = fails(&refused(&[7_000_215], None), 1).unwrap();
    assert!(operator.is_worth_telling(true) && operator.is_worth_telling(false));
    let passing = refused(&[90_033], None);
    assert!(!fails(&passing, 2).unwrap().is_worth_telling(false));
    assert!(fails(&passing, 3).unwrap().is_worth_telling(false));
    assert!(!fails(&passing, 9).unwrap().is_worth_telling(true));
}

#[test]
fn a_failure_counts_on_from_the_one_before_and_tells_both_cure_and_words() {
    let first = Failure::after(None, &refused(&[7_000_215], None), at(0), &mut rng());
    let second = Failure::after(Some(&first), &refused(&[7_000_222], None), at(60), &mut rng());
    assert_eq!((second.count, second.since), (2, at(0)));
    assert!(second.description.contains("expired") && second.description.contains("AADSTS"), "{second:?}");
}

#[test]
fn a_mark_tells_tokens_apart_and_shows_nothing() {
    assert_eq!(mark("a"), mark("a"));
    assert_ne!(mark("a"), mark("b"));
    assert_eq!(format!("{:?}", mark("a")), "TokenMark([redacted])");
}

proptest! {
    #[test]
    fn a_granted_life_is_ordered_whatever_the_sign_in_host_says(seconds in any::<i64>()) {
        let life = Lifetime::granted(at(0), seconds);
        prop_assert!(at(0) <= life.refresh_at);
        prop_assert!(life.refresh_at <= life.expires_at.unwrap());
    }

    #[test]
    fn nobody_gets_a_token_that_has_ended_or_was_refused(
        now in 0_i64..8000, leased in proptest::option::of(0_i64..8000), generation in 0_i64..3, first in 0_i64..3,
        next_try in proptest::option::of(0_i64..8000), wanted in 0_usize..5,
    ) {
        let standing = Standing {
            generation,
            leased_until: leased.map(at),
            failure: next_try.map(|next| failure(Class::Operator, at(next))),
            ..standing()
        };
        let refused = Freshness::Instead(mark("one"));
        let wanted = [Freshness::Cached, refused, Freshness::Forced, Freshness::Working, Freshness::Mended][wanted];
        if standing.step(wanted, first, at(now)) == Step::Use {
            prop_assert!(now < 3600);
            prop_assert!(wanted != Freshness::Instead(mark("one")));
        }
    }
}
