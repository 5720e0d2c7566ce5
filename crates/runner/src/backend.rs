//! Names of tensor backends and devices, as a configuration has them. Which types these are, the
//! program knows.

/// Backends that Rescore knows, compiled in or not.
pub const KNOWN: &[&str] = &["flex", "ndarray", "cuda", "wgpu", "vulkan", "metal"];

/// The device that is taken where none is named.
pub const AUTO: &str = "auto";

/// Whether the backend called `name` computes on the processor. It has then computed a result when
/// it returns it, so that looking at it costs no waiting.
pub fn computes_at_once(name: &str) -> bool {
    ["flex", "ndarray"].contains(&name)
}
