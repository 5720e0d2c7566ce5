//! The complete state of an environment as named arrays of plain numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the layout that [`Env::save`](crate::Env::save) and
/// [`VecEnv::state`](crate::VecEnv::state) write.
pub const STATE_FORMAT: u64 = 1;

/// One array of an [`EnvState`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StateArray {
    /// Real numbers, kept to the bit.
    F64(Vec<f64>),
    /// Counters, flags (0 or 1) and positions in random streams.
    U64(Vec<u64>),
    /// Text in UTF-8, or anything else.
    Bytes(Vec<u8>),
}

impl StateArray {
    fn kind(&self) -> &'static str {
        match self {
            Self::F64(_) => "f64",
            Self::U64(_) => "u64",
            Self::Bytes(_) => "bytes",
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Everything an environment needs to go on as if it had never stopped: arrays by name.
///
/// The names are paths (`env.3.time_limit.elapsed`); which there are, of which kind and length, is
/// fixed by how the environment was built and does not change while it runs. So a state fits
/// environments that were built in the same way, and no others.
///
/// It holds nothing but numbers and bytes, so any file format will do: write what
/// [`EnvState::arrays`] gives, collect what was read into an `EnvState` again. (It implements
/// serde's traits as well; mind that JSON knows no NaN.)
///
/// ```
/// use rescore_envs::{EnvState, VecEnv};
/// let mut envs = VecEnv::new("Pendulum-v1", 2, 0)?;
/// envs.step(&[0.1, 0.2])?;
/// let state: EnvState = envs.state()?;
/// let expected = envs.step(&[0.3, 0.4])?.clone();
///
/// let mut others = VecEnv::new("Pendulum-v1", 2, 7)?;
/// others.restore(&state)?;
/// assert_eq!(others.step(&[0.3, 0.4])?, &expected);
/// # Ok::<(), rescore_envs::EnvError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvState {
    arrays: BTreeMap<String, StateArray>,
}

/// Why a state cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An array is not there.
    #[error("array `{0}` is missing")]
    Missing(String),
    /// There is an array that this environment does not know.
    #[error("array `{0}` is not one of this environment's")]
    Unknown(String),
    /// An array is of another kind or length.
    #[error("array `{name}` is {found}, but should be {expected}")]
    Form {
        /// Name of the array.
        name: String,
        /// Kind and length, as in `f64[17]`.
        expected: String,
        /// Kind and length found.
        found: String,
    },
    /// The state was written by another version of this crate.
    #[error("it is of format {0}, but this program reads format {STATE_FORMAT}")]
    Format(u64),
    /// The state is of another task.
    #[error("it is of task `{found}`, not of `{expected}`")]
    Task {
        /// The environment's task.
        expected: String,
        /// The state's.
        found: String,
    },
    /// An array holds what it cannot hold.
    #[error("array `{name}` holds {value}, but should hold {expected}")]
    Value {
        /// Name of the array.
        name: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: &'static str,
    },
}

impl EnvState {
    /// A state without arrays.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an array, or replaces the one of this name.
    pub fn insert(&mut self, name: impl Into<String>, array: StateArray) {
        self.arrays.insert(name.into(), array);
    }

    /// Adds an array of real numbers.
    pub fn put_f64(&mut self, name: &str, values: &[f64]) {
        self.insert(name, StateArray::F64(values.to_vec()));
    }

    /// Adds an array of whole numbers.
    pub fn put_u64(&mut self, name: &str, values: &[u64]) {
        self.insert(name, StateArray::U64(values.to_vec()));
    }

