//! Many callers, one statement: what is asked while a statement is under way goes together into the next one.
//!
//! Nobody waits for company: a caller who finds nothing under way is served at once and alone. Under load the price of a
//! commit, of a round trip and of a plan is shared by all that came meanwhile, so that the rate grows with the load.
//! The work is done apart from its callers: one that goes away does not take the others' answers with it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::effects::LostAnswer;

use super::{Conn, Db, Error};

/// The most that goes into one statement: it bounds how long the statement takes, a few tens of milliseconds.
const MOST_TOGETHER: usize = 500;
/// The most that waits for its turn; whoever comes then is told at once that the database is not keeping up.
const MOST_WAITING: usize = 10_000;

/// Asks all of `asks` in one transaction, and answers each, in their order.
type Run<A, R> = Box<dyn for<'a> Fn(&'a mut Conn, &'a [A]) -> BoxFuture<'a, Result<Vec<R>, Error>> + Send + Sync>;
type Answer<R> = oneshot::Sender<Result<R, Error>>;

/// A counter at which callers are served together.
pub struct Gather<A, R> {
    db: Arc<Db>,
    run: Run<A, R>,
    waiting: Mutex<VecDeque<(A, Answer<R>)>>,
    under_way: Arc<Semaphore>,
}

impl<A: Send + Sync + 'static, R: Send + 'static> Gather<A, R> {
    /// `at_once`: how many statements may be under way, each on a connection of its own.
    pub fn new(
        db: Arc<Db>,
        at_once: usize,
        run: impl for<'a> Fn(&'a mut Conn, &'a [A]) -> BoxFuture<'a, Result<Vec<R>, Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            run: Box::new(run),
            waiting: Mutex::default(),
            under_way: Arc::new(Semaphore::new(at_once)),
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// What kept the statement from being done. Where it is not known whether it was, everyone in it hears so.
    pub async fn ask(self: &Arc<Self>, ask: A) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MOST_WAITING {
                return Err(Error::Away(sqlx::Error::PoolTimedOut));
            }
            waiting.push_back((ask, answer));
        }
        self.clone().serve_if_free();
        // Nobody answers when the work panicked.
        answered.await.unwrap_or_else(|_| Err(Error::lost_answer()))
    }

    fn serve_if_free(self: Arc<Self>) {
        if let Ok(permit) = self.under_way.clone().try_acquire_owned() {
            tokio::spawn(async move { self.serve(permit).await });
        }
    }

    async fn serve(self: Arc<Self>, permit: OwnedSemaphorePermit) {
        loop {
            let (asks, answers) = self.take();
            if asks.is_empty() {
                break;
            }
            self.serve_together(asks, answers).await;
        }
        drop(permit);
        // Whoever came after the last look, and before the permit was given back, found nobody to serve it.
        if !self.waiting().is_empty() {
            self.serve_if_free();
        }
    }

    async fn serve_together(&self, asks: Vec<A>, answers: Vec<Answer<R>>) {
        let told = |answer: Answer<R>, said| {
            // A caller that went away needs no answer.
            let _ = answer.send(said);
        };
        let mut answers = answers.into_iter();
        match self.ask_all(&asks).await {
            Ok(said) => answers.zip(said).for_each(|(answer, said)| told(answer, Ok(said))),
            Err(err) if asks.len() == 1 || err.for_another().is_some() => {
                let first = answers.next();
                for answer in answers {
                    told(answer, Err(err.for_another().unwrap_or_else(Error::lost_answer)));
                }
                if let Some(first) = first {
                    told(first, Err(err));
                }
            }
            // Nothing was done, for what may be the fault of one of them: each for itself.
            Err(_) => {
                for (ask, answer) in asks.iter().zip(answers) {
                    let said = self.ask_all(std::slice::from_ref(ask)).await;
                    told(answer, said.and_then(|mut it| it.pop().ok_or_else(Error::lost_answer)));
                }
            }
        }
    }

    async fn ask_all(&self, asks: &[A]) -> Result<Vec<R>, Error> {
        let asked = self.db.within(async { (self.run)(&mut *self.db.conn().await?, asks).await }).await;
        if let Err(Error::NoAnswer(_)) = &asked {
            self.db.broke();
        }
        asked
    }

    fn take(&self) -> (Vec<A>, Vec<Answer<R>>) {
        let mut waiting = self.waiting();
        let count = waiting.len().min(MOST_TOGETHER);
        waiting.drain(..count).unzip()
    }

    /// The queue is whole after every statement, so a panic elsewhere leaves nothing half done in it.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(A, Answer<R>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
