//! The one table from a backend's name to its type, and which device it runs on.

use rescore_agents::{Algorithm, Registered, Settings, Sizes};
use rescore_kernels::RescoreBackend;
use rescore_runner::RunError;
use rescore_runner::backend::AUTO;
use rescore_runner::config::{Config, Request};
use rescore_store::machine;

/// Backends that this program was compiled with.
pub const COMPILED: &[&str] = &[
    #[cfg(feature = "flex")]
    "flex",
    #[cfg(feature = "ndarray")]
    "ndarray",
    #[cfg(feature = "cuda")]
    "cuda",
    // One build has one shader language.
    #[cfg(all(feature = "wgpu", not(any(feature = "vulkan", feature = "metal"))))]
    "wgpu",
    #[cfg(feature = "vulkan")]
    "vulkan",
    #[cfg(feature = "metal")]
    "metal",
];

/// Work to be done on a backend chosen at run time.
pub trait Work {
    /// What it gives.
    type Output;

    /// Does it on `device`.
    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output;
}

/// Does `work` on the backend and the device that `config` names.
///
/// # Errors
/// When the backend is not compiled in or there is no such device.
pub fn dispatch<W>(config: &Config, work: W) -> Result<W::Output, RunError>
where
    W: Work<Output: Send> + Send,
{
    check(&config.backend)?;
    match config.backend.as_str() {
        #[cfg(feature = "flex")]
        "flex" => on_processor::<burn::backend::Flex, W>(config, work),
        #[cfg(feature = "ndarray")]
        "ndarray" => on_processor::<burn::backend::NdArray, W>(config, work),
        #[cfg(feature = "cuda")]
        "cuda" => {
            rescore_kernels::devices::keep_kernels();
            let found = choose(config, rescore_kernels::devices::cuda())?;
            Ok(on_device::<burn::backend::Cuda, W>(&found.device, work))
        }
        #[cfg(feature = "wgpu")]
        "wgpu" | "vulkan" | "metal" => {
            let found = choose(config, rescore_kernels::devices::wgpu())?;
            Ok(on_device::<burn::backend::Wgpu, W>(&found.device, work))
        }
        name => Err(not_compiled(name)),
    }
}

/// The device that `config` names, in words.
///
/// # Errors
/// As [`dispatch`].
pub fn device_name(config: &Config) -> Result<String, RunError> {
    check(&config.backend)?;
    match config.backend.as_str() {
        #[cfg(feature = "cuda")]
        "cuda" => choose(config, rescore_kernels::devices::cuda()).map(|found| found.name),
        #[cfg(feature = "wgpu")]
        "wgpu" | "vulkan" | "metal" => {
            choose(config, rescore_kernels::devices::wgpu()).map(|found| found.name)
        }
        _ => Ok(machine::cpu_name()),
    }
}

/// A request for the defaults on the devices of this machine: whether such a device is a GPU decides
/// which preset is the default.
pub fn request() -> Request {
    Request {
        on_processor: Some(is_software),
        ..Request::default()
    }
}

/// Whether that device of a GPU backend is a driver that computes on the processor. The device
/// "auto" never is; see [`choose`].
fn is_software(backend: &str, device: &str) -> bool {
    match (backend, device.parse::<usize>()) {
        #[cfg(feature = "wgpu")]
        ("wgpu" | "vulkan" | "metal", Ok(index)) => rescore_kernels::devices::wgpu()
            .is_ok_and(|found| found.get(index).is_some_and(|found| found.software)),
        _ => false,
    }
}

