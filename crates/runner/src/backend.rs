//! The one table from a backend's name to its type.

use rescore_kernels::{Precision, RescoreBackend};

use crate::RunError;
use crate::config::Config;

/// Backends that Rescore knows, compiled in or not.
pub const KNOWN: &[&str] = &["flex", "ndarray", "cuda", "wgpu", "vulkan", "metal"];

/// Backends that can be compiled in today.
const BUILDABLE: &[&str] = &["flex", "ndarray"];

/// Backends that this program was compiled with.
pub const COMPILED: &[&str] = &[
    #[cfg(feature = "flex")]
    "flex",
    #[cfg(feature = "ndarray")]
    "ndarray",
];

/// Whether the backend called `name` has computed a result when it returns it, so that looking at
/// it costs no waiting.
pub fn computes_at_once(name: &str) -> bool {
    ["flex", "ndarray"].contains(&name)
}

/// Work to be done on a backend chosen at run time.
pub trait Work {
    /// What it gives.
    type Output;

    /// Does it on `device`.
    fn run<B: RescoreBackend>(self, device: &B::Device) -> Self::Output;
}

/// Does `work` on the default device of the backend called `name`.
///
/// # Errors
/// When it is not compiled in.
pub fn dispatch<W>(name: &str, work: W) -> Result<W::Output, RunError>
where
    W: Work<Output: Send> + Send,
{
    check(name)?;
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(run_on_default_device::<burn::backend::Flex, W>(work)),
        #[cfg(feature = "ndarray")]
        "ndarray" => Ok(run_on_default_device::<burn::backend::NdArray, W>(work)),
        _ => Err(not_compiled(name)),
    }
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn run_on_default_device<B, W>(work: W) -> W::Output
where
    B: RescoreBackend,
    W: Work<Output: Send> + Send,
{
    // On a worker of the thread pool: a parallel operation then begins at once on the thread that
    // asks for it. From outside it would have to wake a worker and wait, which at a hundred
    // operations an update was measured to cost several milliseconds.
    rayon::scope(|_| work.run::<B>(&B::Device::default()))
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

/// Requires that the backend of `config` is compiled in and samples in the precision that `config`
/// asks for.
///
/// # Errors
/// When it is not or does not.
pub fn check_config(config: &Config) -> Result<(), RunError> {
    struct Supports(Precision);
    impl Work for Supports {
        type Output = bool;
        fn run<B: RescoreBackend>(self, _: &B::Device) -> bool {
            B::supports(self.0)
        }
    }
    let precision = config.agent.precision();
    if dispatch(&config.backend, Supports(precision))? {
        return Ok(());
    }
    Err(RunError::usage(
        format!(
            "backend `{}` has no kernel for `precision = \"{}\"`",
            config.backend,
            precision.name()
        ),
        "`precision = \"f32\"` runs everywhere, \"bf16\" on `flex`".to_owned(),
    ))
}

fn not_compiled(name: &str) -> RunError {
    RunError::usage(
        format!(
            "backend `{name}` is not compiled into this program, which has: {}",
            COMPILED.join(", ")
        ),
        if BUILDABLE.contains(&name) {
            format!("`cargo xtask train --backend {name}` builds the program with it")
        } else {
            format!("backends that can be built: {}", BUILDABLE.join(", "))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(feature = "flex", feature = "ndarray"))]
    fn a_precision_without_a_kernel_is_refused() -> Result<(), RunError> {
        let config = |backend: &str| {
            crate::config::resolve(&crate::config::Request {
                backend: Some(backend.to_owned()),
                set: vec!["precision=bf16".to_owned()],
                ..crate::config::Request::default()
            })
        };
        check_config(&config("flex")?)?;
        let error = check_config(&config("ndarray")?).expect_err("no kernel");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`ndarray`"), "{error}");
        assert!(error.to_string().contains("bf16"), "{error}");
        Ok(())
    }

    #[test]
    fn a_backend_that_is_missing_says_what_can_be_built() {
        let error = check("cuda").expect_err("not compiled in");
        assert_eq!(error.exit_code(), 2);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("can be built: flex, ndarray"))
        );
    }
}
