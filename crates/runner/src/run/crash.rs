//! Numbers that are not finite: the report of a crash, and such numbers on purpose.

use rescore_agents::Array;
use rescore_kernels::RescoreBackend;
use rescore_store::names::CRASH;
use rescore_store::run_folder::RunFolder;
use rescore_store::{durable, fault};

use super::Run;
use crate::{RunError, guard};

impl<B: RescoreBackend> Run<'_, B> {
    /// Writes `crash.json`: which number is not finite, and what else is known.
    pub fn report_crash(&self, folder: &RunFolder, error: Option<&RunError>) {
        let Some(RunError::NotFinite {
            number,
            step,
            update,
        }) = error
        else {
            return;
        };
        let report = serde_json::json!({
            "number": number,
            "step": step,
            "update": update,
            "stored_transitions": self.replay.stored(),
            "bad_arrays": guard::bad_arrays(&self.agent.state()),
            "metrics": self.latest.iter().map(|(name, value)| (name.clone(), value.to_string()))
                .collect::<Vec<_>>(),
        });
        if let Err(error) = durable::write_json(&folder.file(CRASH), &report) {
            tracing::warn!("{error}");
        }
    }

    /// A fault on purpose in the first of `values`; see [`fault`].
    pub(super) fn spoil(&self, what: &str, values: &mut [f32]) {
        if let Some(value) = fault::number(what, self.step) {
            values[0] = value;
        }
    }

    /// A fault on purpose in the last number of an array of the agent's state.
    pub(super) fn spoil_state(&mut self) -> Result<(), RunError> {
        if !fault::spoils_numbers() {
            return Ok(());
        }
        let mut state = self.agent.state();
        let known = |name: &str| matches!(state.get(name), Some(Array::F32(..)));
        let Some((name, value)) = fault::number_where(self.step, known) else {
            return Ok(());
        };
        if let Some(Array::F32(shape, values)) = state.get(name) {
            let (shape, mut values) = (shape.clone(), values.clone());
            if let Some(last) = values.last_mut() {
                *last = value;
            }
            state.insert(name, Array::F32(shape, values));
        }
        self.agent
            .load_state(&state)
            .map_err(|error| RunError::Usage {
                message: error.to_string(),
                hint: None,
            })
    }
}
