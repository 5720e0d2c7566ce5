//! Named arrays of plain numbers, and their files (safetensors).

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Arrays by name, in alphabetical order. Names are paths: `policy.l0.weight`.
pub type Arrays = BTreeMap<String, Array>;

/// One array.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// In row-major order.
    F32 {
        /// Lengths of its dimensions, whose product is the number of values.
        shape: Vec<usize>,
        /// The numbers.
        values: Vec<f32>,
    },
    /// Real numbers, kept to the bit.
    F64(Vec<f64>),
    /// Counters, flags and positions in random streams.
    U64(Vec<u64>),
    /// Text in UTF-8, or anything else.
    Bytes(Vec<u8>),
}

impl Array {
    /// Bytes of its values.
    pub fn bytes(&self) -> u64 {
        let (count, width) = match self {
            Self::F32 { values, .. } => (values.len(), 4),
            Self::F64(values) => (values.len(), 8),
            Self::U64(values) => (values.len(), 8),
            Self::Bytes(bytes) => (bytes.len(), 1),
        };
        count as u64 * width
    }

    /// Kind and shape in words.
    pub fn form(&self) -> String {
        match self {
            Self::F32 { shape, .. } => format!("type F32 and shape {shape:?}"),
            Self::F64(values) => format!("type F64 and shape [{}]", values.len()),
            Self::U64(values) => format!("type U64 and shape [{}]", values.len()),
            Self::Bytes(bytes) => format!("type U8 and shape [{}]", bytes.len()),
        }
    }
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

/// The file that holds `arrays`.
///
/// # Errors
/// When the number of an array's values is not that of its shape.
pub fn encode(arrays: &Arrays) -> Result<Vec<u8>, String> {
    let parts: Vec<_> = arrays
        .iter()
        .map(|(name, array)| {
            let (dtype, shape, bytes) = match array {
                Array::F32 { shape, values } => (
                    Dtype::F32,
                    shape.clone(),
                    bytes_of(values, f32::to_le_bytes),
                ),
                Array::F64(values) => (
                    Dtype::F64,
                    vec![values.len()],
                    bytes_of(values, f64::to_le_bytes),
                ),
                Array::U64(values) => (
                    Dtype::U64,
                    vec![values.len()],
                    bytes_of(values, u64::to_le_bytes),
                ),
                Array::Bytes(bytes) => (
                    Dtype::U8,
                    vec![bytes.len()],
                    Cow::Borrowed(bytes.as_slice()),
                ),
            };
            (name, dtype, shape, bytes)
        })
        .collect();
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    views
        .collect::<Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| error.to_string())
}

/// Reads what [`encode`] wrote. The safetensors library checks the header's length, all names,
/// shapes and offsets.
///
/// # Errors
/// Says what is wrong with the file.
pub fn decode(bytes: &[u8]) -> Result<Arrays, String> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("not a safetensors file ({error})"))?;
    let read = |(name, view): (&str, TensorView<'_>)| {
        let data = view.data();
        let array = match (view.dtype(), view.shape()) {
            (Dtype::F32, shape) => Array::F32 {
                shape: shape.to_vec(),
                values: values_of(data, f32::from_le_bytes),
            },
            (Dtype::F64, [_]) => Array::F64(values_of(data, f64::from_le_bytes)),
            (Dtype::U64, [_]) => Array::U64(values_of(data, u64::from_le_bytes)),
            (Dtype::U8, [_]) => Array::Bytes(data.to_vec()),
            (dtype, shape) => {
                return Err(format!(
                    "array `{name}` has type {dtype:?} and shape {shape:?}, but only f32 arrays, \
                     and f64, u64 and u8 arrays of one dimension, occur in a checkpoint"
                ));
            }
        };
        Ok((name.to_owned(), array))
    };
    tensors.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_bit_for_bit() {
        let weight = Array::F32 {
            shape: vec![2, 2],
            values: vec![1.0, -0.0, 3.5, f32::MIN],
        };
        let arrays = Arrays::from([
            ("policy.weight".to_owned(), weight),
            ("updates".to_owned(), Array::U64(vec![u64::MAX])),
            ("qpos".to_owned(), Array::F64(vec![0.1, -0.0, f64::MAX])),
            ("name".to_owned(), Array::Bytes(b"Pendulum-v1".to_vec())),
            ("empty".to_owned(), Array::F64(Vec::new())),
        ]);
        let bytes = encode(&arrays).expect("consistent");
        assert_eq!(decode(&bytes), Ok(arrays));
    }

    #[test]
    fn a_shape_that_its_values_do_not_fill_is_refused() {
        let array = Array::F32 {
            shape: vec![2, 2],
            values: vec![0.0; 3],
        };
        assert!(encode(&Arrays::from([("odd".to_owned(), array)])).is_err());
    }

    #[test]
    fn arrays_that_have_no_place_here_are_refused_by_name() {
        for (dtype, shape, bytes) in [(Dtype::I8, vec![1], 1), (Dtype::U64, vec![1, 1], 8)] {
            let data = vec![1; bytes];
            let view = TensorView::new(dtype, shape, &data).expect("consistent");
            let file = safetensors::serialize([("odd", view)], None).expect("consistent");
            let message = decode(&file).expect_err("no such array anywhere");
            assert!(message.contains("`odd`"), "{message}");
        }
    }
}
