//! What the hot paths of a replica allocate. Counted, not timed: a figure that grows is a regression on any machine.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore::{
    cluster::manifest::{self, Defaults, Identity},
    id::{JobId, Nonce},
    retry::Policy,
    spec::Spec,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates.
fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let made = work();
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    drop(made);
    after - before
}

fn spec(labels: usize) -> Spec {
    Spec {
        image: Some("busybox:latest".into()),
        command: ["sh", "-c", "sleep 60"].map(str::to_owned).to_vec(),
        labels: (0..labels).map(|it| (format!("label{it}"), "value".to_owned())).collect(),
        ..Spec::default()
    }
}

fn build(spec: &Spec) -> k8s_openapi::api::batch::v1::Job {
    let me = Identity {
        instance: "longshore",
        job: JobId(uuid::Uuid::nil()),
        attempt: 1,
        nonce: Nonce(uuid::Uuid::nil()),
        spec_hash: "hash",
        kube_name: "job-1".into(),
        namespace: "default",
        queue: "default",
        job_name: "job",
    };
    let defaults =
        Defaults { image: "busybox".into(), image_pull_policy: "IfNotPresent".into(), start_timeout_secs: None };
    manifest::build(spec, &Policy::default(), &me, &defaults).unwrap()
}

/// One test, because what others allocate at the same time would be counted as well.
#[test]
fn a_job_is_read_and_built_with_a_few_allocations_and_each_label_adds_its_own() {
    build(&spec(0));
    let (bare, labelled) = (spec(0), spec(10));
    let few = allocations(|| build(&bare));
    let more = allocations(|| build(&labelled));
    // A key and a value on the Job and on its pod, and now and then a node of their maps.
    let per_label = (more - few) as f64 / 10.0;
    assert!((4.0..=6.0).contains(&per_label), "a label costs {per_label} allocations");
    let text = allocations(|| bare.text_and_hash());
    // Each field of the Job that is set is one, its key or its value; an object of etcd has no more than a hundred.
    assert!(few <= 100, "building a Job takes {few} allocations");
    assert!(text <= 50, "the text and the hash of a spec take {text} allocations");
}
