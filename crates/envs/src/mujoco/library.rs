//! The MuJoCo library, checked, and models, loaded and shared.

use std::collections::HashMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, Once, OnceLock, PoisonError, Weak};
use std::time::Instant;

use mujoco_rs::logging::set_log_handler;
use mujoco_rs::mujoco_c::{mj_versionString, mjVERSION_HEADER};
use mujoco_rs::prelude::{MjLogMessage, MjModel, MjtLogLevel, log_config, set_log_config};
use mujoco_rs::wrappers::mj_auxiliary::MjVfs;

use super::families::repair_pusher;
use super::models::model_xml;
use crate::{EnvError, Throttle};

/// Version of the MuJoCo library that was loaded, such as `3.17.0`.
pub fn library_version() -> String {
    // SAFETY: the function takes nothing and returns a pointer to a constant, NUL-terminated
    // string inside of the library.
    let version = unsafe { CStr::from_ptr(mj_versionString()) };
    version.to_string_lossy().into_owned()
}

/// Version of MuJoCo that the bindings were made for.
pub fn required_version() -> String {
    // major * 1_000_000 + minor * 1_000 + patch
    let header = mjVERSION_HEADER;
    format!(
        "{}.{}.{}",
        header / 1_000_000,
        header / 1_000 % 1_000,
        header % 1_000
    )
}

/// Refuses every MuJoCo library but the one the bindings were made for: structures of another
/// version have another layout, and trajectories differ between versions.
///
/// # Errors
/// [`EnvError::MujocoVersion`] if `found` is not [`required_version`].
pub fn check_version(found: &str) -> Result<(), EnvError> {
    let expected = required_version();
    if found == expected {
        return Ok(());
    }
    Err(EnvError::MujocoVersion {
        found: found.to_owned(),
        expected,
    })
}

/// What is done to a model after loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Variant {
    /// Nothing.
    AsWritten,
    /// The object of `Pusher-v4` is made movable.
    RepairedPusher,
}

/// Models in use, by file name or path and variant.
type Loaded = HashMap<(PathBuf, Variant), Weak<MjModel>>;

/// Checks the library and routes its messages, before anything else is asked of it.
pub(super) fn prepare() -> Result<(), EnvError> {
    static ROUTED: Once = Once::new();
    check_version(&library_version())?;
    ROUTED.call_once(route_messages);
    Ok(())
}

/// Loads the model that is compiled in under the name `path`, else the file there; or shares the one
/// that is in use already.
pub(super) fn load_model(path: &Path, variant: Variant) -> Result<Arc<MjModel>, EnvError> {
    static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();

    prepare()?;
    let mut loaded = LOADED
        .get_or_init(Mutex::default)
        .lock()
        // A panic elsewhere cannot have left the map half-written.
        .unwrap_or_else(PoisonError::into_inner);
    let key = (path.to_owned(), variant);
    if let Some(model) = loaded.get(&key).and_then(Weak::upgrade) {
        return Ok(model);
    }
    let invalid = |reason| EnvError::InvalidModel {
        path: path.to_owned(),
        reason,
    };
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(invalid("a path cannot contain a NUL byte".to_owned()));
    }
    let mut model = match path.to_str().and_then(model_xml) {
        Some(text) => compiled_in(path, text),
        None => MjModel::from_xml(path).map_err(|e| e.to_string()),
    }
    .map_err(invalid)?;
    if variant == Variant::RepairedPusher {
        repair_pusher(&mut model).map_err(invalid)?;
    }
    let model = Arc::new(model);
    loaded.insert(key, Arc::downgrade(&model));
    Ok(model)
}

/// Loads a model from its text, through a file system in memory.
fn compiled_in(name: &Path, text: &str) -> Result<MjModel, String> {
    let mut files = MjVfs::new();
    files
        .add_from_buffer(name, text.as_bytes())
        .map_err(|e| e.to_string())?;
    MjModel::from_xml_vfs(name, &files).map_err(|e| e.to_string())
}

