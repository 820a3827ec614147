//! What must hold of every decision, whatever the two sides are.

use proptest::prelude::*;

use super::*;
use crate::{cluster::pod::Trouble, id::KubeUid, lifecycle::StateName, store::jobs::read_row};

fn rules() -> Rules {
    Rules { start_timeout_secs: Some(60.0), troubles: Table::default(), logs: KeepLogs::Failed }
}

fn any_holder() -> impl Strategy<Value = Holder> {
    let states = prop_oneof![
        Just((StateName::Starting, false)),
        Just((StateName::Starting, true)),
        Just((StateName::Running, true)),
        Just((StateName::Stopping, true)),
    ];
    let waits = proptest::option::of(proptest::sample::select(WaitCode::ALL.to_vec()));
    (states, any::<bool>(), 0.0..100.0_f64, waits).prop_map(|((state, created), cancel, secs, waits)| {
        read_row(state, created, cancel, secs, waits.filter(|_| state == StateName::Starting))
    })
}

pub fn any_phase() -> impl Strategy<Value = Phase> {
    let failed = |reason: &str| Phase::Failed { reason: reason.into(), message: "m".into() };
    prop_oneof![
        Just(Phase::Active),
        Just(Phase::Complete),
        Just(failed("BackoffLimitExceeded")),
        Just(failed("DeadlineExceeded")),
    ]
}

fn any_trouble() -> impl Strategy<Value = Option<Trouble>> {
    let said: Vec<&str> = Table::default().lines().iter().map(|it| it.said).chain(["SomethingNew"]).collect();
    proptest::option::of(proptest::sample::select(said).prop_map(|it| Trouble { said: it.into(), message: "m".into() }))
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let facts = (any::<bool>(), proptest::option::of(any::<i32>())).prop_map(|(started, exit_code)| Facts {
        started_at: started.then(jiff::Timestamp::now),
        exit_code,
        ..Facts::default()
    });
    let fate = proptest::option::of(proptest::sample::select(Reason::ALL.to_vec()).prop_map(|it| Ending::new(it, "m")));
    let inspected = proptest::option::of(0.0..100.0_f64);
    let sight = (any_phase(), any::<[bool; 6]>(), facts, any_trouble(), fate, inspected).prop_map(
        |(
            phase,
            [deleting, live_pods, all_seen, waited, confirmed, suspended],
            facts,
            trouble,
            fate,
            inspected_secs,
        )| {
            let live_pods = live_pods && !confirmed;
            let job = SeenJob { suspended, ..seen_job(phase, deleting) };
            let sight = Box::new(Sight { job, live_pods, all_seen, waited, facts, fate, trouble, inspected_secs });
            if confirmed { Seen::Ended(sight) } else { Seen::Present(sight) }
        },
    );
    prop_oneof![
        Just(Seen::Unknown),
        any::<bool>().prop_map(|live_pods| Seen::Absent { live_pods }),
        Just(Seen::Gone),
        sight
    ]
}

pub fn seen_job(phase: Phase, deleting: bool) -> SeenJob {
    SeenJob {
        namespace: "default".into(),
        name: "job-1".into(),
        uid: KubeUid("uid".into()),
        resource_version: None,
        attempt: None,
        nonce: None,
        spec_hash: None,
        deleting,
        suspended: false,
        phase,
        ended_pods: 1,
    }
}