/// One line for each device of the backend called `only`, or of all that are compiled in; or why
/// there is none.
///
/// # Errors
/// When that backend is not compiled in.
pub fn list_devices(only: Option<&str>) -> Result<Vec<String>, RunError> {
    only.map_or(Ok(()), check)?;
    let wanted = COMPILED
        .iter()
        .filter(|name| only.is_none_or(|only| only == **name));
    let mut lines = Vec::new();
    for name in wanted {
        match *name {
            #[cfg(feature = "cuda")]
            "cuda" => lines.extend(describe(name, rescore_kernels::devices::cuda())),
            #[cfg(feature = "wgpu")]
            "wgpu" | "vulkan" | "metal" => {
                lines.extend(describe(name, rescore_kernels::devices::wgpu()));
            }
            name => {
                let threads = rayon::current_num_threads();
                let cpu = machine::cpu_name();
                lines.push(format!("{name}: device 0: {cpu} ({threads} threads)"));
            }
        }
    }
    Ok(lines)
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use rescore_kernels::devices::{Found, Missing};

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn describe<D>(backend: &str, found: Result<Vec<Found<D>>, Missing>) -> Vec<String> {
    match found {
        Ok(found) => found
            .iter()
            .enumerate()
            .map(|(index, found)| {
                let software = if found.software {
                    ", computes on the processor"
                } else {
                    ""
                };
                let (name, detail) = (&found.name, &found.detail);
                format!("{backend}: device {index}: {name} ({detail}{software})")
            })
            .collect(),
        Err(missing) => vec![format!("{backend}: {missing}; {}", missing.hint)],
    }
}

/// The device that `config` names among those that were found: the first GPU where it names none.
/// A driver that computes on the processor is taken only where it is named.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn choose<D: Clone>(
    config: &Config,
    found: Result<Vec<Found<D>>, Missing>,
) -> Result<Found<D>, RunError> {
    let backend = &config.backend;
    let found = found.map_err(|missing| RunError::Usage {
        message: format!("backend `{backend}` cannot run: {missing}"),
        hint: Some(missing.hint),
    })?;
    let list = describe(backend, Ok(found.clone())).join("; ");
    let Ok(index) = config.device.parse::<usize>() else {
        return found
            .iter()
            .find(|found| !found.software)
            .cloned()
            .ok_or_else(|| {
                RunError::usage(
                    format!("backend `{backend}` finds no GPU, only {list}"),
                    "`--device 0` computes on that one all the same; \
                 `--backend flex` is much faster on a processor"
                        .to_owned(),
                )
            });
    };
    found.get(index).cloned().ok_or_else(|| {
        RunError::usage(
            format!("backend `{backend}` has no device {index}"),
            format!("there are: {list}"),
        )
    })
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn on_device<B, W>(device: &B::Device, work: W) -> W::Output
where
    B: RescoreBackend,
    W: Work<Output: Send> + Send,
{
    rayon::scope(|_| work.run::<B>(device))
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn on_processor<B, W>(config: &Config, work: W) -> Result<W::Output, RunError>
where
    B: RescoreBackend,
    W: Work<Output: Send> + Send,
{
    if ![AUTO, "0"].contains(&config.device.as_str()) {
        return Err(RunError::usage(
            format!(
                "backend `{}` has no device {}: it computes on the processor",
                config.backend, config.device
            ),
            "leave `device` away".to_owned(),
        ));
    }
    // On a worker of the thread pool: a parallel operation then begins at once on the thread that
    // asks for it. From outside it would have to wake a worker and wait, which at a hundred
    // operations an update was measured to cost several milliseconds.
    Ok(rayon::scope(|_| work.run::<B>(&B::Device::default())))
}

/// Requires that the backend called `name` is compiled in.
///
/// # Errors
/// When it is not; the hint names the command that builds it.
pub fn check(name: &str) -> Result<(), RunError> {
    if COMPILED.contains(&name) {
        Ok(())
    } else {
        Err(not_compiled(name))
    }
}

/// Requires that the backend of `config` is compiled in, has its device and samples in the
/// precision that `config` asks for.
///
/// # Errors
/// When it is not, has not or does not.
pub fn check_config(config: &Config) -> Result<(), RunError> {
    struct Supported<'a>(&'a Sizes, usize);
    /// Nothing to do: that there is the device is all.
    struct Exists;
    impl Work for Exists {
        type Output = ();
        fn run<B: RescoreBackend>(self, _: &B::Device) {}
    }
    impl Work for Supported<'_> {
        type Output = bool;
        fn run<B: RescoreBackend>(self, device: &B::Device) -> bool {
            self.0.is_supported::<B>(self.1, device)
        }
    }
    let Some(sizes) = config.agent.settings.outline().sizes else {
        return dispatch(config, Exists);
    };
    let action_dim = rescore_envs::find(&config.env)?.action_dim;
    let precision = sizes.precision;
    if dispatch(config, Supported(&sizes, action_dim))? {
        return Ok(());
    }
    Err(RunError::usage(
        format!(
            "backend `{}` has no kernel for `precision = \"{}\"` with these `hidden_dims`",
            config.backend,
            precision.name()
        ),
        "`precision = \"f32\"` runs everywhere, \"bf16\" on `flex`, and on `cuda` with layers that \
         fit into the shared memory of the device (some 1700 columns on an H100)"
            .to_owned(),
    ))
}

