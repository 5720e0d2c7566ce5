//! The one table from a backend's name to its type.

use rescore_kernels::RescoreBackend;

use crate::RunError;

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
pub fn dispatch<W: Work>(name: &str, work: W) -> Result<W::Output, RunError> {
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
fn run_on_default_device<B: RescoreBackend, W: Work>(work: W) -> W::Output {
    work.run::<B>(&B::Device::default())
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
