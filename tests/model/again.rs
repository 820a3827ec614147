//! What sends a job back to wait, or ends it while it waits: another attempt, a create that is put aside, a deadline, a
//! queue's time-out; and what becomes of the evidence of each attempt.

use crate::{
    AGAIN, CALM, LATE, Longshore, THREE, TWO, broken, fair, finds,
    mutant::Mutant,
    properties::{
        ALL_ENDS_WELL, CANCELLED_WAITS_NOT, CREATED_ONCE, FREED_WHEN_DEAD, GIVEN_BACK_UNMADE, HELD_CURRENT,
        LIVE_WITHIN_CAP, ONE_AFTER_ANOTHER, REMOVED_WHEN_ENDED, REMOVED_WHEN_OVER, SAVED_FIRST, TRIED_AS_OFTEN,
    },
    world::Trouble,
};

#[test]
fn attempts_that_fail_keep_every_promise() {
    let cancelled = Trouble { failures: 2, crashes: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: cancelled, ..AGAIN }), [""; 0]);
    let unheard = Trouble { failures: 1, crashes: 1, pauses: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: unheard, ..AGAIN }), [""; 0]);
    let taken = Trouble { failures: 1, pauses: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: taken, stranger: true, ..AGAIN }), [""; 0]);
}

#[test]
fn attempts_that_are_lost_or_outlived_by_their_pods_keep_every_promise() {
    let trouble = Trouble { failures: 1, faults: 1, deletes: 1, deadlines: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..AGAIN }), [""; 0]);
}

#[test]
fn attempts_that_are_stopped_for_a_deadline_keep_every_promise() {
    let trouble = Trouble { overdue: 2, crashes: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..AGAIN }), [""; 0]);
    let deleted = Trouble { overdue: 1, failures: 1, faults: 1, cancels: 1, deletes: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: deleted, ..AGAIN }), [""; 0]);
}

#[test]
fn creates_that_are_put_aside_keep_every_promise() {
    let trouble = Trouble { refusals: 2, crashes: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..TWO }), [""; 0]);
    let asleep = Trouble { refusals: 1, shutdowns: 1, pauses: 2, ..CALM };
    assert_eq!(broken(Longshore { trouble: asleep, ..TWO }), [""; 0]);
    let tried = Trouble { refusals: 1, failures: 1, overdue: 1, crashes: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: tried, ..AGAIN }), [""; 0]);
}

#[test]
fn queues_that_time_out_keep_every_promise() {
    let trouble = Trouble { queue_timeouts: 1, refusals: 1, failures: 1, crashes: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..AGAIN }), [""; 0]);
}

#[test]
fn removals_that_take_their_time_keep_every_promise() {
    let trouble = Trouble { slow_removals: 2, failures: 1, overdue: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..AGAIN }), [""; 0]);
}

#[test]
fn three_replicas_that_try_again_keep_every_promise() {
    let trouble = Trouble { failures: 1, crashes: 1, pauses: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, attempts: 2, ..THREE }), [""; 0]);
}

/// A row still takes no Job of another attempt for its own, and the late Job is stopped and removed though another runs.
#[test]
fn a_create_that_arrives_while_another_attempt_runs_breaks_these_four_promises_and_no_other() {
    let mut four = [LIVE_WITHIN_CAP, CREATED_ONCE, FREED_WHEN_DEAD, ONE_AFTER_ANOTHER];
    four.sort_unstable();
    let trouble = Trouble { failures: 1, crashes: 1, faults: 2, ..CALM };
    assert_eq!(broken(Longshore { trouble, attempts: 2, ..LATE }), four);
    let given_up = Trouble { overdue: 1, refusals: 1, faults: 1, cancels: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble: given_up, attempts: 2, ..LATE }), four);
}

/// A removal names no version, so it may meet a late Job under the name of the one that it was decided for.
#[test]
fn a_late_create_that_a_late_removal_meets_is_removed_alive() {
    let mut three = [LIVE_WITHIN_CAP, CREATED_ONCE, REMOVED_WHEN_ENDED];
    three.sort_unstable();
    let trouble = Trouble { slow_removals: 1, crashes: 1, faults: 1, ..CALM };
    assert_eq!(broken(Longshore { trouble, ..LATE }), three);
}

#[test]
fn every_fair_run_of_several_attempts_comes_to_rest() {
    let trouble = Trouble { failures: 1, overdue: 1, refusals: 1, cancels: 1, ..CALM };
    fair::comes_to_rest(&Longshore { trouble, ..AGAIN });
    let removals = Trouble { failures: 2, slow_removals: 1, queue_timeouts: 1, crashes: 1, ..CALM };
    fair::comes_to_rest(&Longshore { trouble: removals, ..AGAIN });
}

#[test]
fn an_attempt_begun_beside_the_pods_of_the_one_before_would_spend_a_slot_twice() {
    let model = Longshore { trouble: Trouble { deadlines: 1, ..CALM }, ..AGAIN };
    finds(Mutant::RetriesBesideItsPods, model, FREED_WHEN_DEAD);
    finds(Mutant::RetriesBesideItsPods, model, LIVE_WITHIN_CAP);
    finds(Mutant::RetriesBesideItsPods, model, ONE_AFTER_ANOTHER);
}

