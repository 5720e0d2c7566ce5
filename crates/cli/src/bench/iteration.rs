//! A whole iteration of training, in parts.

use std::fmt::Write as _;
use std::time::Instant;

use rescore_kernels::RescoreBackend;
use rescore_runner::RunError;
use rescore_runner::backend::computes_at_once;
use rescore_runner::config::Config;
use rescore_runner::interrupt::Interrupt;
use rescore_runner::run::Run;
use rescore_runner::schedule::UpdateSchedule;
use rescore_runner::{Environments, folder};
use rescore_store::StoreError;

use super::timeline::{DeviceTimes, Plug, Span, draw, wait};
use super::{Times, WARM_UP, dims, flops::Counts, precision, repeat, variant_of};
use crate::start;

/// Parts of an iteration on the host, in their order. With `overlap` the next batch is drawn after
/// acting, and stepping holds the updates, too.
const PARTS: [&str; 5] = [
    "act",
    "draw ahead",
    "read actions",
    "step and store",
    "update",
];

/// How many times the device acts in a measurement of it.
const ACTS: u32 = 8;
/// How many updates it makes in one: an even number, because the policy learns on every second.
const UPDATES: u32 = 4;

/// Milliseconds of an iteration (one step of all environments and the updates due for it; two
/// iterations a repetition, because the policy learns on every second update) and of its parts.
/// Runs in a folder of its own, which is removed.
pub fn measure<B: RescoreBackend>(config: &Config, device: &B::Device) -> Result<Times, RunError> {
    let temporary = tempfile::tempdir().map_err(StoreError::io("create", &std::env::temp_dir()))?;
    let run_folder = folder::create(Some(temporary.path()), config, start(config))?;
    let envs = Environments::new(config)?;
    let agent = config.new_agent::<B>(envs.dims(), device)?;
    let mut run = Run::new(config, agent, envs, &run_folder, device)?;
    run.warm_up(&Interrupt::default())?;
    let schedule = UpdateSchedule::of(&config.training);
    let mut iterations = Vec::new();
    let first = run.agent.updates();
    let mut iteration = || -> Result<(), RunError> {
        let mut parts = [0.0; PARTS.len()];
        let mut begin = Instant::now();
        let mut ended = |part: usize| {
            let now = Instant::now();
            parts[part] += (now - begin).as_secs_f64() * 1e3;
            begin = now;
        };
        let observations = run.observe()?;
        let actions = run.act(&observations);
        ended(0);
        let due = schedule.due(run.step + config.training.num_envs as u64);
        if config.training.overlap {
            run.draw_ahead(due);
            ended(1);
        }
        let actions = run.read(actions)?;
        ended(2);
        if config.training.overlap {
            run.interact_while_learning(&observations, &actions, due)?;
        } else {
            run.interact(&observations, &actions)?;
        }
        run.advance();
        ended(3);
        while run.agent.updates() < schedule.due(run.step) {
            run.update()?;
        }
        if !config.training.overlap {
            ended(4);
        }
        iterations.push(parts);
        Ok(())
    };
    let mut failed = Ok(());
    let pairs = repeat(|| {
        for _ in 0..2 {
            if failed.is_ok() {
                failed = iteration();
            }
        }
    });
    failed?;
    let updates = (run.agent.updates() - first) as f64 / iterations.len() as f64;
    // Means, because the policy learns on every second update.
    let iterations = &iterations[2 * WARM_UP..];
    let mean = |part: usize| iterations.iter().map(|parts| parts[part]).sum::<f64>();
    let parts: [f64; PARTS.len()] =
        std::array::from_fn(|part| mean(part) / iterations.len() as f64);
    let device = if computes_at_once(&config.backend) {
        None
    } else {
        Some(on_device(&mut run, parts, updates, device)?)
    };
    let shown = PARTS.into_iter().zip(parts).filter(|(_, ms)| *ms > 0.0);
    Ok(Times {
        variant: variant_of(config),
        precision: precision(config),
        ms: pairs.into_iter().map(|ms| ms / 2.0).collect(),
        rows: config.training.batch_size,
        flops: Some(Counts::new(config, dims(config)?)?.iteration(config)),
        parts: shown.collect(),
        device,
    })
}

/// What the device does during an iteration whose parts on the host last `parts` and which makes
/// `updates` updates due, and a picture of both.
fn on_device<B: RescoreBackend>(
    run: &mut Run<'_, B>,
    parts: [f64; PARTS.len()],
    updates: f64,
    device: &B::Device,
) -> Result<DeviceTimes, RunError> {
    let total: f64 = parts.iter().sum();
    let observations = run.observe()?;
    // Longer than the host takes to hand over what is measured, which is several of each, because
    // the plug's own time varies.
    let plug = Plug::<B>::new(6.0 * total, device)?;
    let several = plug.device_ms(|| {
        for _ in 0..ACTS {
            drop(run.act(&observations));
        }
    })?;
    let act_ms = several / f64::from(ACTS);
    let mut failed = Ok(());
    let several = plug.device_ms(|| {
        for _ in 0..UPDATES {
            if failed.is_ok() {
                failed = run.learn();
            }
        }
    })?;
    failed?;
    let update_ms = updates * several / f64::from(UPDATES);
    let actions = run.read(run.act(&observations))?;
    wait::<B>(device)?;
    let start = Instant::now();
    run.interact(&observations, &actions)?;
    let stepping = start.elapsed().as_secs_f64() * 1e3;

    let busy = (act_ms + update_ms) / total;
    let mut begin = [0.0; PARTS.len()];
    for part in 1..PARTS.len() {
        begin[part] = begin[part - 1] + parts[part - 1];
    }
    let overlap = run.config.training.overlap;
    let span = |letter, begin, ms| Span { letter, begin, ms };
    let host = [
        ('a', 0),
        ('d', 1),
        ('w', 2),
        (if overlap { 'u' } else { 's' }, 3),
        ('u', 4),
    ];
    let host = host.into_iter().filter(|(_, part)| parts[*part] > 0.0);
    let host = host.map(|(letter, part)| span(letter, begin[part], parts[part]));
    let mut lanes = vec![("host", host.collect())];
    if overlap {
        lanes.push(("worker", vec![span('s', begin[3], stepping)]));
    }
    // The actions are there when waiting for them ends; updates begin as soon as they are handed
    // over.
    let acting = span('a', (begin[3] - act_ms).max(0.0), act_ms);
    let updating = span('u', begin[if overlap { 3 } else { 4 }], update_ms);
    lanes.push(("device", vec![updating, acting]));
    let mut picture = draw(total, &lanes);
    let _ = write!(
        picture,
        "\n         a act, d draw the next batch, w wait for the actions, s step and store, u update; \
         device {:.0} % busy ({act_ms:.3} ms acting, {:.3} ms updating)",
        100.0 * busy,
        update_ms
    );
    Ok(DeviceTimes {
        act_ms,
        update_ms,
        busy,
        picture,
    })
}
