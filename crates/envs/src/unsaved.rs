//! Environments that cannot save their state.

use crate::{Env, EnvError, EnvState};

/// Name of the array that stands for a state.
const SEED: &str = "new_episode_seed";

/// The state of `env`; where its author has not provided for that, `seed` in the place of it, with
/// which [`restore_or_reset`] begins a new episode.
///
/// # Errors
/// As [`Env::save`], without [`EnvError::StateUnsupported`].
pub fn save_or_seed(env: &dyn Env, seed: u64) -> Result<EnvState, EnvError> {
    match env.save() {
        Err(EnvError::StateUnsupported { .. }) => {
            let mut state = EnvState::new();
            state.put_u64(SEED, &[seed]);
            Ok(state)
        }
        other => other,
    }
}

/// Takes over what [`save_or_seed`] gave. Where that is a seed, or `env` cannot take a state over
/// (the seed is then `otherwise`), `env` begins a new episode instead.
///
/// Gives the seed of the new episode, or none if the old one goes on.
///
/// # Errors
/// As [`Env::restore`], without [`EnvError::StateUnsupported`], and [`Env::reset`].
pub fn restore_or_reset(
    env: &mut dyn Env,
    state: &EnvState,
    otherwise: u64,
) -> Result<Option<u64>, EnvError> {
    let seed = match state.u64(SEED, 1) {
        Ok(seed) => seed[0],
        Err(_) => match env.restore(state) {
            Err(EnvError::StateUnsupported { task }) => {
                tracing::warn!("`{task}` cannot restore the state it saved: a new episode begins");
                otherwise
            }
            other => return other.map(|()| None),
        },
    };
    env.reset(Some(seed))?;
    Ok(Some(seed))
}