/// Makes an algorithm of your own known by `name`, on all backends of this program: `train`, `eval`,
/// `render` and `--resume` then take it, and `config` documents its settings.
///
/// # Errors
/// When the name is taken.
pub fn register_algorithm<S: Settings + Default>(
    name: &'static str,
    about: &'static str,
) -> Result<(), Registered> {
    let algorithm = Algorithm::of::<S>(name, about);
    #[cfg(feature = "flex")]
    let algorithm = algorithm.on::<S, burn::backend::Flex>();
    #[cfg(feature = "ndarray")]
    let algorithm = algorithm.on::<S, burn::backend::NdArray>();
    #[cfg(feature = "cuda")]
    let algorithm = algorithm.on::<S, burn::backend::Cuda>();
    #[cfg(feature = "wgpu")]
    let algorithm = algorithm.on::<S, burn::backend::Wgpu>();
    algorithm.register()
}

fn not_compiled(name: &str) -> RunError {
    RunError::usage(
        format!(
            "backend `{name}` is not compiled into this program, which has: {}",
            COMPILED.join(", ")
        ),
        format!("`cargo xtask train --backend {name}` builds the program with it"),
    )
}

#[cfg(test)]
mod tests {
    use rescore_runner::backend::KNOWN;
    use rescore_runner::config::{Request, resolve};

    use super::*;

    fn config(backend: &str, set: &[&str]) -> Result<Config, RunError> {
        resolve(&Request {
            backend: Some(backend.to_owned()),
            set: set.iter().map(|&text| text.to_owned()).collect(),
            ..Request::default()
        })
    }

    #[test]
    #[cfg(all(feature = "flex", feature = "ndarray"))]
    fn a_precision_without_a_kernel_is_refused() -> Result<(), RunError> {
        check_config(&config("flex", &["precision=bf16"])?)?;
        let error = check_config(&config("ndarray", &["precision=bf16"])?).expect_err("no kernel");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`ndarray`"), "{error}");
        assert!(error.to_string().contains("bf16"), "{error}");
        Ok(())
    }

    #[test]
    fn a_backend_that_is_missing_says_what_builds_it() {
        let Some(missing) = KNOWN.iter().find(|name| !COMPILED.contains(name)) else {
            return;
        };
        let error = check(missing).expect_err("not compiled in");
        assert_eq!(error.exit_code(), 2);
        let command = format!("--backend {missing}`");
        assert!(error.hint().is_some_and(|hint| hint.contains(&command)));
    }

    #[test]
    #[cfg(feature = "flex")]
    fn the_processor_is_one_device() -> Result<(), RunError> {
        for device in ["auto", "0"] {
            check_config(&config("flex", &[&format!("device=\"{device}\"")])?)?;
        }
        let error = check_config(&config("flex", &["device=\"1\""])?).expect_err("no device 1");
        assert!(error.to_string().contains("no device 1"), "{error}");
        assert!(config("flex", &["device=\"gpu\""]).is_err());
        Ok(())
    }

    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    mod choosing {
        use super::*;

        fn found(software: &[bool]) -> Vec<Found<usize>> {
            let one = |(device, &software): (usize, &bool)| Found {
                device,
                name: format!("card {device}"),
                detail: "test".into(),
                software,
            };
            software.iter().enumerate().map(one).collect()
        }

        fn on(device: &str) -> Result<Config, RunError> {
            config("wgpu", &[&format!("device=\"{device}\"")])
        }

        #[test]
        fn the_first_gpu_is_taken_and_software_only_by_name() -> Result<(), RunError> {
            let mixed = || Ok(found(&[true, false, false]));
            assert_eq!(choose(&on("auto")?, mixed())?.device, 1);
            assert_eq!(choose(&on("2")?, mixed())?.device, 2);
            assert_eq!(choose(&on("0")?, mixed())?.device, 0);
            let error = choose(&on("3")?, mixed()).expect_err("only three");
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("device 2: card 2"))
            );
            let error = choose(&on("auto")?, Ok(found(&[true]))).expect_err("no GPU");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("finds no GPU"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("--device 0")));
            Ok(())
        }

        #[test]
        fn what_is_missing_is_named() -> Result<(), RunError> {
            let missing = Missing {
                missing: "libx cannot be loaded".into(),
                hint: "install x".into(),
            };
            let nothing: Result<Vec<Found<usize>>, _> = Err(missing);
            let error = choose(&on("auto")?, nothing).expect_err("nothing");
            assert!(error.to_string().contains("libx"), "{error}");
            assert_eq!(error.hint().as_deref(), Some("install x"));
            Ok(())
        }
    }
}
