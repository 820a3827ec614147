//! Finding jobs by what is asked of them, newest first, a bounded stretch at a time.
//!
//! A list is a walk along one index in the order of ids, from the newest down; whatever the index does not know is asked of
//! each job on the way. Ids never change and moves do not shift them, so that pages join without a gap or an overlap however
//! jobs move in between. Of the indexes that fit the filter, that one is walked of which a thousand entries reach furthest
//! back. A walk looks at [`LOOKS`] jobs at most and says how far it came: so no question takes long, however rare what it
//! asks for, and whoever asks on until nothing is left has seen everything.
//!
//! The search and how far it came are one statement, and so one snapshot: were they two, a job that left the index in
//! between would make the stretch longer than what was looked at.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::{id::JobId, lifecycle::StateName};

use super::{Conn, Error};

/// The most jobs that one walk looks at: a few dozen milliseconds if none of them fits.
pub const LOOKS: i64 = 5_000;
/// How far an index is tried: enough to tell a rare value from a common one, and well under a millisecond.
const TRIED: i64 = 1_000;
/// How far a replica's clock, which ids have their time from, may be from the database's without a job being missed by its
/// time of submission.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(1);

/// Which jobs are meant. What is `None`, or empty, does not narrow it.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// In one of these.
    pub states: Vec<StateName>,
    pub queue: Option<String>,
    pub name: Option<Name>,
    /// With each of these labels: of that value, or of any.
    pub labels: Vec<(String, Option<String>)>,
    pub reason: Option<String>,
    /// Submitted at that time or later.
    pub created_after: Option<Timestamp>,
    /// Submitted earlier.
    pub created_before: Option<Timestamp>,
    /// Submitted before, or as, this one was, in the order of the queue.
    pub seq_most: Option<i64>,
}

/// What a job is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Exact(String),
    /// With `*` for any number of characters.
    Pattern(String),
}

impl Name {
    pub fn new(text: String) -> Self {
        if text.contains('*') { Self::Pattern(text) } else { Self::Exact(text) }
    }

    fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Pattern(_) => None,
        }
    }

    /// For `like`.
    fn pattern(&self) -> Option<String> {
        let Self::Pattern(pattern) = self else { return None };
        let mut like = String::with_capacity(pattern.len());
        for c in pattern.chars() {
            match c {
                '*' => like.push('%'),
                '%' | '_' | '\\' => like.extend(['\\', c]),
                _ => like.push(c),
            }
        }
        Some(like)
    }
}

/// What a walk found.
#[derive(Debug)]
pub struct Walked {
    /// The jobs that fit, newest first.
    pub ids: Vec<Uuid>,
    /// Where to go on, if there may be more: everything newer was looked at.
    pub reached: Option<JobId>,
}

/// An index that a walk can go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    All,
    States,
    Name,
    Queue,
    /// The label of this place in the filter.
    Label(usize),
}

/// What a walk is asked, as the statements take it.
struct Asked<'a> {
    below: Uuid,
    from: Uuid,
    states: Vec<&'static str>,
    name: Option<&'a str>,
    pattern: Option<String>,
    keys: Vec<&'a str>,
    values: Vec<Option<&'a str>>,
    filter: &'a Filter,
}

