//! Lets this package's programs find the MuJoCo shared library at run time: first in `mujoco/lib`
//! beside the program, so that a moved folder keeps working, then where it was linked from.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_RESCORE_MUJOCO_LIB_DIR");
    if env::var_os("CARGO_FEATURE_MUJOCO").is_none() {
        return;
    }
    let beside = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path/mujoco/lib",
        // Programs carry no search path there: the library lies beside them or on PATH.
        Ok("windows") => return,
        _ => "$ORIGIN/mujoco/lib",
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{beside}");
    // Published by the build script of rescore-envs; absent when MuJoCo is linked statically.
    if let Ok(lib_dir) = env::var("DEP_RESCORE_MUJOCO_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");
    }
}
