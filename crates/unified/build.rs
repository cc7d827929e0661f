//! Exists so that the build-dependencies, which unify features of libraries
//! for macros, are taken.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
