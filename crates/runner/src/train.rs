//! The training loop.

use std::time::Instant;

use rescore_agents::Agent;
use rescore_kernels::RescoreBackend;
use rescore_store::run_folder::RunFolder;

use crate::RunError;
use crate::announce::announce;
use crate::checkpoint::from_agent;
use crate::config::Config;
use crate::environments::Environments;
use crate::forecast::Forecast;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::resume::{Resumption, resume};
use crate::run::Run;
use crate::schedule::UpdateSchedule;

/// Where a run begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// With its first step.
    Fresh,
    /// With its last checkpoint, if there is one.
    Resumed(Resumption),
}

/// Trains `agent` in `envs` to the last step of `config` and leaves the results in `folder`. `config`
/// says how, and is what the folder records: [`Config::new_agent`] gives the agent of its settings.
///
/// # Errors
/// When a number is not finite, an environment fails or the folder cannot be read or written; and
/// [`RunError::Interrupted`], after a checkpoint, when `interrupt` is set.
pub fn train<B: RescoreBackend>(
    config: &Config,
    agent: Box<dyn Agent<B>>,
    envs: Environments,
    folder: &RunFolder,
    begin: Begin,
    interrupt: &Interrupt,
    device: &B::Device,
) -> Result<(), RunError> {
    let dims = envs.dims();
    if let Some(fits) = agent.acting().map(|acting| acting.dims())
        && fits != dims
    {
        return Err(RunError::usage(
            format!(
                "the agent is for {} observation and {} action dimensions, but `{}` has {} and {}",
                fits.0, fits.1, config.env, dims.0, dims.1
            ),
            "build it for the environments: `config.new_agent(envs.dims(), device)`",
        ));
    }
    envs.check_saving(begin != Begin::Fresh)?;
    let mut run = match begin {
        Begin::Fresh => Run::<B>::new(config, agent, envs, folder, device)?,
        Begin::Resumed(how) => resume::<B>(config, agent, envs, folder, &how, device)?,
    };
    announce(config, folder.path(), dims, &from_agent(run.agent.state()));
    let result = learn(&mut run, interrupt);
    if let Err(RunError::NotFinite { .. }) = &result {
        run.report_crash(folder, result.as_ref().err());
    }
    result?;
    Ok(folder.mark_done(run.step, run.agent.updates())?)
}

/// The loop. What an interrupted run had not completed of an iteration is done first.
fn learn<B: RescoreBackend>(run: &mut Run<'_, B>, interrupt: &Interrupt) -> Result<(), RunError> {
    run.warm_up(interrupt)?;
    run.refill(interrupt)?;
    let steps = run.config.steps;
    let updates = UpdateSchedule::of(&run.config.training);
    let num_envs = run.config.training.num_envs as u64;
    let mut progress = Progress::begin("train", run.step, steps);
    let mut forecast = Forecast::default();
    loop {
        while run.can_learn() && run.agent.updates() < updates.due(run.step) {
            run.stop_if(interrupt)?;
            let begun = Instant::now();
            run.update()?;
            forecast.updated(begun, 1);
        }
        forecast.say(run.config, run.step);
        run.report(interrupt)?;
        progress.show(run.step, || run.status());
        if run.step >= steps {
            break;
        }
        run.stop_if(interrupt)?;
        let begun = Instant::now();
        let observations = run.observe()?;
        let actions = run.act(&observations);
        if run.config.training.overlap {
            // Without a transition, the updates of this step are made up for after it.
            let due = if run.can_learn() {
                updates.due(run.step + num_envs)
            } else {
                0
            };
            run.draw_ahead(due);
            let actions = run.read(actions)?;
            forecast.stepped(begun, num_envs);
            let (begun, made) = (Instant::now(), run.agent.updates());
            run.interact_while_learning(&observations, &actions, due)?;
            forecast.updated(begun, run.agent.updates() - made);
        } else {
            let actions = run.read(actions)?;
            run.interact(&observations, &actions)?;
            forecast.stepped(begun, num_envs);
        }
        run.advance();
    }
    progress.finish(run.step, &run.status());
    Ok(())
}
