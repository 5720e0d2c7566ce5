//! Models that stay as they were, whatever becomes of their files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mujoco_rs::prelude::MjModel;

use super::library::{Variant, load_model, prepare};
use crate::EnvError;

/// While it lives, every task whose `xml_file` is a certain path uses a certain model, and the
/// file is not read.
#[derive(Debug)]
pub struct PinnedModel {
    _model: Arc<MjModel>,
}

fn pins() -> MutexGuard<'static, HashMap<PathBuf, Weak<MjModel>>> {
    static PINNED: OnceLock<Mutex<HashMap<PathBuf, Weak<MjModel>>>> = OnceLock::new();
    // A panic elsewhere cannot have left the map half-written.
    let pinned = PINNED.get_or_init(Mutex::default).lock();
    pinned.unwrap_or_else(PoisonError::into_inner)
}

/// The model that stands for `path`, if one does.
pub(super) fn pinned(path: &Path) -> Option<Arc<MjModel>> {
    pins().get(path).and_then(Weak::upgrade)
}

/// The compiled model at `path` in MuJoCo's binary form (MJB), with everything that the file
/// includes: other files, meshes, height fields, textures.
///
/// # Errors
/// [`EnvError::InvalidModel`] if it does not load, [`EnvError::MujocoVersion`].
pub fn model_bytes(path: &Path) -> Result<Vec<u8>, EnvError> {
    let model = match pinned(path) {
        Some(model) => model,
        None => load_model(path, Variant::AsWritten)?,
    };
    let mut bytes = vec![0; model.size()];
    let saved = model.save_to_buffer(&mut bytes);
    saved.map_err(|error| EnvError::InvalidModel {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

/// Lets the model that [`model_bytes`] gave stand for `path`.
///
/// # Errors
/// [`EnvError::InvalidModel`] if `bytes` are no model of this version of MuJoCo,
/// [`EnvError::MujocoVersion`].
pub fn pin_model(path: &Path, bytes: &[u8]) -> Result<PinnedModel, EnvError> {
    prepare()?;
    let model = MjModel::from_buffer(bytes).map_err(|error| EnvError::InvalidModel {
        path: path.to_owned(),
        reason: format!("its copy is no model of this version of MuJoCo ({error})"),
    })?;
    let model = Arc::new(model);
    let mut pins = pins();
    pins.retain(|_, pin| pin.strong_count() > 0);
    pins.insert(path.to_owned(), Arc::downgrade(&model));
    Ok(PinnedModel { _model: model })
}