/// Puts the text of one index into a statement: its entries between two ids; and how a job is found from an entry. Indexes of
/// the jobs themselves know the partition too. That of states is of what is not over, or of what holds a slot, which are
/// short, and of each outcome its own; those that are not asked for are not looked into.
///
/// What an index begins with is bounded from both sides and sorted by, though it is the same for all entries: told so, the
/// planner would take any index that is in the order of ids, and walk all jobs in search of a queue that has none. For the
/// same reason ids are bounded there together with it only.
macro_rules! along {
    ($index:expr, $then:ident, $($args:tt),+) => {
        match $index {
            Index::All => $then!($($args),+,
                "select id, part from longshore.jobs where id < $1 and id >= $2",
                "j.id = l.id and j.part = l.part", "id desc", "l.id desc"),
            Index::States => $then!($($args),+,
                "select id, part from (
                     (select id, part from longshore.jobs_live
                       where id < $1 and id >= $2 and $3::text[] && '{scheduled,pending}'::text[]
                       order by id desc limit $8)
                     union all
                     (select id, part from longshore.jobs_live
                       where id < $1 and id >= $2 and not $3::text[] && '{scheduled,pending}'::text[]
                         and $3::text[] && '{starting,running,stopping}'::text[]
                         and state in ('starting', 'running', 'stopping')
                       order by id desc limit $8)
                     union all
                     (select id, part from longshore.jobs
                       where id < $1 and id >= $2 and 'succeeded' = any($3::text[]) and state = 'succeeded'
                       order by id desc limit $8)
                     union all
                     (select id, part from longshore.jobs
                       where id < $1 and id >= $2 and 'failed' = any($3::text[]) and state = 'failed'
                       order by id desc limit $8)
                     union all
                     (select id, part from longshore.jobs
                       where id < $1 and id >= $2 and 'cancelled' = any($3::text[]) and state = 'cancelled'
                       order by id desc limit $8)
                 ) of_states",
                "j.id = l.id and j.part = l.part", "id desc", "l.id desc"),
            Index::Name => $then!($($args),+,
                "select name as a, job_id as id from longshore.job_specs
                  where (name, job_id) < ($4, $1) and (name, job_id) >= ($4, $2)",
                "j.id = l.id", "a desc, id desc", "l.a desc, l.id desc"),
            Index::Queue => $then!($($args),+,
                "select queue as a, job_id as id from longshore.job_specs
                  where (queue, job_id) < ($5, $1) and (queue, job_id) >= ($5, $2)",
                "j.id = l.id", "a desc, id desc", "l.a desc, l.id desc"),
            Index::Label(_) => $then!($($args),+,
                "select key as a, value as b, job_id as id from longshore.job_labels
                  where (key, value, job_id) < (($6::text[])[1], ($7::text[])[1], $1)
                    and (key, value, job_id) >= (($6::text[])[1], ($7::text[])[1], $2)",
                "j.id = l.id", "a desc, b desc, id desc", "l.a desc, l.b desc, l.id desc"),
        }
    };
}

