//! One transaction for the statements of several files: a source takes an item, stores its job and keeps both in mind, or
//! does nothing.

use sqlx::{Connection, Postgres, Transaction};

use crate::effects::{self, Effect};

use super::{Conn, Error, notices};

/// A transaction: rolled back unless [`commit`](Self::commit) is called.
pub struct Tx<'c>(Transaction<'c, Postgres>);

impl<'c> Tx<'c> {
    pub async fn begin(conn: &'c mut Conn) -> Result<Self, Error> {
        Ok(Self(conn.begin().await?))
    }

    pub fn conn(&mut self) -> &mut Conn {
        &mut self.0
    }

    /// Commits, which has these effects. That a standby did not answer is an error: whoever asked has to ask again.
    pub async fn commit(self, effects: &[Effect]) -> Result<(), Error> {
        let committed = effects::at_all(effects, async { Ok::<_, Error>(self.0.commit().await?) });
        match notices::listen(committed).await {
            (Ok(()), true) => Err(Error::NotReplicated),
            (committed, _) => committed,
        }
    }

    /// Gives back everything, and tells when that is done.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.0.rollback().await?)
    }
}
