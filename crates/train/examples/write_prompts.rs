//! Writes the beginnings of stories that models of organisms/crowding are
//! asked about:
//! `cargo run -p assay-train --example write_prompts > experiments/crowding-trained/prompts/stories.jsonl`

fn main() {
    print!("{}", assay_train::story_prompts());
}
