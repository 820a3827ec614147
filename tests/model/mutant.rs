//! Rules that can be broken, one at a time, to see that the checker notices.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    // Planted.
    /// Holders are counted by the statement that locks the cap, in a snapshot older than the lock.
    CountsInTheLocksSnapshot,
    /// A Job of the right name is taken for one's own, whatever its nonce.
    Takes409ForItsOwn,
    /// A survivor makes a nonce of its own.
    TakesOverWithItsOwnNonce,
    HandsBackAfterASend,
    /// The row is finished when its Job is to be deleted, not when it is gone.
    FreesTheSlotOfWhatItStops,
    /// A create is recorded whatever became of the row meanwhile.
    RecordsUnguarded,
    /// As [`Self::AdoptsUnderTheSendersFeet`], and each create first reads its row again: a remedy that is none.
    AdoptsThoughSendersReread,
    /// A Job that says it has failed is tried again while its pod is yet to die.
    RetriesBesideItsPods,
    /// Whether a cancel is wished is read with the row, and not asked by the statement that sends it back.
    RetriesWithoutAskingForTheWish,
    /// What is stopped for its deadline is tried again, whoever wants it cancelled meanwhile.
    RetriesByWhatItStoppedFor,
    /// A create is recorded if the row names the same replica, whatever its attempt.
    RecordsByReplicaAlone,
    /// A claim is put aside once its create was refused, though the answer to an earlier one was lost.
    PutsAsideWhatMayBeMade,
    /// A task asks whether its claim was taken over, and not whether an earlier task of its own process lost an answer.
    ForgetsWhatItSent,
    /// A claim that is put aside keeps its attempt's number.
    PutsAsideTheNumberToo,
    /// A claim that is to be cancelled, or overdue, ends at once, though its Job may have been made.
    GivesUpWithoutALook,
    /// The Job of such a claim is looked for, and pods that outlive it are not.
    GivesUpBesideItsPods,
    /// A job that waited for too long is failed without a look whether it still waits.
    ExpiresUnguarded,
    RemovesBeforeSaving,
    /// A removal names the job, and not its attempt.
    RemovesByTheJobAlone,
    DisposesOfTheLastAttemptAlone,

    // Not planted: so did the code that the model was made from (commit b843348), and making the model found it out.
    /// `inherited` is `claimed_by is distinct from me`: a claim that was taken over, and then taken back, does not count
    /// as inherited, though the replica between may have sent something.
    InheritsNothingItOnceClaimed,
    /// `hand_back` asks for the same replica and attempt, not for the version that was read.
    HandsBackUnguarded,
    /// A task asks whether the lease holds now, not whether it has held since the row was read.
    TrustsALeaseThatLapsed,
    /// A reconciler records the Job of a claim while the claimer is still repeating its create.
    AdoptsUnderTheSendersFeet,
    /// 409, and then nothing there: the job fails at once, whatever pods the vanished Job left.
    FreesTheSlotOfWhatVanished,
    /// `is_gone` asks the API server about the Job, and for its pods believes a watch that may not have shown them yet.
    ConfirmsTheJobWithoutItsPods,
    /// Pods are the attempt's by the uid on record, so those of a Job that was deleted before it was recorded are nobody's.
    CountsPodsByTheUidOnRecord,
    /// `stop` names a uid and no resourceVersion, so it may hit a Job that has ended since; and a Job that says it has
    /// failed is deleted if its pods still live.
    DeletesWhatMayHaveEnded,
    /// `hand_back` does not look whether the job is to be cancelled, which then waits for a slot to be cancelled in.
    HandsBackWhatIsToBeCancelled,
    /// `is_gone` compares nonces and no uids, so that a Job made by a late create counts as the one on record.
    TellsGoneByTheNonce,
}
