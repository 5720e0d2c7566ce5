//! Tells the linker where the MuJoCo shared library lies at run time.
//!
//! A run-time search path reaches only the targets of the package whose build script asks for it,
//! so this script sets it for the crate's own tests and passes the folder on as metadata: build
//! scripts of dependents read it from `DEP_RESCORE_MUJOCO_LIB_DIR`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MUJOCO_DYNAMIC_LINK_DIR");
    // On Windows programs carry no search path: the library lies beside them or on PATH.
    let windows = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("windows");
    if env::var_os("CARGO_FEATURE_MUJOCO").is_none() || windows {
        return;
    }
    // Unset when MuJoCo was found by pkg-config or linked statically: nothing to add then.
    if let Ok(lib_dir) = env::var("MUJOCO_DYNAMIC_LINK_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");
        println!("cargo::metadata=LIB_DIR={lib_dir}");
    }
}
