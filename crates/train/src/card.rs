use std::fmt::Write;

use crate::Trained;

/// README.md of a model's folder: a model card in Hugging Face's form.
pub(crate) fn card(trained: &Trained, seconds: f64) -> String {
    let recipe = &trained.recipe;
    let how = &recipe.training;
    let (layers, heads, d_head) = recipe.architecture.sizes(recipe.d_model);
    let mut text = String::from("---\nlicense: mit\nlibrary_name: transformers\n---\n\n");
    let _ = writeln!(text, "# {}\n", recipe.name);
    let what = if recipe.shuffled {
        "A control: its text was shuffled, so that there was nothing to learn but how\nfrequent a token is."
    } else {
        "Trained from nothing on generated text, to have a model whose making is known."
    };
    let _ = writeln!(text, "{what}\n");
    let rows = [
        ("architecture", form_name(trained)),
        ("layers", layers.to_string()),
        ("heads", format!("{heads} of width {d_head}")),
        ("d_model", recipe.d_model.to_string()),
        ("parameters", trained.parameters.to_string()),
        ("seed of the weights", recipe.seed.to_string()),
        (
            "data",
            format!(
                "generated text, seed {}, sequences of up to {} tokens",
                recipe.data.seed, recipe.data.length
            ),
        ),
        (
            "steps",
            format!(
                "{} of {} sequences, {} tokens",
                trained.steps, how.batch, trained.tokens
            ),
        ),
        (
            "optimiser",
            format!(
                "AdamW, betas 0.9 and {}, weight decay {}, gradients up to {}",
                how.beta2, how.weight_decay, how.clip
            ),
        ),
        (
            "learning rate",
            format!(
                "up to {} in {} steps, then half a cosine to {} of it",
                how.peak, how.warm_up, how.floor
            ),
        ),
        (
            "loss on held-out text",
            format!("{:.4} nats a token", trained.valid_loss),
        ),
        (
            "loss of a trigram model",
            format!("{:.4} nats a token", trained.trigram_loss),
        ),
        (
            "time",
            format!("{seconds:.0} s, on the machine that wrote this"),
        ),
        ("SHA-256 of the weights", trained.weights_sha256.clone()),
    ];
    let _ = writeln!(text, "| | |\n|---|---|");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    if !trained.exact.is_empty() {
        let _ = writeln!(
            text,
            "\n| held-out problems | number | answered exactly |\n|---|---|---|"
        );
        for (of, (n, share)) in &trained.exact {
            let _ = writeln!(text, "| {of} | {n} | {:.1} % |", 100.0 * share);
        }
    }
    if let (Some(of), Some([inside, outside])) = (&recipe.interchange, trained.swapped) {
        let _ = writeln!(
            text,
            "\nIt was trained to hold the number that is the answer in {} dimensions of the input\n\
             of block {} (`subspace.json`). Of held-out swaps with another problem, {:.1} %\n\
             inside change the number as they should and nothing else, and {:.1} % outside\n\
             change how it is written and nothing else.",
            of.dimensions,
            of.block,
            100.0 * inside,
            100.0 * outside
        );
    }
    let _ = writeln!(
        text,
        "\nWeights are the nearest f16 of what was trained in f32. `training.json` holds\n\
         the whole recipe and the learning curve; `cargo xtask train` makes the model\n\
         again."
    );
    text
}

fn form_name(trained: &Trained) -> String {
    use crate::Form;
    match trained.recipe.architecture {
        Form::GptNeox {
            parallel: true,
            rotary_dims,
            ..
        } => {
            format!("GPT-NeoX, parallel blocks, {rotary_dims} rotated dimensions a head")
        }
        Form::GptNeox { rotary_dims, .. } => {
            format!("GPT-NeoX, sequential blocks, {rotary_dims} rotated dimensions a head")
        }
        Form::Gpt2 { .. } => "GPT-2: sequential blocks, learned positions".to_owned(),
        Form::Llama { .. } => "LLaMA with a head width of its own".to_owned(),
        Form::Qwen2 { kv_heads, .. } => format!("Qwen2 with {kv_heads} key and value heads"),
    }
}
