//! Saving and restoring all environments.

use super::{VecEnv, get_mut, in_vector, lock, write_row};
use crate::{
    Env, EnvError, EnvState, Episode, StateError, derive_seed, restore_or_reset, save_or_seed,
};

impl VecEnv {
    /// The complete state of all environments with the returns and lengths of their episodes so
    /// far, taken between two steps.
    ///
    /// # Errors
    /// [`EnvError::InVector`] if an environment cannot be saved.
    pub fn state(&self) -> Result<EnvState, EnvError> {
        self.state_with(|env, _| env.save())
    }

    /// As [`VecEnv::state`], but of environments that cannot save their state
    /// ([`EnvError::StateUnsupported`]) it only holds a seed, with which [`VecEnv::restore`] lets
    /// them begin a new episode. The seed follows from that of the vector environment and the
    /// number of steps since.
    ///
    /// # Errors
    /// [`EnvError::InVector`] if saving an environment fails in another way.
    pub fn state_or_seeds(&self) -> Result<EnvState, EnvError> {
        self.state_with(save_or_seed)
    }

    fn state_with(
        &self,
        save: impl Fn(&dyn Env, u64) -> Result<EnvState, EnvError>,
    ) -> Result<EnvState, EnvError> {
        let mut state = EnvState::new();
        state.put_format();
        state.put_u64("count", &[self.count() as u64]);
        let running = || self.slots.iter().map(|slot| lock(slot).running);
        let returns: Vec<_> = running().map(|episode| episode.total_reward).collect();
        let lengths: Vec<_> = running().map(|episode| episode.length.into()).collect();
        state.put_f64("episode_returns", &returns);
        state.put_u64("episode_lengths", &lengths);
        for (index, slot) in self.slots.iter().enumerate() {
            let env =
                save(&*lock(slot).env, self.new_seed(index)).map_err(|e| in_vector(index, e))?;
            state.put_state(&format!("env.{index}"), env);
        }
        Ok(state)
    }

    /// Takes over a state of a vector environment that was built in the same way, whatever this
    /// one has done before, and goes on from it to the bit. [`VecEnv::observations`] are those to
    /// act on next; [`VecEnv::last_step`] gives zeros until the next step.
    ///
    /// # Errors
    /// [`EnvError::InvalidState`], for one environment within [`EnvError::InVector`], if the state
    /// is of another form. The vector environment is then as it was.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        state.check_format()?;
        let before = self.state_or_seeds()?;
        let [expected, found] = [before.u64("count", 1)?[0], state.u64("count", 1)?[0]];
        if expected != found {
            return Err(EnvError::InvalidState(StateError::Value {
                name: "count".to_owned(),
                value: format!("{found} environments"),
                expected: "as many as there are",
            }));
        }
        let result = match state.check_form(&before) {
            Ok(()) => self.try_restore(state),
            // Only to say which environment it is that does not fit.
            Err(error) => self.try_restore(state).and(Err(error.into())),
        };
        if result.is_err() {
            // A state of its own always fits, so this leaves everything as it was.
            self.try_restore(&before)?;
        }
        result
    }

    fn try_restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let count = self.count();
        let returns = state.f64("episode_returns", count)?;
        let lengths = state.u32s("episode_lengths", count)?;
        let mut begun_anew = None;
        for index in 0..count {
            let seed = self.new_seed(index);
            let slot = get_mut(&mut self.slots[index]);
            let saved = state.state(&format!("env.{index}"));
            let restored = restore_or_reset(&mut *slot.env, &saved, seed);
            slot.running = match restored.map_err(|e| in_vector(index, e))? {
                None => Episode {
                    total_reward: returns[index],
                    length: lengths[index],
                },
                Some(seed) => {
                    begun_anew.get_or_insert(seed);
                    Episode::default()
                }
            };
        }
        if let Some(seed) = begun_anew {
            // So that what begins anew after this does not repeat what has been.
            (self.seed, self.steps) = (seed, 0);
        }
        let rows = self.observations.chunks_exact_mut(self.observation_dim);
        for (index, (slot, row)) in self.slots.iter_mut().zip(rows).enumerate() {
            write_row(row, &*get_mut(slot).env).map_err(|e| in_vector(index, e))?;
        }
        self.step.clear();
        Ok(())
    }

    /// For environment `index`, where it has to begin anew at this moment.
    fn new_seed(&self, index: usize) -> u64 {
        derive_seed(derive_seed(self.seed, index), self.steps as usize)
    }
}
