//! An exhaustively checked model of the claim, the create, the take-over and what follows them.
//!
//! Tests run the code through the orders of events that someone thought of; this runs a model of its rules through all of
//! them: two or three replicas, two or three jobs, and a bounded amount of trouble ([`world::Trouble`]). What the code does
//! in one statement or one request is one step here, and what it does in two is two ([`steps`]). What must hold is in
//! [`properties`].
//!
//! The model is of the rules as they must be, which is not always as the code has them. Each [`mutant`] breaks one rule, and
//! a test here demands that the checker finds the harm. Some of them were planted, to show that it would; the others are
//! what the code did when the model was made, and a change of the code is checked by looking which of them it still is.
//!
//! Time is the one assumption, [`Longshore::late_creates`]. Without late creates (the lease's spans hold, see
//! `src/lease.rs`), a create that was begun is over, made or not, before a survivor may take the job over; and one that was
//! given up is not made afterwards. With them, a create arrives whenever it likes: the sender was suspended between
//! looking at its lease and sending, or the network kept the request. Most promises need no such assumption, and
//! [`a_create_that_arrives_at_any_later_time_breaks_these_three_promises_and_no_other`] names those that do.
//!
//! Left out: order and queues (any pending job may be claimed), manifests that are refused for good, a finished job that
//! someone asks to be tried again, and the watches' caches: a reconciler decides on the truth, or on nothing yet, and acts
//! on its decision at any later time, which is how an old sight does harm if it can.

mod again;
mod cluster;
mod enabled;
mod fair;
mod mutant;
mod properties;
mod reconciler;
mod steps;
mod tasks;
mod world;

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use mutant::Mutant;
use properties::{
    ALL_ENDS_WELL, CREATED_ONCE, FINISHED_STAYS, FREED_WHEN_DEAD, GIVEN_BACK_UNMADE, LIVE_WITHIN_CAP, RECORDED_FIRST,
    ROWS_WITHIN_CAP, STRANGER_UNTOUCHED,
};
use world::Trouble;

/// One configuration.
#[derive(Debug, Clone, Copy)]
pub struct Longshore {
    pub replicas: usize,
    pub jobs: usize,
    pub cap: u8,
    /// How often a job is tried.
    pub attempts: u8,
    pub trouble: Trouble,
    /// Whether saving the log of an attempt is a step of its own; else it goes with the outcome, and the space is smaller.
    pub logs: bool,
    /// Whether a create may arrive long after its sender's lease.
    pub late_creates: bool,
    /// Whether a stranger's Job has the name that one of the jobs needs.
    pub stranger: bool,
    pub mutant: Option<Mutant>,
}

const CALM: Trouble = Trouble {
    crashes: 0,
    shutdowns: 0,
    pauses: 0,
    faults: 0,
    cancels: 0,
    deletes: 0,
    deadlines: 0,
    failures: 0,
    refusals: 0,
    overdue: 0,
    queue_timeouts: 0,
    slow_removals: 0,
};
const TWO: Longshore = Longshore {
    replicas: 2,
    jobs: 2,
    cap: 1,
    attempts: 1,
    trouble: CALM,
    logs: false,
    late_creates: false,
    stranger: false,
    mutant: None,
};
const THREE: Longshore = Longshore { replicas: 3, ..TWO };
const CAP_OF_TWO: Longshore = Longshore { jobs: 3, cap: 2, ..TWO };
const AGAIN: Longshore = Longshore { attempts: 2, logs: true, ..TWO };
const LATE: Longshore = Longshore { late_creates: true, ..TWO };

/// Explores every world, and answers the properties that do not hold.
fn broken(model: Longshore) -> Vec<&'static str> {
    let begun = Instant::now();
    let checked = model.checker().threads(2).spawn_bfs().join();
    let mut found: Vec<&str> = checked.discoveries().into_keys().collect();
    found.sort_unstable();
    println!("{} worlds, {:?}, {model:?}", checked.unique_state_count(), begun.elapsed());
    for property in model.properties() {
        let comes_up = property.expectation != Expectation::Sometimes || found.contains(&property.name);
        assert!(comes_up, "the model never goes where {:?}", property.name);
    }
    let is_broken = |name: &&str| model.property_of(name).discovery_is_failure();
    found.into_iter().filter(is_broken).collect()
}

