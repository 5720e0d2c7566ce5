//! What a checkpoint holds of a run, between the types of agents and environments and the plain
//! arrays of the store.

use rescore_agents::{self as agents, Agent, StateDict};
use rescore_envs::{EnvState, StateArray};
use rescore_kernels::RescoreBackend;
use rescore_store::arrays::{Array, Arrays};
use rescore_store::checkpoint::Description;
use rescore_store::durable::sha256_hex;

use crate::config::{Config, fixed_text};

/// The description of a checkpoint of the run of `config`; `dims` are the lengths of an observation
/// and of an action.
pub fn describe(config: &Config, dims: (usize, usize), step: u64, update: u64) -> Description {
    Description {
        algo: config.algo.clone(),
        env: config.env.clone(),
        observation_dim: dims.0,
        action_dim: dims.1,
        settings: sha256_hex(fixed_text(config).as_bytes()),
        step,
        update,
    }
}

/// The arrays of an agent's state.
pub fn from_agent(state: StateDict) -> Arrays {
    let array = |array| match array {
        agents::Array::F32(shape, values) => Array::F32 { shape, values },
        agents::Array::U64(counter) => Array::U64(vec![counter]),
    };
    let arrays = state.into_arrays();
    arrays.map(|(name, inner)| (name, array(inner))).collect()
}

/// The agent's state that [`from_agent`] made these arrays of.
///
/// # Errors
/// Names an array that no agent has.
pub fn to_agent(arrays: Arrays) -> Result<StateDict, String> {
    let mut state = StateDict::default();
    for (name, array) in arrays {
        let array = match array {
            Array::F32 { shape, values } => agents::Array::F32(shape, values),
            Array::U64(counter) if counter.len() == 1 => agents::Array::U64(counter[0]),
            other => {
                return Err(format!(
                    "array `{name}` has {}, but agents have f32 arrays and single u64 counters only",
                    other.form()
                ));
            }
        };
        state.insert(name, array);
    }
    Ok(state)
}

/// Gives `agent` the state that `arrays` hold.
///
/// # Errors
/// When it is not one of this agent, which may have been changed then.
pub fn load_agent<B: RescoreBackend>(
    agent: &mut dyn Agent<B>,
    arrays: Arrays,
) -> Result<(), String> {
    let state = to_agent(arrays)?;
    agent.load_state(&state).map_err(|error| error.to_string())
}

/// The arrays of environments' states.
pub fn from_environments(state: EnvState) -> Arrays {
    let array = |array| match array {
        StateArray::F64(values) => Array::F64(values),
        StateArray::U64(values) => Array::U64(values),
        StateArray::Bytes(bytes) => Array::Bytes(bytes),
    };
    let arrays = state.into_arrays();
    arrays.map(|(name, inner)| (name, array(inner))).collect()
}

/// The states of environments that [`from_environments`] made these arrays of.
///
/// # Errors
/// Names an array that no environment has.
pub fn to_environments(arrays: Arrays) -> Result<EnvState, String> {
    let mut state = EnvState::new();
    for (name, array) in arrays {
        let array = match array {
            Array::F64(values) => StateArray::F64(values),
            Array::U64(values) => StateArray::U64(values),
            Array::Bytes(bytes) => StateArray::Bytes(bytes),
            other @ Array::F32 { .. } => {
                return Err(format!(
                    "array `{name}` has {}, but environments have f64, u64 and u8 arrays only",
                    other.form()
                ));
            }
        };
        state.insert(name, array);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_bit_for_bit() {
        let mut agent = StateDict::default();
        let values = vec![1.0, -0.0, 3.5, f32::MIN];
        agent.insert("policy.weight", agents::Array::F32(vec![2, 2], values));
        agent.insert("updates", agents::Array::U64(u64::MAX));
        assert_eq!(to_agent(from_agent(agent.clone())), Ok(agent));

        let mut envs = EnvState::new();
        envs.put_f64("qpos", &[0.1, -0.0, f64::MAX]);
        envs.put_u64("rng", &[u64::MAX, 0]);
        envs.put_bytes("name", b"Pendulum-v1");
        assert_eq!(to_environments(from_environments(envs.clone())), Ok(envs));
    }

    #[test]
    fn arrays_that_have_no_place_here_are_refused_by_name() {
        for odd in [Array::F64(vec![1.0]), Array::U64(vec![1, 2])] {
            let error = to_agent(Arrays::from([("odd".to_owned(), odd)])).expect_err("no agent's");
            assert!(error.contains("`odd`"), "{error}");
        }
        let odd = Array::F32 {
            shape: vec![1],
            values: vec![1.0],
        };
        let error = to_environments(Arrays::from([("odd".to_owned(), odd)]));
        assert!(error.expect_err("no environment's").contains("`odd`"));
    }
}