/// The walk along one index. The look-ups come in the order of its entries, without a sort between them, so that a page that
/// fills early looks at no more jobs than it must; how far a page came that did not fill is asked only then.
macro_rules! found_along {
    ($conn:ident, $asked:ident, $most:ident, $index:tt, $job:tt, $order:tt, $joined:tt) => {
        sqlx::query_as!(
            Found,
            "with found as materialized (
                 select l.id
                   from (select * from ("
                + $index
                + ") entries order by "
                + $order
                + " limit $8) l
                   join longshore.jobs j on "
                + $job
                + "
                  where (cardinality($3::text[]) = 0 or j.state = any($3::text[]))
                    and ($4::text is null or j.name = $4)
                    and ($5::text is null or j.queue = $5)
                    and not exists (
                        select from unnest($6::text[], $7::text[]) wanted (key, value)
                         where not exists (
                             select from longshore.job_labels has
                              where has.job_id = j.id and has.key = wanted.key
                                and (wanted.value is null or has.value = wanted.value)))
                    and ($9::text is null or j.name like $9)
                    and ($10::text is null or j.reason = $10)
                    and ($11::timestamptz is null or j.created_at >= $11)
                    and ($12::timestamptz is null or j.created_at < $12)
                    and ($13::bigint is null or j.seq <= $13)
                  order by "
                + $joined
                + "
                  limit $14)
             select array(select id from found order by id desc) as \"ids!\",
                    case when (select count(*) from found) < $14
                         then (select id from ("
                + $index
                + ") entries order by "
                + $order
                + " offset $8 - 1 limit 1) end as reached",
            $asked.below,
            $asked.from,
            &$asked.states as _,
            $asked.name,
            $asked.filter.queue.as_deref(),
            &$asked.keys as _,
            &$asked.values as _,
            LOOKS,
            $asked.pattern.as_deref(),
            $asked.filter.reason.as_deref(),
            $asked.filter.created_after.map(|it| it.to_sqlx()) as _,
            $asked.filter.created_before.map(|it| it.to_sqlx()) as _,
            $asked.filter.seq_most,
            $most
        )
        .fetch_one(&mut *$conn)
        .await
    };
}

/// How far back the first entries of one index reach; none: to its end.
macro_rules! reach_along {
    ($conn:ident, $asked:ident, $index:tt, $job:tt, $order:tt, $joined:tt) => {
        sqlx::query_scalar!(
            "select id as \"id!\" from (" + $index + ") entries
              where $3::text[] is not null and $6::text[] is not null and $7::text[] is not null and $8::bigint is not null
                and ($4::text is null or true) and ($5::text is null or true)
              order by " + $order + " offset $9 limit 1",
            $asked.below,
            $asked.from,
            &$asked.states as _,
            $asked.name,
            $asked.filter.queue.as_deref(),
            &$asked.keys as _,
            &$asked.values as _,
            LOOKS,
            TRIED
        )
        .fetch_optional(&mut *$conn)
        .await
    };
}

struct Found {
    ids: Vec<Uuid>,
    reached: Option<Uuid>,
}

/// The newest `most` jobs that fit, of those submitted before the one with id `before`, if given, in the order of ids.
pub async fn walk(conn: &mut Conn, filter: &Filter, before: Option<JobId>, most: i64) -> Result<Walked, Error> {
    let mut asked = Asked::new(filter, before);
    let index = best(conn, &mut asked).await?;
    asked.put_first(index);
    let found = along!(index, found_along, conn, asked, most)?;
    let full = found.ids.len() as i64 >= most;
    let reached = if full { found.ids.last().copied() } else { found.reached };
    Ok(Walked { ids: found.ids, reached: reached.map(JobId) })
}

/// Of the indexes that fit, the one to walk.
async fn best(conn: &mut Conn, asked: &mut Asked<'_>) -> Result<Index, Error> {
    let fitting = asked.indexes();
    let [first, _, ..] = fitting[..] else { return Ok(fitting.first().copied().unwrap_or(Index::All)) };
    let mut best = (first, Uuid::max());
    for index in fitting {
        asked.put_first(index);
        let reaches = along!(index, reach_along, conn, asked)?;
        asked.put_first(index);
        match reaches {
            None => return Ok(index),
            Some(reaches) if reaches < best.1 => best = (index, reaches),
            Some(_) => {}
        }
    }
    Ok(best.0)
}

impl<'a> Asked<'a> {
    fn new(filter: &'a Filter, before: Option<JobId>) -> Self {
        let id_at = |at: Timestamp| first_id(at.as_millisecond());
        let newest = filter.created_before.and_then(|it| it.checked_add(CLOCKS_APART).ok()).map_or(Uuid::max(), id_at);
        let oldest = filter.created_after.and_then(|it| it.checked_sub(CLOCKS_APART).ok()).map_or(Uuid::nil(), id_at);
        Self {
            below: before.map_or(newest, |it| it.0.min(newest)),
            from: oldest,
            states: filter.states.iter().map(|it| it.name()).collect(),
            name: filter.name.as_ref().and_then(Name::exact),
            pattern: filter.name.as_ref().and_then(Name::pattern),
            keys: filter.labels.iter().map(|it| it.0.as_str()).collect(),
            values: filter.labels.iter().map(|it| it.1.as_deref()).collect(),
            filter,
        }
    }

    fn indexes(&self) -> Vec<Index> {
        let mut fitting = Vec::new();
        fitting.extend(self.name.map(|_| Index::Name));
        let valued = self.values.iter().enumerate().filter(|it| it.1.is_some());
        fitting.extend(valued.map(|it| Index::Label(it.0)));
        fitting.extend((!self.states.is_empty()).then_some(Index::States));
        fitting.extend(self.filter.queue.as_ref().map(|_| Index::Queue));
        fitting
    }

    /// The statements walk the label that comes first. Called twice, it leaves everything as it was.
    fn put_first(&mut self, index: Index) {
        if let Index::Label(place) = index {
            self.keys.swap(0, place);
            self.values.swap(0, place);
        }
    }
}

/// The least id that a job submitted in that millisecond can have: UUIDv7 begins with the time.
fn first_id(millis: i64) -> Uuid {
    let millis = u128::try_from(millis).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}