/// That `mutant` breaks `promise`, which otherwise holds in the same configuration.
fn finds(mutant: Mutant, model: Longshore, promise: &'static str) {
    let enough = || HasDiscoveries::AnyOf([promise].into());
    let harm = Longshore { mutant: Some(mutant), ..model }.checker().finish_when(enough()).spawn_bfs().join();
    let path = harm.discovery(promise).unwrap_or_else(|| panic!("{mutant:?} passes for sound: {promise}"));
    println!("{mutant:?}, {promise}: {:#?}", path.into_actions());
    let sound = model.checker().finish_when(enough()).spawn_bfs().join();
    assert!(sound.discovery(promise).is_none(), "not the mutant's doing: {promise}");
}

impl Longshore {
    fn property_of(&self, name: &str) -> Expectation {
        let named = self.properties().into_iter().find(|it| it.name == name);
        named.map_or(Expectation::Always, |it| it.expectation)
    }
}

#[test]
fn replicas_that_crash_stop_and_pause_keep_every_promise() {
    let trouble = Trouble { crashes: 1, shutdowns: 1, pauses: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..TWO }), [""; 0]);
    let pauses = Trouble { crashes: 1, shutdowns: 1, pauses: 2, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: pauses, ..TWO }), [""; 0]);
}

#[test]
fn jobs_that_someone_else_deletes_or_that_overstay_keep_every_promise() {
    let trouble = Trouble { crashes: 1, pauses: 1, faults: 1, cancels: 1, deletes: 1, deadlines: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..TWO }), [""; 0]);
}

#[test]
fn three_replicas_keep_every_promise() {
    let trouble = Trouble { crashes: 1, shutdowns: 1, pauses: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..THREE }), [""; 0]);
    let dying = Trouble { crashes: 2, pauses: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: dying, ..THREE }), [""; 0]);
}

#[test]
fn three_jobs_under_a_cap_of_two_keep_every_promise() {
    let trouble = Trouble { crashes: 1, pauses: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..CAP_OF_TWO }), [""; 0]);
    let cancelled = Trouble { crashes: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: cancelled, ..CAP_OF_TWO }), [""; 0]);
}

#[test]
fn a_strangers_job_of_the_same_name_keeps_every_promise() {
    let trouble = Trouble { crashes: 1, pauses: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, stranger: true, ..TWO }), [""; 0]);
}

/// What still holds then: rows stay under the cap, a name is there once, a row takes no second Job for its own, a finished
/// row stays, and the late Job is stopped and removed.
#[test]
fn a_create_that_arrives_at_any_later_time_breaks_these_three_promises_and_no_other() {
    let mut three = [LIVE_WITHIN_CAP, CREATED_ONCE, FREED_WHEN_DEAD];
    three.sort_unstable();
    let trouble = Trouble { crashes: 1, pauses: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..LATE }), three);
    let deleted = Trouble { crashes: 1, faults: 1, cancels: 1, deletes: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: deleted, ..LATE }), three);
}

#[test]
fn every_fair_run_comes_to_rest_with_every_job_ended() {
    let trouble = Trouble { crashes: 1, pauses: 1, faults: 1, cancels: 1, ..CALM };
    fair::comes_to_rest(&Longshore { trouble, ..TWO });
    fair::comes_to_rest(&Longshore { trouble: Trouble { crashes: 1, shutdowns: 1, pauses: 1, ..CALM }, ..THREE });
    fair::comes_to_rest(&Longshore { trouble: Trouble { crashes: 1, faults: 1, deletes: 1, ..CALM }, ..LATE });
}

#[test]
fn counting_in_the_snapshot_of_the_lock_would_spend_a_slot_twice() {
    finds(Mutant::CountsInTheLocksSnapshot, TWO, ROWS_WITHIN_CAP);
    finds(Mutant::CountsInTheLocksSnapshot, TWO, LIVE_WITHIN_CAP);
}

#[test]
fn a_409_without_a_look_at_the_nonce_would_adopt_a_stranger() {
    finds(Mutant::Takes409ForItsOwn, Longshore { stranger: true, ..TWO }, STRANGER_UNTOUCHED);
}

#[test]
fn a_take_over_with_a_new_nonce_would_fail_a_job_that_runs() {
    let model = Longshore { trouble: Trouble { crashes: 1, ..CALM }, ..TWO };
    finds(Mutant::TakesOverWithItsOwnNonce, model, FREED_WHEN_DEAD);
    finds(Mutant::TakesOverWithItsOwnNonce, model, LIVE_WITHIN_CAP);
}

#[test]
fn a_claim_given_back_though_made_would_leave_a_job_that_no_row_knows() {
    let model = Longshore { trouble: Trouble { shutdowns: 1, faults: 1, ..CALM }, ..TWO };
    finds(Mutant::HandsBackAfterASend, model, GIVEN_BACK_UNMADE);
    finds(Mutant::HandsBackAfterASend, model, ALL_ENDS_WELL);
}

