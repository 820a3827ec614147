//! The decision, case by case, and what holds in all of them.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn plan() -> Plan {
    Plan {
        check_every: 55 * SECOND,
        after_success: 5 * SECOND,
        after_failure: 10 * SECOND,
        after_timeout: 7 * SECOND,
        after_error: 15 * SECOND,
        pods: Pods { least: 2, items_each: None, most: 2 },
    }
}

fn ended(how: How, secs: u32) -> Last {
    Last::Ended { how, ago: secs * SECOND }
}

#[test]
fn a_queue_with_due_work_and_no_worker_gets_one() {
    assert_eq!(decide(&plan(), &Last::None, None), Step::Count);
    assert_eq!(decide(&plan(), &Last::None, Some(1)), Step::Submit { pods: 2 });
    assert_eq!(decide(&plan(), &Last::None, Some(0)), Step::Wait(55 * SECOND));
}

#[test]
fn each_ending_has_its_own_wait_and_then_the_queue_is_looked_at_at_once() {
    for (how, secs) in [(How::Succeeded, 5), (How::Failed, 10), (How::TimedOut, 7), (How::Error, 15)] {
        assert_eq!(decide(&plan(), &ended(how, 0), Some(9)), Step::Wait(secs * SECOND), "{how:?}");
        assert_eq!(decide(&plan(), &ended(how, secs - 1), Some(9)), Step::Wait(SECOND), "{how:?}");
        assert_eq!(decide(&plan(), &ended(how, secs), None), Step::Count, "{how:?}");
        assert_eq!(decide(&plan(), &ended(how, secs), Some(9)), Step::Submit { pods: 2 }, "{how:?}");
    }
}

#[test]
fn every_reason_has_the_wait_that_job_chief_gave_it() {
    let of = |how: How| Reason::ALL.into_iter().filter(|it| How::of(*it) == how).map(Reason::name).collect::<Vec<_>>();
    assert_eq!(of(How::Succeeded), ["completed"]);
    assert_eq!(of(How::TimedOut), ["unschedulable", "start_timeout", "queue_timeout"]);
    assert_eq!(of(How::Error), ["image_pull", "config_error", "manifest_rejected", "refused", "name_conflict"]);
    assert!(of(How::Failed).contains(&"cancelled"), "as a failed run");
}

#[test]
fn pods_grow_with_the_backlog_up_to_a_bound() {
    let pods = Pods { least: 2, items_each: Some(100), most: 10 };
    let cases = [(1, 2), (200, 2), (201, 3), (950, 10), (1000, 10), (1001, 10), (i64::MAX, 10), (-1, 2)];
    for (due, wanted) in cases {
        assert_eq!(pods.of(due), wanted, "{due} are due");
    }
}

#[test]
fn an_interval_of_nothing_is_no_busy_loop() {
    let hasty = Plan { check_every: Duration::ZERO, ..plan() };
    assert_eq!(decide(&hasty, &Last::None, Some(0)), Step::Wait(SHORTEST_CHECK));
    assert_eq!(decide(&hasty, &Last::GoesOn, Some(5)), Step::Wait(SHORTEST_CHECK));
}

fn any_last() -> impl Strategy<Value = Last> {
    let how = prop_oneof![Just(How::Succeeded), Just(How::Failed), Just(How::TimedOut), Just(How::Error)];
    prop_oneof![
        Just(Last::None),
        Just(Last::GoesOn),
        (how, 0..100_000_000_u64).prop_map(|(how, millis)| Last::Ended { how, ago: Duration::from_millis(millis) })
    ]
}

proptest! {
    #[test]
    fn nothing_is_submitted_beside_a_worker_nor_without_work_nor_out_of_bounds(
        last in any_last(), due in proptest::option::of(-5..1_000_000_i64), least in 1..50, more in 0..50,
        each in proptest::option::of(1..500_i64),
    ) {
        let plan = Plan { pods: Pods { least, items_each: each, most: least + more }, ..plan() };
        match decide(&plan, &last, due) {
            Step::Submit { pods } => {
                prop_assert!(last != Last::GoesOn);
                prop_assert!(due.is_some_and(|it| it > 0));
                prop_assert!((least..=least + more).contains(&pods));
            }
            Step::Count => prop_assert!(due.is_none() && last != Last::GoesOn),
            Step::Wait(time) => prop_assert!(!time.is_zero() && time <= plan.check_every),
        }
    }
}
