//! Puts the numeric fingerprint of every experiment into the binary.
#![allow(clippy::unwrap_used)] // A build script may stop the build.

use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut table = String::from("&[");
    let mut names: Vec<String> = std::fs::read_dir(root.join("experiments"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        let fingerprint = assay_record::numeric_fingerprint(&root, &name).unwrap();
        table.push_str(&format!("({name:?}, {fingerprint:?}),"));
        println!("cargo:rerun-if-changed=../../experiments/{name}/src");
    }
    table.push(']');
    for source in assay_record::NUMERIC_SOURCES {
        println!("cargo:rerun-if-changed=../../{source}");
    }
    // A new experiment is a new folder.
    println!("cargo:rerun-if-changed=../../experiments");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    // NVIDIA's libraries are found at run time where they were at build time.
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Some(cuda) = std::env::var_os("CUDA_PATH")
    {
        let libraries = Path::new(&cuda).join("lib64");
        println!(
            "cargo:rustc-link-arg-bins=-Wl,-rpath,{}",
            libraries.display()
        );
    }
    println!("cargo:rerun-if-env-changed=CUDA_PATH");
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("fingerprints.rs"), table).unwrap();
}
