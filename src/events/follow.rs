//! One listener: reads up to where the reader is, and hears from it from there; and again, whenever it falls behind.

use std::sync::Arc;

use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{self, error::RecvError},
};

use crate::store::{self, stream};

use super::{Hub, Look, Place, Position, Told};

/// The most events that one who comes back is told of. Counting them, and finding where they begin, takes less than
/// a second at this number; a client that missed more is better off with a list of the jobs.
const MISSED: i64 = 1_000_000;

/// Why a stream ends, or does not begin.
#[derive(Debug)]
pub enum Ended {
    /// What happened after its place is not kept any more, or cannot be told from what it saw.
    Gone(&'static str),
    /// The reader did not look in its time: the database is away.
    Away,
    /// The replica stops.
    Stopped,
    Failed(store::Error),
}

impl From<store::Error> for Ended {
    fn from(err: store::Error) -> Self {
        Self::Failed(err)
    }
}

/// Events that follow each other, and the place before the first: after each it is that with its id.
pub struct Piece {
    pub events: Arc<[Told]>,
    pub before: Place,
}

/// Where a listener gets its events from.
enum Source {
    /// From the reader.
    Heard,
    /// It missed something that was told, and has to find the reader again.
    Behind,
    /// It reads for itself until there, and hears the reader from there on. `least`: how far down the span between
    /// `place.from` and `place.to` begins, once that is known.
    Read { until: Box<Position>, least: Option<i64> },
}

/// A listener.
pub struct Follower {
    hub: Arc<Hub>,
    place: Place,
    hears: broadcast::Receiver<Arc<Look>>,
    source: Source,
    _admitted: OwnedSemaphorePermit,
}

impl Follower {
    /// Begins after `place`, or else now.
    pub async fn begin(hub: &Arc<Hub>, admitted: OwnedSemaphorePermit, place: Option<Place>) -> Result<Self, Ended> {
        let (hears, until) = join(hub).await?;
        let place = match place {
            None => Place::at(until.epoch.clone(), until.millis, until.seen.clone()),
            Some(place) => place,
        };
        check(hub, &place, &until)?;
        let source = Source::Read { until: Box::new(until), least: None };
        Ok(Self { hub: hub.clone(), place, hears, source, _admitted: admitted })
    }

    /// Where it is: all before was handed out.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The next events. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Piece, Ended> {
        loop {
            let piece = match &self.source {
                Source::Heard => match self.hears.recv().await {
                    Ok(look) => self.hear(&look),
                    Err(RecvError::Lagged(_)) => {
                        self.source = Source::Behind;
                        None
                    }
                    Err(RecvError::Closed) => return Err(Ended::Stopped),
                },
                Source::Behind => {
                    self.find_reader().await?;
                    None
                }
                Source::Read { .. } => self.read().await?,
            };
            if let Some(piece) = piece.filter(|it| !it.events.is_empty()) {
                return Ok(piece);
            }
        }
    }

    fn hear(&mut self, look: &Look) -> Option<Piece> {
        let Some(events) = look.events.clone() else {
            self.source = Source::Behind;
            return None;
        };
        let (epoch, millis) = (look.epoch.clone(), look.millis);
        self.place = Place::at(epoch.clone(), millis, look.to.clone());
        Some(Piece { events, before: Place { epoch, millis, from: look.from.clone(), to: look.to.clone(), after: 0 } })
    }

    async fn find_reader(&mut self) -> Result<(), Ended> {
        let (hears, until) = join(&self.hub).await?;
        check(&self.hub, &self.place, &until)?;
        self.hears = hears;
        self.source = Source::Read { until: Box::new(until), least: None };
        Ok(())
    }

    /// A page of the way, if there is one; the end of it, else.
    async fn read(&mut self) -> Result<Option<Piece>, Ended> {
        let Source::Read { until, least: known } = &mut self.source else { return Ok(None) };
        if self.place.from == self.place.to {
            if self.place.to == until.seen {
                self.source = Source::Heard;
                return Ok(None);
            }
            // Its own span is read; the next is all the rest.
            let Position { epoch, millis, seen } = (**until).clone();
            self.place = Place { epoch, millis, to: seen, after: 0, from: self.place.from.clone() };
            *known = None;
        }
        let place = &self.place;
        let (since, till) = (place.from.to_string(), place.to.to_string());
        let (hub, measured) = (&self.hub, *known);
        let page = async {
            let mut conn = hub.requests_db.conn().await?;
            let least = match measured {
                Some(least) => least,
                None => {
                    let span = stream::measure(&mut conn, &since, Some(&till), MISSED).await?;
                    if span.events >= MISSED {
                        return Ok(None);
                    }
                    span.least
                }
            };
            let page = stream::page(&mut conn, &since, &till, place.after, least).await?;
            Ok::<_, store::Error>(Some((least, page)))
        };
        let turn = hub.reading.acquire().await.map_err(|_| Ended::Stopped)?;
        let Some((least, page)) = hub.requests_db.within(page).await? else {
            return Err(Ended::Gone("over a million events came after it"));
        };
        drop(turn);
        *known = Some(least);
        let before = self.place.clone();
        match page.last() {
            Some(last) if page.len() == stream::PAGE => self.place.after = last.id,
            _ => {
                let Place { epoch, millis, to, .. } = before.clone();
                self.place = Place::at(epoch, millis, to);
            }
        }
        let events: Arc<[Told]> = page.into_iter().map(Told::new).collect();
        Ok(Some(Piece { events, before }))
    }
}

/// Begins to hear the reader, once it has looked again: then it has seen all that anyone was told before.
async fn join(hub: &Hub) -> Result<(broadcast::Receiver<Arc<Look>>, Position), Ended> {
    if !hub.fresh().await {
        return Err(Ended::Away);
    }
    hub.join().ok_or(Ended::Away)
}

/// Whether all that came after `place` can be read up to `until`.
fn check(hub: &Hub, place: &Place, until: &Position) -> Result<(), Ended> {
    if place.epoch != until.epoch {
        return Err(Ended::Gone("the database was restored, or failed over, since"));
    }
    if !until.seen.includes(&place.to) {
        return Err(Ended::Gone("it is ahead of all that has happened"));
    }
    let age = until.millis.saturating_sub(place.millis);
    if hub.retention.is_some_and(|kept| i128::from(age) > kept.as_millis() as i128) {
        return Err(Ended::Gone("it is older than what is kept"));
    }
    Ok(())
}
