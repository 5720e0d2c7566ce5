//! Lets this package's tests find the MuJoCo shared library at run time, where it was linked from.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_RESCORE_MUJOCO_LIB_DIR");
    // Programs carry no search path on Windows: the library lies beside them or on PATH.
    let has_path = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system != "windows");
    // Published by the build script of rescore-envs; absent when MuJoCo is linked statically.
    if has_path
        && env::var_os("CARGO_FEATURE_MUJOCO").is_some()
        && let Ok(lib_dir) = env::var("DEP_RESCORE_MUJOCO_LIB_DIR")
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");
    }
}
