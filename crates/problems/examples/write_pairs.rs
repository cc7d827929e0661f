//! Writes prompts/zh-en/pairs.jsonl anew.

fn main() -> std::io::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("prompts/zh-en/pairs.jsonl");
    std::fs::write(path, assay_problems::generate::pairs_file())
}
