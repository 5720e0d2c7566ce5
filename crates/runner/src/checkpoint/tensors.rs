//! Named arrays as safetensors: the agent's state, and that of the environments.

use std::borrow::Cow;

use rescore_agents::{Array, StateDict};
use rescore_envs::{EnvState, StateArray};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// One array on its way to a file.
struct Entry<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

fn serialize(entries: &[Entry<'_>]) -> Result<Vec<u8>, String> {
    entries
        .iter()
        .map(|entry| {
            TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes)
                .map(|view| (entry.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| error.to_string())
}

/// The safetensors library checks the header's length, all names, shapes and offsets.
fn deserialize(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    SafeTensors::deserialize(bytes).map_err(|error| format!("not a safetensors file ({error})"))
}

/// Little-endian bytes of `values`.
fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Cow<'static, [u8]> {
    Cow::Owned(values.iter().flat_map(|value| bytes(*value)).collect())
}

/// Values of little-endian bytes; what is left over at the end is dropped, which does not happen
/// after the library's checks.
fn values_of<T, const N: usize>(bytes: &[u8], value: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| value(*chunk)).collect()
}

/// The file of an agent's state: `f32` arrays, and counters as `u64` of shape `[1]`.
///
/// # Errors
/// When an array's length is not that of its shape.
pub fn encode_agent(state: &StateDict) -> Result<Vec<u8>, String> {
    let entries: Vec<_> = state
        .iter()
        .map(|(name, array)| {
            let (dtype, shape, bytes) = match array {
                Array::F32(shape, values) => (
                    Dtype::F32,
                    shape.clone(),
                    bytes_of(values, f32::to_le_bytes),
                ),
                Array::U64(value) => (Dtype::U64, vec![1], bytes_of(&[*value], u64::to_le_bytes)),
            };
            Entry {
                name: name.to_owned(),
                dtype,
                shape,
                bytes,
            }
        })
        .collect();
    serialize(&entries)
}

/// Reads what [`encode_agent`] wrote.
///
/// # Errors
/// Says what is wrong with the file.
pub fn decode_agent(bytes: &[u8]) -> Result<StateDict, String> {
    let tensors = deserialize(bytes)?;
    let mut state = StateDict::default();
    for (name, view) in tensors.iter() {
        let array = match (view.dtype(), view.shape()) {
            (Dtype::F32, shape) => {
                Array::F32(shape.to_vec(), values_of(view.data(), f32::from_le_bytes))
            }
            (Dtype::U64, [1]) => match view.data().try_into() {
                Ok(value) => Array::U64(u64::from_le_bytes(value)),
                Err(_) => return Err(format!("counter `{name}` is not 8 bytes long")),
            },
            (dtype, shape) => {
                return Err(format!(
                    "tensor `{name}` has type {dtype:?} and shape {shape:?}, but only f32 arrays \
                     and single u64 counters occur in a checkpoint"
                ));
            }
        };
        state.insert(name, array);
    }
    Ok(state)
}

/// The file of the environments' states: arrays of `f64`, `u64` and bytes, all of one dimension.
///
/// # Errors
/// When the library refuses, which it has no reason to.
pub fn encode_environments(state: &EnvState) -> Result<Vec<u8>, String> {
    let entries: Vec<_> = state
        .arrays()
        .map(|(name, array)| {
            let (dtype, bytes) = match array {
                StateArray::F64(values) => (Dtype::F64, bytes_of(values, f64::to_le_bytes)),
                StateArray::U64(values) => (Dtype::U64, bytes_of(values, u64::to_le_bytes)),
                StateArray::Bytes(bytes) => (Dtype::U8, Cow::Borrowed(bytes.as_slice())),
            };
            Entry {
                name: name.to_owned(),
                dtype,
                shape: vec![array.len()],
                bytes,
            }
        })
        .collect();
    serialize(&entries)
}

/// Reads what [`encode_environments`] wrote.
///
/// # Errors
/// Says what is wrong with the file.
pub fn decode_environments(bytes: &[u8]) -> Result<EnvState, String> {
    let tensors = deserialize(bytes)?;
    let mut state = EnvState::new();
    for (name, view) in tensors.iter() {
        let array = match view.dtype() {
            Dtype::F64 => StateArray::F64(values_of(view.data(), f64::from_le_bytes)),
            Dtype::U64 => StateArray::U64(values_of(view.data(), u64::from_le_bytes)),
            Dtype::U8 => StateArray::Bytes(view.data().to_vec()),
            other => {
                return Err(format!(
                    "tensor `{name}` has type {other:?}, but environments have f64, u64 and u8 only"
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
        agent.insert(
            "policy.weight",
            Array::F32(vec![2, 2], vec![1.0, -0.0, 3.5, f32::MIN]),
        );
        agent.insert("updates", Array::U64(u64::MAX));
        let bytes = encode_agent(&agent).expect("consistent");
        assert_eq!(decode_agent(&bytes), Ok(agent));

        let mut envs = EnvState::new();
        envs.put_f64("qpos", &[0.1, -0.0, f64::MAX]);
        envs.put_u64("rng", &[u64::MAX, 0]);
        envs.put_bytes("name", b"Pendulum-v1");
        envs.put_f64("empty", &[]);
        let bytes = encode_environments(&envs).expect("consistent");
        assert_eq!(decode_environments(&bytes), Ok(envs));
    }

    #[test]
    fn arrays_that_have_no_place_here_are_refused_by_name() {
        let entry = Entry {
            name: "odd".into(),
            dtype: Dtype::I8,
            shape: vec![1],
            bytes: Cow::Borrowed(&[1]),
        };
        let bytes = serialize(&[entry]).expect("consistent");
        for message in [
            decode_agent(&bytes).map(|_| ()),
            decode_environments(&bytes).map(|_| ()),
        ] {
            let message = message.expect_err("no i8 anywhere");
            assert!(message.contains("`odd`"), "{message}");
        }
    }
}
