//! The simulated cluster's memory: pure and synchronous, apart from its HTTP face and from its controllers.
//!
//! Everything lives behind one mutex (`World`), is changed by `put` and `remove` alone, and takes the next revision
//! of one counter, as in etcd. A change wakes whoever must act on it by setting a timer; nothing acts inside a commit.

mod admit;
mod call;
mod defaults;
mod delete;
mod object;
mod patch;
mod quantity;
mod quota;
mod refusal;
mod resource;
mod selector;
mod shelf;
mod strategic;
mod strict;
mod timers;
mod told;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

pub use call::{Actor, Call, Hand};
pub use delete::{DeleteOptions, Deleted, FOREGROUND, ORPHAN, Propagation};
use object::meta;
pub use object::{Key, Object, Record, labels, texts};
pub use patch::{PatchKind, patched};
pub use refusal::Refusal;
pub use resource::Resource;
pub use selector::{FieldSelector, LabelSelector};
pub use shelf::{Change, Happened, Page, Shelf};
pub use strict::{Validation, decode, examine, parse};
pub use timers::{Due, Timers};
use told::Told;
pub use write::random_suffix;

use super::SimConfig;
use super::audit::{Answer, Audit};
use super::control::{Book, Run};
use super::fault::Faults;

pub struct State {
    pub revision: u64,
    pub timers: Timers,
    /// The Job controller's notes, by the Job's uid.
    pub books: HashMap<Uuid, Book>,
    /// What the pretend node knows of its pods, by uid.
    pub runs: HashMap<Uuid, Run>,
    pub audit: Audit,
    pub faults: Faults,
    pub config: Arc<SimConfig>,
    shelves: [Shelf; Resource::ALL.len()],
    places: HashMap<Uuid, Key>,
    /// Pods by the uid of the controller that owns them.
    owned: HashMap<Uuid, BTreeSet<Key>>,
    told: Told,
    touched: [bool; Resource::ALL.len()],
}

/// What the hands need to know of an object as it was before a change.
pub struct Before {
    record: Arc<Record>,
    owner: Option<Uuid>,
    pub leaving: bool,
    pub grace_secs: u64,
}

impl Before {
    fn of(object: &Object) -> Before {
        Before {
            record: object.record().clone(),
            owner: owner(object),
            leaving: object.is_leaving(),
            grace_secs: object.grace_secs(),
        }
    }
}

/// The uid of the controller that owns this object.
pub fn owner(object: &Object) -> Option<Uuid> {
    object.controller().and_then(|uid| uid.parse().ok())
}

impl State {
    pub fn new(config: Arc<SimConfig>, audit: Audit, faults: Faults) -> State {
        let mut state = State {
            revision: 0,
            timers: Timers::default(),
            books: HashMap::new(),
            runs: HashMap::new(),
            audit,
            faults,
            config,
            shelves: Default::default(),
            places: HashMap::new(),
            owned: HashMap::new(),
            told: Told::default(),
            touched: Default::default(),
        };
        for name in ["default", "kube-system"] {
            let mut namespace = json!({"metadata": {"name": name}});
            defaults::fill(Resource::Namespaces, &mut namespace);
            state.insert_new(Resource::Namespaces, namespace);
        }
        state.insert_new(Resource::Nodes, super::control::node_object());
        state
    }

    pub fn shelf(&self, resource: Resource) -> &Shelf {
        &self.shelves[resource as usize]
    }

    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Result<Arc<Object>, Refusal> {
        let key = (namespace.to_owned(), name.to_owned());
        self.shelf(resource).get(&key).cloned().ok_or_else(|| Refusal::not_found(resource, name))
    }

    /// The object with this uid: a Job, pod or namespace.
    pub fn find(&self, resource: Resource, uid: Uuid) -> Option<Arc<Object>> {
        let object = self.shelf(resource).get(self.places.get(&uid)?)?;
        (object.uid().parse() == Ok(uid)).then(|| object.clone())
    }

    pub fn owned_pods(&self, owner: Uuid) -> Vec<Arc<Object>> {
        let keys = self.owned.get(&owner).into_iter().flatten();
        keys.filter_map(|key| self.shelf(Resource::Pods).get(key).cloned()).collect()
    }

    /// Gives a new object its identity and commits it.
    pub fn insert_new(&mut self, resource: Resource, mut value: Value) -> Arc<Object> {
        resource.stamp(&mut value);
        if meta(&value, "uid").is_empty() {
            value["metadata"]["uid"] = Uuid::new_v4().to_string().into();
        }
        value["metadata"]["creationTimestamp"] = seconds(Timestamp::now()).into();
        self.put(resource, value)
    }

