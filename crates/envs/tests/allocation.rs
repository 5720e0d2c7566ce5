//! A step allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rescore_envs::{Env, NormalizeObservation, TaskSettings, VecEnv, list, make};

/// The system's allocator, counting the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract;
// counting touches a constant-initialised thread-local without a destructor, which allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![0u8; 100]))) > 0);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn no_step_of_any_task_allocates() {
    let settings = TaskSettings::default();
    for entry in list() {
        if entry.needs_mujoco && !cfg!(feature = "mujoco") {
            continue;
        }
        let env = make(entry.name, &settings).expect("a registered task");
        let mut env = NormalizeObservation::new(env).expect("as many dimensions");
        let mut action = vec![0.0; env.action_space().dim()];
        env.reset(Some(0)).expect("tasks can be reset");
        // From the very first step on.
        for i in 0..600u16 {
            action.fill((f32::from(i) * 0.7).sin());
            let mut done = false;
            let count = allocations(|| {
                done = env.step(&action).expect("a valid action").done();
            });
            assert_eq!(count, 0, "{}, step {i}", entry.name);
            if done {
                env.reset(None).expect("tasks can be reset");
            }
        }

        // A vector environment also resets.
        let mut envs = VecEnv::with_settings(entry.name, &settings, 3, 0).expect("registered");
        envs.set_parallel(false);
        let mut actions = vec![0.0; 3 * envs.action_dim()];
        let count = allocations(|| {
            for i in 0..300u16 {
                actions.fill((f32::from(i) * 0.7).sin());
                envs.step(&actions).expect("valid actions");
            }
        });
        assert_eq!(count, 0, "{}, vectorised", entry.name);
    }
}