    /// Adds bytes.
    pub fn put_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.insert(name, StateArray::Bytes(bytes.to_vec()));
    }

    /// Adds the arrays of `inner` as `PREFIX.NAME`.
    pub fn put_state(&mut self, prefix: &str, inner: Self) {
        for (name, array) in inner.arrays {
            self.insert(format!("{prefix}.{name}"), array);
        }
    }

    /// All arrays, in the order of their names.
    pub fn arrays(&self) -> impl ExactSizeIterator<Item = (&str, &StateArray)> {
        self.arrays
            .iter()
            .map(|(name, array)| (name.as_str(), array))
    }

    /// All arrays with their names, in the order of these.
    pub fn into_arrays(self) -> impl ExactSizeIterator<Item = (String, StateArray)> {
        self.arrays.into_iter()
    }

    /// The array of `len` real numbers called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Form`].
    pub fn f64(&self, name: &str, len: usize) -> Result<&[f64], StateError> {
        match self.get(name)? {
            StateArray::F64(values) if values.len() == len => Ok(values),
            other => Err(form(name, format!("f64[{len}]"), other)),
        }
    }

    /// The array of `len` whole numbers called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Form`].
    pub fn u64(&self, name: &str, len: usize) -> Result<&[u64], StateError> {
        match self.get(name)? {
            StateArray::U64(values) if values.len() == len => Ok(values),
            other => Err(form(name, format!("u64[{len}]"), other)),
        }
    }

    /// The one flag called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Form`] or [`StateError::Value`].
    pub fn flag(&self, name: &str) -> Result<bool, StateError> {
        match self.u64(name, 1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(StateError::Value {
                name: name.to_owned(),
                value: other.to_string(),
                expected: "0 or 1",
            }),
        }
    }

    /// The one counter called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Form`] or [`StateError::Value`].
    pub fn u32(&self, name: &str) -> Result<u32, StateError> {
        self.u32s(name, 1).map(|values| values[0])
    }

    /// The `len` counters called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Form`] or [`StateError::Value`].
    pub fn u32s(&self, name: &str, len: usize) -> Result<Vec<u32>, StateError> {
        let small = |value: &u64| {
            u32::try_from(*value).map_err(|_| StateError::Value {
                name: name.to_owned(),
                value: value.to_string(),
                expected: "numbers below 2^32",
            })
        };
        self.u64(name, len)?.iter().map(small).collect()
    }

    /// The bytes called `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Form`].
    pub fn bytes(&self, name: &str) -> Result<&[u8], StateError> {
        match self.get(name)? {
            StateArray::Bytes(bytes) => Ok(bytes),
            other => Err(form(name, "bytes".to_owned(), other)),
        }
    }

    /// The arrays that [`EnvState::put_state`] added with `prefix`, under their own names.
    #[must_use]
    pub fn state(&self, prefix: &str) -> Self {
        let own = self.arrays.iter().filter_map(|(name, array)| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), array.clone()))
        });
        Self {
            arrays: own.collect(),
        }
    }

    /// Requires the names, kinds and lengths of `other`.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Unknown`] or [`StateError::Form`].
    pub fn check_form(&self, other: &Self) -> Result<(), StateError> {
        for (name, expected) in &other.arrays {
            let found = self.get(name)?;
            // Texts differ in length, and whoever reads them says what is wrong with them.
            let text = matches!(
                (expected, found),
                (StateArray::Bytes(_), StateArray::Bytes(_))
            );
            let same = expected.kind() == found.kind() && expected.len() == found.len();
            if !(text || same) {
                return Err(form(name, describe(expected), found));
            }
        }
        match self
            .arrays
            .keys()
            .find(|name| !other.arrays.contains_key(*name))
        {
            Some(name) => Err(StateError::Unknown(name.clone())),
            None => Ok(()),
        }
    }

    /// Adds the version of the layout.
    pub(crate) fn put_format(&mut self) {
        self.put_u64("format", &[STATE_FORMAT]);
    }

    /// Requires this version of the layout.
    pub(crate) fn check_format(&self) -> Result<(), StateError> {
        match self.u64("format", 1)?[0] {
            STATE_FORMAT => Ok(()),
            other => Err(StateError::Format(other)),
        }
    }

    fn get(&self, name: &str) -> Result<&StateArray, StateError> {
        self.arrays
            .get(name)
            .ok_or_else(|| StateError::Missing(name.to_owned()))
    }
}

impl FromIterator<(String, StateArray)> for EnvState {
    fn from_iter<I: IntoIterator<Item = (String, StateArray)>>(arrays: I) -> Self {
        Self {
            arrays: arrays.into_iter().collect(),
        }
    }
}

fn describe(array: &StateArray) -> String {
    format!("{}[{}]", array.kind(), array.len())
}

fn form(name: &str, expected: String, found: &StateArray) -> StateError {
    StateError::Form {
        name: name.to_owned(),
        expected,
        found: describe(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> EnvState {
        let mut state = EnvState::new();
        state.put_f64("x", &[1.0, -0.0]);
        state.put_u64("on", &[1]);
        state.put_bytes("name", b"abc");
        state
    }

    #[test]
    fn arrays_come_back_as_they_were_put() {
        let state = state();
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(state.f64("x", 2).map(bits), Ok(bits(&[1.0, -0.0])));
        assert_eq!(state.flag("on"), Ok(true));
        assert_eq!(state.bytes("name"), Ok(&b"abc"[..]));
        let copy: EnvState = state
            .arrays()
            .map(|(name, array)| (name.to_owned(), array.clone()))
            .collect();
        assert_eq!(copy, state);
    }

    #[test]
    fn a_nested_state_comes_back_under_its_own_names() {
        let mut outer = EnvState::new();
        outer.put_state("a", state());
        outer.put_u64("ab.on", &[0]);
        assert_eq!(outer.state("a"), state(), "`ab` is another prefix");
    }

    #[test]
    fn what_is_missing_or_of_another_form_is_named() {
        let state = state();
        assert_eq!(state.f64("y", 1), Err(StateError::Missing("y".into())));
        let error = state.f64("x", 3).expect_err("two values").to_string();
        assert_eq!(error, "array `x` is f64[2], but should be f64[3]");
        let error = state.u64("x", 2).expect_err("other kind").to_string();
        assert_eq!(error, "array `x` is f64[2], but should be u64[2]");
        let mut other = state.clone();
        other.put_u64("on", &[2]);
        assert!(matches!(other.flag("on"), Err(StateError::Value { .. })));
        other.put_u64("on", &[1 << 32]);
        assert!(matches!(other.u32("on"), Err(StateError::Value { .. })));
    }

    #[test]
    fn the_form_is_names_kinds_and_lengths() {
        let mut longer = state();
        longer.put_f64("x", &[0.0; 3]);
        assert!(matches!(
            longer.check_form(&state()),
            Err(StateError::Form { .. })
        ));
        let mut more = state();
        more.put_u64("z", &[]);
        assert_eq!(
            more.check_form(&state()),
            Err(StateError::Unknown("z".into()))
        );
        assert_eq!(
            state().check_form(&more),
            Err(StateError::Missing("z".into()))
        );
        let mut renamed = state();
        renamed.put_bytes("name", b"another text");
        assert_eq!(renamed.check_form(&state()), Ok(()));
    }
}