/// Sends MuJoCo's messages to `tracing` (target `mujoco`). Its own handler would print them and
/// write `MUJOCO_LOG.TXT` into the working folder.
fn route_messages() {
    // The bindings' handler also enables diagnostics of every simulator step, which nobody asked
    // for, so the previous choice of topics is put back.
    let config = log_config();
    // SAFETY: both calls write globals of the library that must not be read meanwhile. This runs
    // once, before this crate has loaded a model, so no simulation of this crate is under way; a
    // program that also uses the bindings directly must make its first MuJoCo task before it
    // starts simulations of its own in other threads, as the module's documentation says.
    unsafe {
        set_log_handler(forward);
        set_log_config(config);
    }
}

fn forward(message: &MjLogMessage) {
    static REPEATED: LazyLock<Throttle> = LazyLock::new(Throttle::default);

    let (subject, body) = (message.subject(), message.body().unwrap_or_default());
    let text = format!("{subject} {body}");
    let text = text.trim_end();
    match message.level() {
        MjtLogLevel::mjLOG_ERROR => tracing::error!(target: "mujoco", "{text}"),
        // What will be gone from a later MuJoCo is no concern of a user of pinned models.
        MjtLogLevel::mjLOG_WARNING if text.contains("deprecated") => {
            tracing::debug!(target: "mujoco", "{text}");
        }
        // A simulation that diverges warns in every step.
        MjtLogLevel::mjLOG_WARNING => {
            if let Some(text) = REPEATED.admit(text, Instant::now()) {
                tracing::warn!(target: "mujoco", "{text}");
            }
        }
        MjtLogLevel::mjLOG_INFO => tracing::info!(target: "mujoco", "{text}"),
        MjtLogLevel::mjLOG_DEBUG => tracing::debug!(target: "mujoco", "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::models::model_names;
    use super::*;
    use std::io;
    use tracing_subscriber::fmt::MakeWriter;

    #[test]
    fn the_loaded_library_is_the_one_the_bindings_need() {
        assert_eq!(library_version(), required_version());
        check_version(&library_version()).expect("the right version");
    }

    #[test]
    fn another_version_is_refused_with_both_versions_named() {
        let error = check_version("2.3.7").expect_err("too old").to_string();
        assert!(
            error.contains("2.3.7") && error.contains(&required_version()),
            "{error}"
        );
        assert!(error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn every_model_is_loaded_from_memory_alone() {
        for name in model_names() {
            let path = Path::new(name);
            assert!(!path.exists(), "{name} lies in the working folder");
            load_model(path, Variant::AsWritten).expect("a valid model");
        }
    }

    #[test]
    fn the_models_are_gymnasiums_byte_for_byte() {
        // FNV-1a of names and texts, of Gymnasium 1.0.0.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for name in model_names() {
            let text = model_xml(name).expect("a listed name");
            for byte in name.bytes().chain(text.bytes()) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!((model_names().count(), hash), (13, 0x0153_d1c9_b66c_169b));
    }

    #[test]
    fn equal_models_are_loaded_once() {
        let path = Path::new("hopper.xml");
        let first = load_model(path, Variant::AsWritten).expect("a valid model");
        let second = load_model(path, Variant::AsWritten).expect("a valid model");
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("broken.xml");
        std::fs::write(&path, "<mujoco><worldbody><box/></worldbody></mujoco>")
            .expect("the folder can be written");
        let error = load_model(&path, Variant::AsWritten)
            .expect_err("`box` is no element of MuJoCo's")
            .to_string();
        assert!(error.contains("broken.xml"), "{error}");
    }

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn warnings_go_to_tracing_and_not_into_a_file() {
        let path = Path::new("hopper.xml");
        let _model = load_model(path, Variant::AsWritten).expect("a valid model");
        // What somebody else left behind; none is there as a rule.
        let _ = std::fs::remove_file("MUJOCO_LOG.TXT");
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            mujoco_rs::prelude::log_warning("the ground is lava");
            mujoco_rs::prelude::log_warning("lava is deprecated");
        });
        let written = log.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(written).expect("logs are text");
        assert!(
            text.contains("the ground is lava") && text.contains("WARN"),
            "{text}"
        );
        assert!(
            !Path::new("MUJOCO_LOG.TXT").exists(),
            "MuJoCo's own handler writes it"
        );
    }
}
