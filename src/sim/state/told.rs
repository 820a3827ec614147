//! The events (the kind) that were told: the same thing told again is counted, and the oldest make room.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::object::Key;
use super::resource::Resource;
use super::{Object, State};

#[derive(Default)]
pub struct Told {
    /// In the order in which they were first told. An entry here outlives an event that somebody deletes.
    order: VecDeque<Sameness>,
    same: HashMap<Sameness, Key>,
}

/// What two events must share to be one that happened twice.
type Sameness = [String; 6];

fn sameness(event: &Value) -> Sameness {
    let about = &event["involvedObject"];
    let parts = [&about["uid"], &about["fieldPath"], &event["type"], &event["reason"], &event["message"]];
    let [uid, field, kind, reason, message] = parts.map(|part| part.as_str().unwrap_or_default().to_owned());
    [uid, field, kind, reason, message, event["reportingComponent"].as_str().unwrap_or_default().to_owned()]
}

impl State {
    /// Tells an event about an object.
    pub fn tell(&mut self, event: Value) {
        if self.config.max_events == 0 {
            return;
        }
        let same = sameness(&event);
        let before = self.told.same.get(&same).and_then(|key| self.shelf(Resource::Events).get(key).cloned());
        if let Some(before) = before {
            self.count_again(&before, &event);
            return;
        }
        let key = self.insert_new(Resource::Events, event).key();
        self.told.order.push_back(same.clone());
        self.told.same.insert(same, key);
        while self.told.order.len() > self.config.max_events {
            let key = self.told.order.pop_front().and_then(|same| self.told.same.remove(&same));
            if let Some(oldest) = key.and_then(|key| self.shelf(Resource::Events).get(&key).cloned()) {
                self.remove(Resource::Events, &oldest);
            }
        }
    }

    fn count_again(&mut self, before: &Object, event: &Value) {
        self.modify(Resource::Events, before, |value| {
            value["count"] = (value["count"].as_u64().unwrap_or(1) + 1).into();
            value["lastTimestamp"] = event["lastTimestamp"].clone();
        });
    }
}