#[test]
fn a_cancel_that_comes_as_its_job_fails_would_be_granted_to_the_next_attempt() {
    let model = Longshore { trouble: Trouble { failures: 1, cancels: 1, ..CALM }, ..AGAIN };
    finds(Mutant::RetriesWithoutAskingForTheWish, model, CANCELLED_WAITS_NOT);
}

#[test]
fn a_cancel_of_what_is_stopped_for_its_deadline_would_be_granted_to_the_next_attempt() {
    let model = Longshore { trouble: Trouble { overdue: 1, cancels: 1, ..CALM }, ..AGAIN };
    finds(Mutant::RetriesByWhatItStoppedFor, model, CANCELLED_WAITS_NOT);
}

#[test]
fn a_create_of_an_earlier_attempt_would_be_held_to_be_the_current_one() {
    let model = Longshore { trouble: Trouble { failures: 1, pauses: 1, ..CALM }, ..AGAIN };
    finds(Mutant::RecordsByReplicaAlone, model, HELD_CURRENT);
}

#[test]
fn a_claim_put_aside_after_a_lost_answer_would_leave_a_job_that_no_row_knows() {
    let model = Longshore { trouble: Trouble { refusals: 1, faults: 1, ..CALM }, ..LATE };
    finds(Mutant::PutsAsideWhatMayBeMade, model, GIVEN_BACK_UNMADE);
    finds(Mutant::PutsAsideWhatMayBeMade, model, ALL_ENDS_WELL);
}

#[test]
fn a_claim_put_aside_by_a_task_that_forgot_what_another_sent_would_leave_a_job_that_no_row_knows() {
    let model = Longshore { trouble: Trouble { refusals: 1, faults: 1, pauses: 1, ..CALM }, ..TWO };
    finds(Mutant::ForgetsWhatItSent, model, GIVEN_BACK_UNMADE);
    finds(Mutant::ForgetsWhatItSent, model, ALL_ENDS_WELL);
    let inherited = Longshore { trouble: Trouble { refusals: 1, pauses: 2, ..CALM }, ..TWO };
    finds(Mutant::InheritsNothingItOnceClaimed, inherited, GIVEN_BACK_UNMADE);
}

#[test]
fn a_claim_put_aside_with_its_number_would_spend_an_attempt_that_was_never_made() {
    let model = Longshore { trouble: Trouble { refusals: 1, ..CALM }, ..TWO };
    finds(Mutant::PutsAsideTheNumberToo, model, TRIED_AS_OFTEN);
}

#[test]
fn a_claim_given_up_without_a_look_would_free_the_slot_of_what_was_made() {
    let cancelled = Longshore { trouble: Trouble { faults: 1, cancels: 1, ..CALM }, ..TWO };
    finds(Mutant::GivesUpWithoutALook, cancelled, FREED_WHEN_DEAD);
    let overdue = Longshore { trouble: Trouble { faults: 1, overdue: 1, ..CALM }, ..AGAIN };
    finds(Mutant::GivesUpWithoutALook, overdue, ONE_AFTER_ANOTHER);
    let deleted = Longshore { trouble: Trouble { faults: 1, deletes: 1, overdue: 1, ..CALM }, ..AGAIN };
    finds(Mutant::GivesUpBesideItsPods, deleted, FREED_WHEN_DEAD);
}

#[test]
fn a_job_failed_for_its_queue_as_it_is_claimed_would_free_a_slot_that_is_used() {
    let model = Longshore { trouble: Trouble { queue_timeouts: 1, ..CALM }, ..TWO };
    finds(Mutant::ExpiresUnguarded, model, FREED_WHEN_DEAD);
    finds(Mutant::ExpiresUnguarded, model, LIVE_WITHIN_CAP);
}

#[test]
fn a_removal_that_does_not_wait_for_the_log_would_take_the_evidence_with_it() {
    finds(Mutant::RemovesBeforeSaving, Longshore { logs: true, ..TWO }, SAVED_FIRST);
}

#[test]
fn a_removal_by_the_job_alone_would_hit_its_next_attempt() {
    let model = Longshore { trouble: Trouble { failures: 1, ..CALM }, ..AGAIN };
    finds(Mutant::RemovesByTheJobAlone, model, REMOVED_WHEN_OVER);
    finds(Mutant::RemovesByTheJobAlone, model, REMOVED_WHEN_ENDED);
}

#[test]
fn an_eye_for_the_last_attempt_alone_would_leave_the_jobs_of_the_others() {
    let model = Longshore { trouble: Trouble { failures: 1, ..CALM }, ..AGAIN };
    finds(Mutant::DisposesOfTheLastAttemptAlone, model, ALL_ENDS_WELL);
}

#[test]
fn a_claim_handed_back_though_its_cancel_is_wished_would_wait_for_a_slot_to_be_cancelled_in() {
    let model = Longshore { trouble: Trouble { shutdowns: 1, cancels: 1, ..CALM }, ..TWO };
    finds(Mutant::HandsBackWhatIsToBeCancelled, model, CANCELLED_WAITS_NOT);
}
