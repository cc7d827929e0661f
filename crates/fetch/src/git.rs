//! The identity that git gives a file, which the hub lists for every file.
//!
//! A small file is listed by its blob: SHA-1 of `blob <length>\0` and the
//! content (Git, "Git Internals: Git Objects"). A large one is kept outside git
//! behind a pointer of three lines that holds its SHA-256 and length (Git LFS
//! specification, "The Pointer"), and is listed by the blob of that pointer. So
//! the listing proves the content in both cases.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::{Digest, Sha1};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Git's identity of a file on disk of this length.
pub(crate) fn blob_of_file(path: &Path, len: u64) -> std::io::Result<String> {
    let mut hash = Sha1::new();
    hash.update(format!("blob {len}\0"));
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// Git's identity of the pointer to a file of this SHA-256 and length.
pub(crate) fn blob_of_pointer(sha256: &str, len: u64) -> String {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len}\n");
    let blob = format!("blob {}\0{pointer}", pointer.len());
    hex(&Sha1::digest(blob.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blobs_as_git_hash_object_prints_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        assert_eq!(
            blob_of_file(&path, 0).unwrap(),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        std::fs::write(&path, "hello world\n").unwrap();
        assert_eq!(
            blob_of_file(&path, 12).unwrap(),
            "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"
        );
    }

    #[track_caller]
    fn check_pointer(sha256: &str, len: u64, expected: &str) {
        assert_eq!(blob_of_pointer(sha256, len), expected);
    }

    #[test]
    fn pointers_as_the_hub_lists_them() {
        // google-bert/bert-base-uncased, pytorch_model.bin and tf_model.h5.
        check_pointer(
            "097417381d6c7230bd9e3557456d726de6e83245ec8b24f529f60198a67b203a",
            440_473_133,
            "ba5d19791be1dd7992e33bd61f20207b0f7f50a5",
        );
        check_pointer(
            "a7a17d6d844b5de815ccab5f42cad6d24496db3850a2a43d8258221018ce87d2",
            536_063_208,
            "9eb98c817f04b051b3bcca591bcd4e03cec88018",
        );
        // ggerganov/whisper.cpp, ggml-large-v1.bin.
        check_pointer(
            "7d99f41a10525d0206bddadd86760181fa920438b6b33237e3118ff6c83bb53d",
            3_094_623_691,
            "047db73ddfd7789113dfc94c20b22bc1d044586f",
        );
    }
}
