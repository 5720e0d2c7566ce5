//! The file: tensors and the description, in and out of bytes.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;

use crate::description::Description;
use crate::{Policy, PolicyError, check};

/// The metadata key that holds the description.
const KEY: &str = "rescore";

/// A tensor of an exported policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Members, rows and columns.
    pub shape: [usize; 3],
    /// Values, row by row.
    pub values: Vec<f32>,
}

impl Tensor {
    /// The values of `member`, row by row.
    pub(crate) fn member(&self, member: usize) -> &[f32] {
        let [_, rows, columns] = self.shape;
        &self.values[member * rows * columns..][..rows * columns]
    }

    /// Requires of every value that it is `sound`.
    pub(crate) fn require(
        &self,
        name: &str,
        expected: &str,
        sound: impl Fn(f32) -> bool,
    ) -> Result<(), PolicyError> {
        let unsound = self.values.iter().position(|value| !sound(*value));
        unsound.map_or(Ok(()), |index| {
            let found = format!("{} as value {index}", self.values[index]);
            Err(PolicyError::tensor(name, found, expected))
        })
    }
}

/// The file of a policy: `description` and the tensors that it asks for, by name.
///
/// # Errors
/// When the policy could not be loaded again, for the same reasons.
pub fn write(
    description: &Description,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Vec<u8>, PolicyError> {
    check::description(description)?;
    let metadata = [(KEY.to_owned(), serde_json::to_string(description)?)];
    let bytes = tensors.iter().map(|(name, tensor)| {
        let values = tensor.values.iter().flat_map(|value| value.to_le_bytes());
        (name, tensor.shape.to_vec(), values.collect::<Vec<u8>>())
    });
    let bytes: Vec<_> = bytes.collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        let found = || format!("{} values", bytes.len() / size_of::<f32>());
        let expected = || format!("as many as its shape {shape:?} has");
        view.map(|view| (name, view))
            .map_err(|_| PolicyError::tensor(name, found(), expected()))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    let file = safetensors::serialize(views, Some(metadata.into_iter().collect()))?;
    Policy::from_bytes(&file)?;
    Ok(file)
}

/// The parts of the file `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<(Description, Tensors), PolicyError> {
    let file = SafeTensors::deserialize(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let json = header.metadata().as_ref().and_then(|map| map.get(KEY));
    let json = json.ok_or(PolicyError::NoDescription)?;
    // First, because other formats have other keys.
    check::format(serde_json::from_str::<FormatOnly>(json)?.format)?;
    let description: Description = serde_json::from_str(json)?;
    check::description(&description)?;

    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let (dtype, shape) = (view.dtype(), view.shape());
        let (Dtype::F32, Ok(shape)) = (dtype, shape.try_into()) else {
            let found = format!("{dtype} of shape {shape:?}");
            let expected = "F32 of shape [members, rows, columns]";
            return Err(PolicyError::tensor(name, found, expected));
        };
        let (values, _) = view.data().as_chunks();
        let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let values = values.collect();
        let tensor = Tensor { shape, values };
        tensor.require(name, "finite values", f32::is_finite)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok((description, Tensors(tensors)))
}

/// What every format says of itself.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// The tensors of a file that nothing has taken yet.
pub(crate) struct Tensors(pub BTreeMap<String, Tensor>);

impl Tensors {
    /// Takes the tensor `name`, in which lengths that are not given are free, but not 0.
    pub fn take(&mut self, name: &str, shape: [Option<usize>; 3]) -> Result<Tensor, PolicyError> {
        let fits = |tensor: &Tensor| {
            let mut lengths = tensor.shape.iter().zip(shape);
            lengths.all(|(found, expected)| *found > 0 && expected.is_none_or(|n| n == *found))
        };
        let tensor = self.0.remove(name);
        let found = match tensor {
            Some(tensor) if fits(&tensor) => return Ok(tensor),
            Some(tensor) => format!("shape {:?}", tensor.shape),
            None => "none".to_owned(),
        };
        let lengths = shape.map(|length| length.map_or("_".to_owned(), |n| n.to_string()));
        let expected = format!("shape [{}]", lengths.join(", "));
        Err(PolicyError::tensor(name, found, expected))
    }

    /// As [`Tensors::take`] where there is a tensor called `name`.
    pub fn take_if_there(
        &mut self,
        name: &str,
        shape: [Option<usize>; 3],
    ) -> Result<Option<Tensor>, PolicyError> {
        let is_there = self.0.contains_key(name);
        is_there.then(|| self.take(name, shape)).transpose()
    }

    /// Requires that all tensors have been taken.
    pub fn finish(self) -> Result<(), PolicyError> {
        self.0.into_keys().next().map_or(Ok(()), |name| {
            let expected = "none of this name: the description does not use it";
            Err(PolicyError::tensor(&name, "a tensor", expected))
        })
    }
}
