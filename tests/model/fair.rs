//! What a search for bad worlds cannot tell: that good ones are reached. If no step that the world owes can ever be part of
//! a circle, then every run that takes owed steps whenever there are some, and has only so much trouble, comes to rest; and
//! that a world at rest is in order, is a property.

use std::collections::HashMap;

use stateright::Model;

use crate::{Longshore, world::World};

/// Explores every world, and looks for a circle of owed steps by taking away, again and again, the worlds that owe nothing
/// but steps into worlds that were taken away.
pub fn comes_to_rest(model: &Longshore) {
    let (mut index, mut worlds) = (HashMap::new(), Vec::new());
    let mut number = |world: World, worlds: &mut Vec<World>| {
        *index.entry(world).or_insert_with(|| {
            worlds.push(world);
            worlds.len() - 1
        })
    };
    for world in model.init_states() {
        number(world, &mut worlds);
    }
    let (mut owed_by, mut owes): (Vec<Vec<usize>>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < worlds.len() {
        let (world, mut steps) = (worlds[at], Vec::new());
        model.progress(&world, &mut steps);
        let owed = steps.len();
        model.trouble(&world, &mut steps);
        owes.push(owed);
        for (nth, step) in steps.into_iter().enumerate() {
            let next = model.next_state(&world, step).map(|it| number(it, &mut worlds));
            owed_by.resize(worlds.len(), Vec::new());
            if let Some(next) = next.filter(|_| nth < owed) {
                owed_by[next].push(at);
            }
        }
        at += 1;
    }
    let mut settled: Vec<usize> = (0..worlds.len()).filter(|it| owes[*it] == 0).collect();
    let mut count = 0;
    while let Some(world) = settled.pop() {
        count += 1;
        for before in &owed_by[world] {
            owes[*before] -= 1;
            if owes[*before] == 0 {
                settled.push(*before);
            }
        }
    }
    let turning = (0..worlds.len()).find(|it| owes[*it] > 0).map(|it| worlds[it]);
    assert_eq!(count, worlds.len(), "a fair run may turn in circles, from {turning:#?}");
    println!("{count} worlds, none of which is on a circle of owed steps, {model:?}");
}