    /// Commits the next state of an object.
    pub fn put(&mut self, resource: Resource, value: Value) -> Arc<Object> {
        let key = (meta(&value, "namespace").to_owned(), meta(&value, "name").to_owned());
        let before = self.shelf(resource).get(&key).map(|previous| Before::of(previous));
        self.put_after(resource, value, before)
    }

    pub fn modify(&mut self, resource: Resource, object: &Object, change: impl FnOnce(&mut Value)) -> Arc<Object> {
        let mut value = object.value.clone();
        change(&mut value);
        self.put(resource, value)
    }

    /// The same, without copying the value where nobody else holds it: a copy costs more than all else in a commit.
    pub fn modify_owned(
        &mut self,
        resource: Resource,
        object: Arc<Object>,
        change: impl FnOnce(&mut Value),
    ) -> Arc<Object> {
        let before = self.shelves[resource as usize].take(&object.key()).map(|current| Before::of(&current));
        let mut value = Arc::try_unwrap(object).map_or_else(|shared| shared.value.clone(), |object| object.value);
        change(&mut value);
        self.put_after(resource, value, before)
    }

    /// Commits that an object is gone, and that this was its last state; none if it was gone already.
    pub fn remove(&mut self, resource: Resource, object: &Object) -> Option<Arc<Object>> {
        let before = Before::of(self.shelf(resource).get(&object.key())?);
        self.revision += 1;
        let mut last = object.value.clone();
        last["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let last = Arc::new(Object::new(last));
        self.commit(resource, Happened::Deleted, last.clone(), Some(before));
        Some(last)
    }

    fn put_after(&mut self, resource: Resource, mut value: Value, before: Option<Before>) -> Arc<Object> {
        self.revision += 1;
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(Object::new(value));
        let happened = if before.is_some() { Happened::Modified } else { Happened::Added };
        self.commit(resource, happened, object.clone(), before);
        object
    }

    fn commit(&mut self, resource: Resource, happened: Happened, object: Arc<Object>, before: Option<Before>) {
        self.notice(resource, happened, &object, before.as_ref());
        let previous = before.map(|before| before.record);
        let record = object.record().clone();
        let change = Change { revision: self.revision, at: Instant::now(), happened, object: record, previous };
        self.shelves[resource as usize].apply(change, object, self.config.history);
        self.touched[resource as usize] = true;
    }

    /// Keeps the indices, and sets the timers of those who must act on this change.
    fn notice(&mut self, resource: Resource, happened: Happened, object: &Object, before: Option<&Before>) {
        if !matches!(resource, Resource::Jobs | Resource::Pods | Resource::Namespaces) {
            return;
        }
        let Ok(uid) = object.uid().parse::<Uuid>() else { return };
        match happened {
            Happened::Deleted => self.places.remove(&uid),
            Happened::Added | Happened::Modified => self.places.insert(uid, object.key()),
        };
        if resource == Resource::Pods {
            self.index_owner(happened, object, before);
        }
        super::control::notice(self, resource, happened, uid, object, before);
    }

    fn index_owner(&mut self, happened: Happened, object: &Object, before: Option<&Before>) {
        let before = before.and_then(|before| before.owner);
        let after = owner(object).filter(|_| happened != Happened::Deleted);
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(keys) = self.owned.get_mut(&before)
        {
            keys.remove(&object.key());
            if keys.is_empty() {
                self.owned.remove(&before);
            }
        }
        if let Some(after) = after {
            self.owned.entry(after).or_default().insert(object.key());
        }
    }

    /// Forgets the history of a kind, so that every older resource version is answered with 410.
    pub fn compact(&mut self, resource: Resource) {
        let now = self.revision;
        self.shelves[resource as usize].forget(now);
        self.touched[resource as usize] = true;
    }

    /// Writes an audit line about a write that succeeded.
    pub fn record(&mut self, call: &Call, code: u16, request: Option<&Value>, response: &[u8]) {
        if self.audit.is_on() && call.resource.audited() {
            let request = request.map(Value::to_string);
            let request = request.as_ref().map(String::as_bytes);
            self.audit.write(call, Answer { code, refusal: None, request, response: Some(response) });
        }
    }

    /// Which kinds changed since this was last asked.
    pub fn take_touched(&mut self) -> [bool; Resource::ALL.len()] {
        std::mem::take(&mut self.touched)
    }
}

/// RFC 3339 with whole seconds, as Kubernetes writes most times.
pub fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}