proptest! {
    #[test]
    fn a_slot_is_given_up_only_when_nothing_of_the_job_can_run_any_more(job in any_holder(), seen in any_seen()) {
        if let Step::Finish(end, _) = decide(&job, &seen, &rules()) {
            let over = match &seen {
                Seen::Gone => true,
                Seen::Ended(sight) => sight.job.phase != Phase::Active,
                Seen::Present(sight) => !sight.live_pods && sight.all_seen && sight.job.phase == Phase::Complete,
                Seen::Unknown | Seen::Absent { .. } => false,
            };
            prop_assert!(over, "{job:?} {seen:?}");
            let stopping = matches!(job, Holder::Stopping(_));
            prop_assert!(stopping || !matches!(end, End::Cancelled(_)), "only what was being stopped ends as cancelled");
            prop_assert!(!matches!(job, Holder::Claimed(_)), "what a claim came to is for its claimant to say");
            let again = matches!(end, End::Again { .. });
            prop_assert!(!(again && job.head().cancel_requested), "nobody wants another attempt of it");
        }
    }

    #[test]
    fn nothing_is_deleted_that_has_ended_or_that_nobody_wants_stopped(job in any_holder(), seen in any_seen()) {
        match decide(&job, &seen, &rules()) {
            Step::Delete(_) => {
                let stopping = matches!(job, Holder::Stopping(_));
                let active = matches!(&seen, Seen::Present(it) if it.job.phase == Phase::Active && !it.job.deleting);
                prop_assert!(stopping && active, "{job:?} {seen:?}");
            }
            Step::Stop(ending, _) if ending.reason == Reason::Cancelled => prop_assert!(job.head().cancel_requested),
            Step::Stop(ending, _) if ending.reason == Reason::DeadlineExceeded => prop_assert!(job.head().run_secs >= 50.0),
            Step::Stop(ending, _) => {
                let Seen::Present(sight) = &seen else { panic!("{ending:?} of what is not seen") };
                prop_assert!(sight.facts.started_at.is_none(), "it has started");
                prop_assert!(job.head().start_secs >= 50.0 || sight.trouble.is_some(), "{ending:?}");
                prop_assert!(!sight.job.suspended, "suspended time does not count");
            }
            Step::Wait(_) | Step::LookAgain | Step::Start(_) | Step::Confirm | Step::Inspect | Step::Tell(_)
            | Step::Finish(..) => {}
        }
    }

    #[test]
    fn every_step_is_one_that_its_state_has(job in any_holder(), seen in any_seen()) {
        let step = decide(&job, &seen, &rules());
        let fits = matches!(
            (&step, &job),
            (Step::Wait(_) | Step::LookAgain | Step::Confirm, _)
                | (Step::Start(_) | Step::Inspect | Step::Tell(_), Holder::Created(_))
                | (Step::Stop(..), Holder::Created(_) | Holder::Running(_))
                | (Step::Delete(_), Holder::Stopping(_))
                | (Step::Finish(..), Holder::Created(_) | Holder::Running(_) | Holder::Stopping(_))
        );
        prop_assert!(fits, "{step:?} {job:?}");
    }

    #[test]
    fn a_deadline_that_is_waited_for_is_ahead(job in any_holder(), seen in any_seen()) {
        if let Step::Wait(Some(secs)) = decide(&job, &seen, &rules()) {
            prop_assert!(secs > 0.0, "{job:?} {seen:?}");
        }
    }
}

/// A job that has been created and waits, as its row says, seen with a trouble.
fn stopped_for(said: &str, waits: Option<WaitCode>, secs: f64, table: Table) -> Option<Reason> {
    match in_trouble(said, waits, secs, table, None) {
        Step::Stop(ending, _) => Some(ending.reason),
        _ => None,
    }
}

/// The same, with the trouble told by events that were read so many seconds ago.
fn in_trouble(said: &str, waits: Option<WaitCode>, secs: f64, table: Table, inspected_secs: Option<f64>) -> Step {
    let job = read_row(StateName::Starting, true, false, secs, waits);
    let sight = Sight {
        job: seen_job(Phase::Active, false),
        live_pods: true,
        all_seen: false,
        waited: false,
        facts: Facts::default(),
        fate: None,
        trouble: Some(Trouble { said: said.into(), message: "m".into() }),
        inspected_secs,
    };
    let rules = Rules { start_timeout_secs: None, troubles: table, logs: KeepLogs::Failed };
    decide(&job, &Seen::Present(Box::new(sight)), &rules)
}

#[test]
fn nothing_is_stopped_for_what_an_event_told_before_the_events_are_read_again() {
    let told = [("FailedMount", WaitCode::VolumeMount), (crate::trouble::OVER_QUOTA, WaitCode::PodQuota)];
    for (said, code) in told {
        let table = || Table::default().with(&[format!("{said}=20s").parse().unwrap()]);
        assert_eq!(in_trouble(said, Some(code), 25.0, table(), Some(20.0)), Step::Inspect, "{said}");
        assert!(matches!(in_trouble(said, Some(code), 25.0, table(), Some(0.1)), Step::Stop(..)), "{said}");
        let Step::Wait(Some(secs)) = in_trouble(said, Some(code), 1.0, table(), Some(1.0)) else { panic!("{said}") };
        assert!(secs <= INSPECT_AFTER_SECS, "it is read again before its grace is over");
    }
}

#[test]
fn each_trouble_is_borne_for_as_long_as_the_table_says() {
    for line in Table::default().lines() {
        let table = Table::default;
        let (at_once, later) =
            (stopped_for(line.said, None, 1.0, table()), stopped_for(line.said, Some(line.code), 1.0, table()));
        match line.grace {
            Grace::None => assert_eq!(at_once, Some(line.reason), "{}", line.said),
            Grace::For(_) | Grace::UntilStartTimeout => assert_eq!((at_once, later), (None, None), "{}", line.said),
        }
    }
    let short = || Table::default().with(&["ErrImagePull=500ms".parse().unwrap()]);
    assert_eq!(stopped_for("ErrImagePull", Some(WaitCode::ImagePull), 1.0, short()), Some(Reason::ImagePull));
    assert_eq!(stopped_for("ErrImagePull", Some(WaitCode::VolumeMount), 1.0, short()), None, "its time begins anew");
    // A start timeout, which `read_row` sets to 50 s, ends what the table would bear.
    assert_eq!(
        stopped_for("FailedScheduling", Some(WaitCode::Unschedulable), 51.0, Table::default()),
        Some(Reason::Unschedulable)
    );
    assert_eq!(stopped_for("SomethingNew", None, 51.0, Table::default()), Some(Reason::StartTimeout));
}