#[test]
fn a_slot_freed_as_its_cancel_begins_would_be_held_twice() {
    let model = Longshore { trouble: Trouble { cancels: 1, ..CALM }, ..TWO };
    finds(Mutant::FreesTheSlotOfWhatItStops, model, FREED_WHEN_DEAD);
    finds(Mutant::FreesTheSlotOfWhatItStops, model, LIVE_WITHIN_CAP);
}

#[test]
fn a_record_without_a_guard_would_raise_a_finished_job() {
    let model = Longshore { trouble: Trouble { pauses: 1, ..CALM }, ..TWO };
    finds(Mutant::RecordsUnguarded, model, FINISHED_STAYS);
}

#[test]
fn a_claim_that_comes_back_to_its_claimer_was_still_sent_by_another() {
    let model = Longshore { trouble: Trouble { shutdowns: 1, pauses: 2, ..CALM }, ..TWO };
    finds(Mutant::InheritsNothingItOnceClaimed, model, GIVEN_BACK_UNMADE);
    finds(Mutant::InheritsNothingItOnceClaimed, model, FREED_WHEN_DEAD);
    finds(Mutant::InheritsNothingItOnceClaimed, model, ALL_ENDS_WELL);
}

#[test]
fn a_task_that_slept_through_two_take_overs_would_hand_back_what_was_sent() {
    let model = Longshore { trouble: Trouble { shutdowns: 1, pauses: 2, ..CALM }, ..TWO };
    finds(Mutant::HandsBackUnguarded, model, GIVEN_BACK_UNMADE);
}

#[test]
fn a_lease_that_holds_again_would_let_a_sleeper_create_for_an_attempt_that_is_over() {
    let model = Longshore { trouble: Trouble { pauses: 1, ..CALM }, ..TWO };
    finds(Mutant::TrustsALeaseThatLapsed, model, CREATED_ONCE);
    finds(Mutant::TrustsALeaseThatLapsed, model, LIVE_WITHIN_CAP);
}

#[test]
fn a_job_adopted_while_its_create_is_repeated_would_be_made_again_after_its_end() {
    let model = Longshore { trouble: Trouble { faults: 1, ..CALM }, ..TWO };
    finds(Mutant::AdoptsUnderTheSendersFeet, model, CREATED_ONCE);
    finds(Mutant::AdoptsUnderTheSendersFeet, model, LIVE_WITHIN_CAP);
    let cancelled = Longshore { trouble: Trouble { faults: 1, cancels: 1, ..CALM }, ..TWO };
    finds(Mutant::AdoptsUnderTheSendersFeet, cancelled, FREED_WHEN_DEAD);
}

#[test]
fn reading_the_row_again_before_each_send_would_not_be_enough() {
    let model = Longshore { trouble: Trouble { faults: 1, ..CALM }, ..TWO };
    finds(Mutant::AdoptsThoughSendersReread, model, CREATED_ONCE);
}

#[test]
fn a_create_whose_earlier_self_vanished_would_free_the_slot_of_a_living_pod() {
    let model = Longshore { trouble: Trouble { faults: 1, deletes: 1, ..CALM }, ..TWO };
    finds(Mutant::FreesTheSlotOfWhatVanished, model, FREED_WHEN_DEAD);
}

#[test]
fn a_job_confirmed_gone_without_its_pods_would_free_the_slot_of_a_living_pod() {
    let model = Longshore { trouble: Trouble { deletes: 1, ..CALM }, ..TWO };
    finds(Mutant::ConfirmsTheJobWithoutItsPods, model, FREED_WHEN_DEAD);
}

#[test]
fn pods_counted_by_the_uid_on_record_would_overlook_those_of_a_deleted_job() {
    let model = Longshore { trouble: Trouble { faults: 1, deletes: 1, ..CALM }, ..TWO };
    finds(Mutant::CountsPodsByTheUidOnRecord, model, FREED_WHEN_DEAD);
}

#[test]
fn a_delete_that_does_not_say_which_version_it_saw_would_remove_an_outcome_unrecorded() {
    let model = Longshore { trouble: Trouble { cancels: 1, ..CALM }, ..TWO };
    finds(Mutant::DeletesWhatMayHaveEnded, model, RECORDED_FIRST);
}

#[test]
fn a_job_told_gone_by_its_nonce_would_wait_for_a_late_one_for_ever() {
    let model = Longshore { trouble: Trouble { crashes: 1, deletes: 1, ..CALM }, ..LATE };
    finds(Mutant::TellsGoneByTheNonce, model, ALL_ENDS_WELL);
}
